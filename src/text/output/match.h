#pragma once

#include <cstddef>
#include <initializer_list>
#include <string_view>

namespace sluice::output {

inline constexpr std::string_view kSpace = " \t\n\r";

inline constexpr size_t kMostHeld = size_t{1} << 20;  // bytes that a parser keeps back, of a key or of white space

enum class Match { kNo, kYes, kMaybe };  // kMaybe: what comes next decides

// Whether `text` begins with `mark`; `ended`: nothing comes after `text`.
inline Match begins_with(std::string_view text, std::string_view mark, bool ended) {
    if (text.starts_with(mark)) return Match::kYes;
    return !ended && mark.starts_with(text) ? Match::kMaybe : Match::kNo;
}

// Whether an answer that ends with `text` ends in the middle of a mark. A character or two may be text.
inline bool is_cut(std::string_view text, std::string_view mark) {
    if (text.size() >= mark.size() || !mark.starts_with(text)) return false;
    size_t characters = 0;
    for (const char byte : text) characters += (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
    return characters > 2;
}

// As begins_with, where markup is expected: at the end of an answer any beginning of it counts.
inline Match begins_markup(std::string_view text, std::string_view mark, bool ended) {
    if (ended && mark.starts_with(text)) return Match::kYes;
    return begins_with(text, mark, ended);
}

// Where the white space at the beginning of `text` ends.
inline size_t space_end(std::string_view text) {
    const size_t end = text.find_first_not_of(kSpace);
    return end == std::string_view::npos ? text.size() : end;
}

// Whether, after white space, one of the marks comes; at the end of an answer a beginning of one is enough.
inline Match one_follows(std::string_view text, std::initializer_list<std::string_view> marks, bool ended) {
    const std::string_view rest = text.substr(space_end(text));
    Match best = Match::kNo;
    for (const std::string_view mark : marks) {
        if (rest.starts_with(mark)) return Match::kYes;
        if (mark.starts_with(rest)) best = ended ? Match::kYes : Match::kMaybe;
    }
    return best;
}

inline bool is_space(char byte) {
    return kSpace.find(byte) != std::string_view::npos;
}

inline std::string_view trimmed(std::string_view text) {
    text.remove_prefix(space_end(text));
    return text.substr(0, text.find_last_not_of(kSpace) + 1);
}

}  // namespace sluice::output
