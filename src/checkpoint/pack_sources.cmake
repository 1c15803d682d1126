set(PACK_SOURCES inspect.cpp inspect_config.cpp pack.cpp pack_config.cpp pack_encode.cpp pack_metadata.cpp pack_plan.cpp pack_verify.cpp
    synth.cpp synth_config.cpp synth_fill.cpp synth_presets.cpp synth_tensors.cpp)
