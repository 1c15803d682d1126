#pragma once

// UTF-8 and the few Unicode properties that tokenizers ask for.

#include <cstddef>
#include <string>
#include <string_view>

namespace sluice::utf8 {

inline constexpr char32_t kReplacement = 0xFFFD;

struct Decoded {
    char32_t value;  // kReplacement where the bytes are malformed
    size_t length;   // bytes read: of a malformed sequence its longest well-formed beginning, at least one
    bool valid;
    bool truncated;  // malformed only because `text` ends here
};

// The character that begins at text[at]; at < text.size().
Decoded decode(std::string_view text, size_t at);
void append(std::string& out, char32_t character);

// Bytes of the character whose lead byte this is, in valid text.
constexpr size_t length_from_lead(char lead) {
    const auto byte = static_cast<unsigned char>(lead);
    return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

bool is_valid(std::string_view text);
// Valid UTF-8: each malformed sequence (as Decoded::length cuts them) becomes one U+FFFD.
std::string sanitize(std::string_view text);
// How many bytes at the end begin a character that more bytes may complete: 0 to 3.
size_t incomplete_tail(std::string_view text);

bool is_white_space(char32_t character);  // Unicode White_Space
bool is_word(char32_t character);         // Alphabetic, marks, decimal digits, connectors, joiners
bool is_number(char32_t character);       // Nd, Nl, No
bool is_mark(char32_t character);         // Mn, Mc, Me
bool is_punctuation(char32_t character);  // P*, and the ASCII symbols that count as punctuation there
void append_lowercase(std::string& out, char32_t character);

// Where the white space at the end of valid `text` begins, and where the one at its start ends.
size_t trailing_space_begin(std::string_view text);
size_t leading_space_end(std::string_view text);

}  // namespace sluice::utf8
