sluice_room_test(tokenizer_test
  SOURCES tokenizer_fixture.cpp tokenizer_test.cpp tokenizer_file_test.cpp tokenizer_parts_test.cpp token_decoder_test.cpp
          pattern_test.cpp unicode_test.cpp
  ROOMS text)
