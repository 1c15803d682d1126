#include "text/byte_alphabet.h"

#include <array>

#include "unicode/utf8.h"

namespace sluice::byte_alphabet {

namespace {

constexpr char32_t kEnd = 0x144;  // one past the last character

constexpr bool stands_for_itself(unsigned byte) {
    return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Tables {
    std::array<char32_t, 256> to_character{};
    std::array<int16_t, kEnd> to_byte{};
};

constexpr Tables make_tables() {
    Tables tables;
    tables.to_byte.fill(-1);
    char32_t next = 0x100;
    for (unsigned byte = 0; byte < 256; ++byte) {
        const char32_t character = stands_for_itself(byte) ? static_cast<char32_t>(byte) : next++;
        tables.to_character[byte] = character;
        tables.to_byte[character] = static_cast<int16_t>(byte);
    }
    return tables;
}

constexpr Tables kTables = make_tables();

}  // namespace

char32_t character_of(uint8_t byte) {
    return kTables.to_character[byte];
}

std::optional<uint8_t> byte_of(char32_t character) {
    if (character >= kEnd || kTables.to_byte[character] < 0) return std::nullopt;
    return static_cast<uint8_t>(kTables.to_byte[character]);
}

void encode(std::string_view bytes, std::string& out) {
    for (const char byte : bytes) utf8::append(out, character_of(static_cast<uint8_t>(byte)));
}

std::string decode(std::string_view token) {
    std::string bytes;
    bytes.reserve(token.size());
    for (size_t at = 0; at < token.size();) {
        const utf8::Decoded next = utf8::decode(token, at);
        const std::optional<uint8_t> byte = byte_of(next.value);
        if (!byte) return std::string(token);
        bytes.push_back(static_cast<char>(*byte));
        at += next.length;
    }
    return bytes;
}

}  // namespace sluice::byte_alphabet
