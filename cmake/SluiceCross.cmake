# Libraries of another architecture need not be installed to test the kernels: what base, tensor and backend use is
# taken from headers alone, and GoogleTest is built from its source package.
function(sluice_header_library name)
  add_library(${name} INTERFACE IMPORTED GLOBAL)
  target_compile_definitions(${name} INTERFACE ${ARGN})
endfunction()
sluice_header_library(fmt::fmt FMT_HEADER_ONLY)
sluice_header_library(spdlog::spdlog SPDLOG_FMT_EXTERNAL FMT_HEADER_ONLY)
sluice_header_library(PkgConfig::XXHASH XXH_INLINE_ALL)

set(SLUICE_GOOGLETEST_SOURCE /usr/src/googletest CACHE PATH "Where the sources of GoogleTest are")
set(INSTALL_GTEST OFF)
add_subdirectory(${SLUICE_GOOGLETEST_SOURCE} ${PROJECT_BINARY_DIR}/googletest EXCLUDE_FROM_ALL)
foreach(library gtest gtest_main gmock)
  if(NOT TARGET GTest::${library})
    add_library(GTest::${library} ALIAS ${library})
  endif()
endforeach()
