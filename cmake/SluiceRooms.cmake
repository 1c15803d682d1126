# A room is one folder of src/: an object library that may link only the rooms below it.
#
#   sluice_room(NAME SOURCES a.cpp ... [APART b.cpp ...] [ROOMS lower ...] [LIBRARIES external ...])
#   sluice_room_test(NAME [PARTS n] SOURCES a_test.cpp ... ROOMS room ...)
#
# Where CMAKE_UNITY_BUILD is on (the presets say where), the SOURCES of a room are compiled several in one, in half the
# time; so no two of them name a thing alike, be it in an unnamed namespace. The files of a table do, each in its own
# row: they stand APART.

add_library(sluice_warnings INTERFACE)
set(SLUICE_WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor
    -Woverloaded-virtual -Werror)
if(CMAKE_UNITY_BUILD AND CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  # Clang minds a local name like one of another file's unnamed namespace; GCC sees to the rest of them.
  list(REMOVE_ITEM SLUICE_WARNINGS -Wshadow)
endif()
target_compile_options(sluice_warnings INTERFACE $<$<COMPILE_LANGUAGE:C,CXX>:${SLUICE_WARNINGS}>
                       $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Werror>)
if(SLUICE_SANITIZE)
  add_compile_options(-fsanitize=${SLUICE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${SLUICE_SANITIZE})
endif()
if(CMAKE_UNITY_BUILD AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # A class of a joined file may hold what its unnamed namespace declares: there is one such file.
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Wno-subobject-linkage>)
endif()
# Float results must not depend on how the compiler contracts an expression.
add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)

include(${CMAKE_CURRENT_LIST_DIR}/SluicePrecompiled.cmake)

function(sluice_room name)
  cmake_parse_arguments(ARG "" "" "SOURCES;APART;ROOMS;LIBRARIES" ${ARGN})
  set(target sluice_${name})
  add_library(${target} OBJECT ${ARG_SOURCES} ${ARG_APART})
  set_source_files_properties(${ARG_APART} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
  set(closure ${name})
  set(libraries ${ARG_LIBRARIES} Threads::Threads)
  foreach(room IN LISTS ARG_ROOMS)
    # Objects of an object library do not travel through another one, so each room keeps its closure.
    get_property(below TARGET sluice_${room} PROPERTY SLUICE_ROOM_CLOSURE)
    list(APPEND closure ${below})
    target_include_directories(${target} PUBLIC $<TARGET_PROPERTY:sluice_${room},INTERFACE_INCLUDE_DIRECTORIES>)
    # By name: a generator expression that leads to another one is not expanded in a link line.
    get_property(libraries_below TARGET sluice_${room} PROPERTY SLUICE_ROOM_LIBRARIES)
    list(APPEND libraries ${libraries_below})
  endforeach()
  list(REMOVE_DUPLICATES closure)
  list(REMOVE_DUPLICATES libraries)
  target_link_libraries(${target} PRIVATE sluice_warnings PUBLIC ${libraries})
  if(nlohmann_json::nlohmann_json IN_LIST ARG_LIBRARIES)
    sluice_precompile(${target} sluice_headers_json)
  else()
    sluice_precompile(${target} sluice_headers)
  endif()
  set_property(TARGET ${target} PROPERTY SLUICE_ROOM_LIBRARIES ${libraries})
  set_property(TARGET ${target} PROPERTY SLUICE_ROOM_CLOSURE ${closure})
  set_property(GLOBAL APPEND PROPERTY SLUICE_ROOMS ${name})
endfunction()

# The sanitizers take longest over the tests' own code, which runs for a moment: it is compiled in half the time.
function(sluice_unoptimized target)
  if(SLUICE_SANITIZE)
    target_compile_options(${target} PRIVATE -O0)
  endif()
endfunction()

# `out`: these rooms and all below them.
function(sluice_closure out)
  set(closure "")
  foreach(room IN LISTS ARGN)
    get_property(below TARGET sluice_${room} PROPERTY SLUICE_ROOM_CLOSURE)
    list(APPEND closure ${below})
  endforeach()
  list(REMOVE_DUPLICATES closure)
  set(${out} ${closure} PARENT_SCOPE)
endfunction()

# Links a program with rooms and all below them.
function(sluice_link_rooms target)
  sluice_closure(closure ${ARGN})
  foreach(room IN LISTS closure)
    target_link_libraries(${target} PRIVATE sluice_${room})
  endforeach()
  target_link_libraries(${target} PRIVATE sluice_warnings)
endfunction()

# In parts a program's tests run in several processes at a time.
function(sluice_room_test name)
  cmake_parse_arguments(ARG "" "PARTS" "SOURCES;ROOMS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES} $<TARGET_OBJECTS:sluice_source_file>)
  set_target_properties(${name} PROPERTIES UNITY_BUILD OFF)
  sluice_link_rooms(${name} ${ARG_ROOMS})
  target_link_libraries(${name} PRIVATE GTest::gtest GTest::gmock GTest::gtest_main)
  sluice_precompile(${name} sluice_headers_test)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC 12 warns of its own std::string once it comes precompiled.
    target_compile_options(${name} PRIVATE -Wno-array-bounds -Wno-restrict -Wno-stringop-overflow
                           -Wno-stringop-overread)
  endif()
  sluice_unoptimized(${name})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  if(NOT ARG_PARTS)
    add_test(NAME ${name} COMMAND ${name})
    return()
  endif()
  foreach(part RANGE 1 ${ARG_PARTS})
    math(EXPR index "${part} - 1")
    add_test(NAME ${name}_${part} COMMAND ${name})
    set_tests_properties(${name}_${part} PROPERTIES
                         ENVIRONMENT "GTEST_TOTAL_SHARDS=${ARG_PARTS};GTEST_SHARD_INDEX=${index}")
  endforeach()
endfunction()
