# The library target, and what `cmake --install` puts where. Static unless BUILD_SHARED_LIBS says otherwise.
# The target of the program is sluice_program, whose file is called sluice too.

add_library(sluice)
add_library(sluice::sluice ALIAS sluice)
foreach(room IN LISTS SLUICE_LIBRARY_ROOMS)
  target_sources(sluice PRIVATE $<TARGET_OBJECTS:sluice_${room}>)
endforeach()
set_target_properties(sluice PROPERTIES
  LINKER_LANGUAGE CXX
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
target_include_directories(sluice PUBLIC
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_compile_features(sluice PUBLIC cxx_std_20)
target_link_libraries(sluice PRIVATE
  fmt::fmt spdlog::spdlog PkgConfig::PCRE2 PkgConfig::XXHASH PkgConfig::UTF8PROC Threads::Threads
  $<$<BOOL:${URING_FOUND}>:PkgConfig::URING> ${SLUICE_CUDA_LIBRARIES})

# A static library needs its dependencies named by whoever links it, a shared one brings them along.
set(SLUICE_PC_DEPENDENCIES "fmt spdlog libpcre2-8 libxxhash libutf8proc")
if(URING_FOUND)
  string(APPEND SLUICE_PC_DEPENDENCIES " liburing")
endif()
if(BUILD_SHARED_LIBS)
  set(SLUICE_PC_REQUIRES "Requires.private: ${SLUICE_PC_DEPENDENCIES}")
  set(SLUICE_PC_LIBS "")
else()
  set(SLUICE_PC_REQUIRES "Requires: ${SLUICE_PC_DEPENDENCIES}")
  list(JOIN SLUICE_CUDA_LIBRARIES " " SLUICE_PC_LIBS)
  string(REPLACE " rt dl" " -lrt -ldl" SLUICE_PC_LIBS "${SLUICE_PC_LIBS}")
  string(APPEND SLUICE_PC_LIBS " -lstdc++ -lm -pthread")
endif()
# Relative, so that an installation can be moved, or go where `cmake --install --prefix` says.
file(RELATIVE_PATH SLUICE_PC_TO_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(${PROJECT_SOURCE_DIR}/cmake/sluice.pc.in ${PROJECT_BINARY_DIR}/sluice.pc @ONLY)

include(CMakePackageConfigHelpers)
set(SLUICE_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/sluice)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/sluiceConfig.cmake.in
  ${PROJECT_BINARY_DIR}/sluiceConfig.cmake INSTALL_DESTINATION ${SLUICE_CMAKE_DIR})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/sluiceConfigVersion.cmake COMPATIBILITY SameMinorVersion)

install(TARGETS sluice EXPORT sluiceTargets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT sluiceTargets NAMESPACE sluice:: DESTINATION ${SLUICE_CMAKE_DIR})
install(FILES ${PROJECT_BINARY_DIR}/sluiceConfig.cmake ${PROJECT_BINARY_DIR}/sluiceConfigVersion.cmake
  DESTINATION ${SLUICE_CMAKE_DIR})
install(FILES ${PROJECT_BINARY_DIR}/sluice.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/sluice DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
if(EXISTS ${PROJECT_SOURCE_DIR}/models/stories-hybrid)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/models/stories-hybrid DESTINATION ${CMAKE_INSTALL_DATADIR}/sluice/models)
endif()
