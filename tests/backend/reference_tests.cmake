# Compiled once: the same cases drive every backend.
add_library(sluice_op_cases OBJECT
  op_cases.cpp random_weights.cpp basic_cases.cpp matmul_cases.cpp attention_cases.cpp linear_attention_cases.cpp
  mla_cases.cpp)
target_include_directories(sluice_op_cases PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/src)
target_link_libraries(sluice_op_cases PRIVATE sluice_warnings fmt::fmt)

sluice_room_test(backend_check_test SOURCES check_test.cpp host_buffer_test.cpp queued_backend.cpp ROOMS backend)
sluice_room_test(reference_test
  SOURCES reference_test.cpp reference_routing_test.cpp reference_attention_test.cpp reference_delta_rule_test.cpp
          $<TARGET_OBJECTS:sluice_op_cases>
  ROOMS backend)
sluice_room_test(mla_test SOURCES mla_forms_test.cpp queued_backend.cpp ROOMS backend)
sluice_room_test(queued_backend_test
  SOURCES queued_backend_test.cpp queued_backend.cpp $<TARGET_OBJECTS:sluice_op_cases>
  ROOMS backend)
if(EXISTS ${PROJECT_SOURCE_DIR}/src/backend/cpu/sources.cmake)
  sluice_room_test(cpu_op_test SOURCES cpu_op_test.cpp $<TARGET_OBJECTS:sluice_op_cases> ROOMS backend)
endif()
