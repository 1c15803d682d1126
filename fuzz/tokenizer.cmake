sluice_fuzzer(tokenizer_fuzz SOURCES tokenizer_fuzz.cpp ROOMS text)
