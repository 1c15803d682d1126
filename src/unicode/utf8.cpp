#include "unicode/utf8.h"

#include <utf8proc.h>

namespace sluice::utf8 {

namespace {

struct LeadRange {
    size_t length;              // of the whole character; 0: no character begins so
    unsigned char second_low;   // the second byte is narrower after some leads: no overlong forms, no
    unsigned char second_high;  // surrogates, nothing above U+10FFFF
};

constexpr LeadRange lead_range(unsigned char lead) {
    if (lead >= 0xC2 && lead <= 0xDF) return {2, 0x80, 0xBF};
    if (lead == 0xE0) return {3, 0xA0, 0xBF};
    if (lead == 0xED) return {3, 0x80, 0x9F};
    if (lead >= 0xE1 && lead <= 0xEF) return {3, 0x80, 0xBF};
    if (lead == 0xF0) return {4, 0x90, 0xBF};
    if (lead >= 0xF1 && lead <= 0xF3) return {4, 0x80, 0xBF};
    if (lead == 0xF4) return {4, 0x80, 0x8F};
    return {0, 0, 0};
}

utf8proc_category_t category(char32_t character) {
    return utf8proc_category(static_cast<utf8proc_int32_t>(character));
}

}  // namespace

Decoded decode(std::string_view text, size_t at) {
    const auto lead = static_cast<unsigned char>(text[at]);
    if (lead < 0x80) return {lead, 1, true, false};
    const LeadRange range = lead_range(lead);
    if (range.length == 0) return {kReplacement, 1, false, false};
    char32_t value = lead & (0x7Fu >> range.length);
    for (size_t i = 1; i < range.length; ++i) {
        if (at + i == text.size()) return {kReplacement, i, false, true};
        const auto byte = static_cast<unsigned char>(text[at + i]);
        const unsigned char low = i == 1 ? range.second_low : 0x80;
        const unsigned char high = i == 1 ? range.second_high : 0xBF;
        if (byte < low || byte > high) return {kReplacement, i, false, false};
        value = (value << 6) | (byte & 0x3Fu);
    }
    return {value, range.length, true, false};
}

void append(std::string& out, char32_t character) {
    const auto put = [&out](char32_t byte) { out.push_back(static_cast<char>(byte)); };
    if (character < 0x80) {
        put(character);
    } else if (character < 0x800) {
        put(0xC0 | (character >> 6));
        put(0x80 | (character & 0x3F));
    } else if (character < 0x10000) {
        put(0xE0 | (character >> 12));
        put(0x80 | ((character >> 6) & 0x3F));
        put(0x80 | (character & 0x3F));
    } else {
        put(0xF0 | (character >> 18));
        put(0x80 | ((character >> 12) & 0x3F));
        put(0x80 | ((character >> 6) & 0x3F));
        put(0x80 | (character & 0x3F));
    }
}

bool is_valid(std::string_view text) {
    for (size_t at = 0; at < text.size();) {
        const Decoded next = decode(text, at);
        if (!next.valid) return false;
        at += next.length;
    }
    return true;
}

std::string sanitize(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
        const Decoded next = decode(text, at);
        if (next.valid) {
            out.append(text, at, next.length);
        } else {
            append(out, kReplacement);
        }
        at += next.length;
    }
    return out;
}

size_t incomplete_tail(std::string_view text) {
    for (size_t back = 1; back <= 3 && back <= text.size(); ++back) {
        const size_t at = text.size() - back;
        if ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) continue;
        const Decoded last = decode(text, at);
        return last.truncated && last.length == back ? back : 0;
    }
    return 0;
}

bool is_white_space(char32_t c) {
    return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_word(char32_t c) {
    switch (category(c)) {
        case UTF8PROC_CATEGORY_LU:
        case UTF8PROC_CATEGORY_LL:
        case UTF8PROC_CATEGORY_LT:
        case UTF8PROC_CATEGORY_LM:
        case UTF8PROC_CATEGORY_LO:
        case UTF8PROC_CATEGORY_MN:
        case UTF8PROC_CATEGORY_MC:
        case UTF8PROC_CATEGORY_ME:
        case UTF8PROC_CATEGORY_ND:
        case UTF8PROC_CATEGORY_NL:
        case UTF8PROC_CATEGORY_PC:
            return true;
        case UTF8PROC_CATEGORY_SO:  // the circled and squared letters are Alphabetic
            return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
                   (c >= 0x1F170 && c <= 0x1F189);
        default:
            return c == 0x200C || c == 0x200D;
    }
}

bool is_number(char32_t c) {
    const utf8proc_category_t kind = category(c);
    return kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_NL || kind == UTF8PROC_CATEGORY_NO;
}

bool is_mark(char32_t c) {
    const utf8proc_category_t kind = category(c);
    return kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_MC || kind == UTF8PROC_CATEGORY_ME;
}

bool is_punctuation(char32_t c) {
    if (c < 0x80) {
        return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
    }
    const utf8proc_category_t kind = category(c);
    return kind >= UTF8PROC_CATEGORY_PC && kind <= UTF8PROC_CATEGORY_PO;
}

void append_lowercase(std::string& out, char32_t c) {
    if (c == 0x130) {  // the one character whose unconditional lowercase is two characters
        append(out, U'i');
        append(out, 0x307);
    } else {
        append(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
    }
}

size_t trailing_space_begin(std::string_view text) {
    size_t begin = text.size();
    while (begin > 0) {
        size_t at = begin - 1;
        while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
        if (!is_white_space(decode(text, at).value)) break;
        begin = at;
    }
    return begin;
}

size_t leading_space_end(std::string_view text) {
    size_t end = 0;
    while (end < text.size()) {
        const Decoded next = decode(text, end);
        if (!is_white_space(next.value)) break;
        end += next.length;
    }
    return end;
}

}  // namespace sluice::utf8
