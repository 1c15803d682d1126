sluice_room_test(pack_test
  SOURCES inspect_test.cpp pack_resume_test.cpp pack_test.cpp packed_values.cpp tiny_checkpoint.cpp tiny_shapes.cpp
  ROOMS checkpoint)
target_link_libraries(pack_test PRIVATE nlohmann_json::nlohmann_json)
sluice_room_test(synth_test SOURCES synth_test.cpp tiny_shapes.cpp ROOMS checkpoint)
sluice_room_test(synth_routing_test SOURCES synth_routing_test.cpp tiny_shapes.cpp ROOMS engine)
