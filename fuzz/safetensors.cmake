sluice_fuzzer(safetensors_fuzz SOURCES safetensors_fuzz.cpp ROOMS checkpoint)
