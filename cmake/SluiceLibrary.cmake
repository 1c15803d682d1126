# The libraries, and what `cmake --install` puts where: a static one for C and C++, and a shared one for C and whatever
# calls C, which shows the symbols of sluice/sluice.h and no others.
# The target of the program is sluice_program, whose file is called sluice too.

add_library(sluice STATIC)
add_library(sluice::sluice ALIAS sluice)
add_library(sluice_shared SHARED)
add_library(sluice::shared ALIAS sluice_shared)
foreach(library sluice sluice_shared)
  foreach(room IN LISTS SLUICE_LIBRARY_ROOMS)
    target_sources(${library} PRIVATE $<TARGET_OBJECTS:sluice_${room}>)
  endforeach()
  set_target_properties(${library} PROPERTIES LINKER_LANGUAGE CXX)
  target_include_directories(${library} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(${library} PRIVATE
    fmt::fmt spdlog::spdlog PkgConfig::PCRE2 PkgConfig::XXHASH PkgConfig::UTF8PROC Threads::Threads
    $<$<BOOL:${URING_FOUND}>:PkgConfig::URING> ${SLUICE_CUDA_LIBRARIES})
endforeach()
target_compile_features(sluice PUBLIC cxx_std_20)
set(SLUICE_SYMBOLS ${PROJECT_SOURCE_DIR}/cmake/sluice_symbols.map)
set_target_properties(sluice_shared PROPERTIES
  OUTPUT_NAME sluice EXPORT_NAME shared VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}
  LINK_DEPENDS ${SLUICE_SYMBOLS})
target_link_options(sluice_shared PRIVATE LINKER:--version-script=${SLUICE_SYMBOLS})

# A static library needs its dependencies named by whoever links it. It is named by its file: -lsluice is the other one.
set(SLUICE_PC_REQUIRES "Requires: fmt spdlog libpcre2-8 libxxhash libutf8proc")
if(URING_FOUND)
  string(APPEND SLUICE_PC_REQUIRES " liburing")
endif()
list(JOIN SLUICE_CUDA_LIBRARIES " " SLUICE_PC_LIBS)
string(REPLACE " rt dl" " -lrt -ldl" SLUICE_PC_LIBS "${SLUICE_PC_LIBS}")
string(APPEND SLUICE_PC_LIBS " -lstdc++ -lm -pthread")
# Relative, so that an installation can be moved, or go where `cmake --install --prefix` says.
file(RELATIVE_PATH SLUICE_PC_TO_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
foreach(package sluice sluice-c)
  configure_file(${PROJECT_SOURCE_DIR}/cmake/${package}.pc.in ${PROJECT_BINARY_DIR}/${package}.pc @ONLY)
endforeach()

include(CMakePackageConfigHelpers)
set(SLUICE_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/sluice)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/sluiceConfig.cmake.in
  ${PROJECT_BINARY_DIR}/sluiceConfig.cmake INSTALL_DESTINATION ${SLUICE_CMAKE_DIR})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/sluiceConfigVersion.cmake COMPATIBILITY SameMinorVersion)

install(TARGETS sluice sluice_shared EXPORT sluiceTargets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT sluiceTargets NAMESPACE sluice:: DESTINATION ${SLUICE_CMAKE_DIR})
install(FILES ${PROJECT_BINARY_DIR}/sluiceConfig.cmake ${PROJECT_BINARY_DIR}/sluiceConfigVersion.cmake
  DESTINATION ${SLUICE_CMAKE_DIR})
install(FILES ${PROJECT_BINARY_DIR}/sluice.pc ${PROJECT_BINARY_DIR}/sluice-c.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/sluice DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
if(EXISTS ${PROJECT_SOURCE_DIR}/models/stories-hybrid)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/models/stories-hybrid DESTINATION ${CMAKE_INSTALL_DATADIR}/sluice/models)
endif()
