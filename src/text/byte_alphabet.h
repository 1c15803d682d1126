#pragma once

// The alphabet of byte-level BPE: each byte has a printable character of its own, so that a vocabulary of strings can
// hold any bytes. Printable Latin-1 stands for itself, the other 68 bytes for U+0100 onwards (GPT-2's table).

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::byte_alphabet {

char32_t character_of(uint8_t byte);
std::optional<uint8_t> byte_of(char32_t character);

// Appends each byte of `bytes` as its character.
void encode(std::string_view bytes, std::string& out);
// The bytes that a token stands for; a token with a character outside the alphabet stands for its own UTF-8.
std::string decode(std::string_view token);

}  // namespace sluice::byte_alphabet
