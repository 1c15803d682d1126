sluice_fuzzer(template_fuzz SOURCES template_fuzz.cpp ROOMS text)
