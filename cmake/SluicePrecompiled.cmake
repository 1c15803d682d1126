# Headers that nearly every file reads, compiled once: of the standard library and of other projects, never Sluice's
# own, so that no change of Sluice compiles them again. CMAKE_DISABLE_PRECOMPILE_HEADERS turns them off.

set(SLUICE_STANDARD_HEADERS
  <algorithm> <array> <atomic> <chrono> <condition_variable> <cstddef> <cstdint> <cstring> <exception> <filesystem>
  <functional> <list> <map> <memory> <mutex> <numeric> <optional> <set> <span> <string> <string_view> <thread>
  <unordered_map> <utility> <variant> <vector> <fmt/core.h>)

# An object library that compiles the headers for all that name it in sluice_precompile().
function(sluice_precompiled name)
  cmake_parse_arguments(ARG "" "" "HEADERS;LIBRARIES" ${ARGN})
  if(CMAKE_DISABLE_PRECOMPILE_HEADERS)
    return()
  endif()
  add_library(${name} OBJECT ${PROJECT_SOURCE_DIR}/cmake/precompiled.cpp)
  target_link_libraries(${name} PRIVATE sluice_warnings ${ARG_LIBRARIES})
  target_precompile_headers(${name} PRIVATE ${ARG_HEADERS})
endfunction()

function(sluice_precompile target name)
  if(TARGET ${name})
    target_precompile_headers(${target} REUSE_FROM ${name})
  endif()
endfunction()
