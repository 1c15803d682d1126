# A libFuzzer program over the rooms it names; needs clang.
#
#   sluice_fuzzer(NAME SOURCES a_fuzz.cpp ... ROOMS room ...)

function(sluice_fuzzer name)
  cmake_parse_arguments(ARG "" "" "SOURCES;ROOMS" ${ARGN})
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "SLUICE_BUILD_FUZZERS needs clang: use `cmake --preset asan`")
  endif()
  add_executable(${name} ${ARG_SOURCES})
  sluice_link_rooms(${name} ${ARG_ROOMS})
  sluice_closure(closure ${ARG_ROOMS})
  foreach(room IN LISTS closure)
    # The fuzzer steers by the coverage of what it calls, so the rooms are instrumented too; by these flags and not by
    # fuzzer-no-link, which would part them from the precompiled headers that all rooms share.
    target_compile_options(sluice_${room} PRIVATE -fsanitize-coverage=inline-8bit-counters,pc-table,trace-cmp)
  endforeach()
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
endfunction()
