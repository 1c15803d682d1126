#include "jinja/unicode.h"

#include <utf8proc.h>

#include "unicode/utf8.h"

namespace sluice::jinja {

namespace {

utf8proc_category_t category(char32_t point) {
    return utf8proc_category(static_cast<utf8proc_int32_t>(point));
}

bool is_cased(char32_t point) {
    return is_upper(point) || is_lower(point) || is_title(point);
}

// Simple mappings cover all but these: one letter that becomes several.
std::string_view special_upper(char32_t point) {
    switch (point) {
        case U'ß':
            return "SS";
        case U'ŉ':
            return "ʼN";
        case U'ǰ':
            return "J̌";
        case U'ﬀ':
            return "FF";
        case U'ﬁ':
            return "FI";
        case U'ﬂ':
            return "FL";
        case U'ﬃ':
            return "FFI";
        case U'ﬄ':
            return "FFL";
        case U'ﬅ':
        case U'ﬆ':
            return "ST";
        default:
            return {};
    }
}

void append_upper(std::string& out, char32_t point) {
    if (const std::string_view special = special_upper(point); !special.empty()) {
        out += special;
    } else {
        utf8::append(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(point))));
    }
}

void append_title(std::string& out, char32_t point) {
    if (const std::string_view special = special_upper(point); !special.empty()) {
        size_t at = 0;
        utf8::append(out, next_code_point(special, at));
        out += lower(special.substr(at));
    } else {
        utf8::append(out, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(point))));
    }
}

// A capital sigma ends a word as ς: after a letter with none following, marks in between not counted.
bool is_final_sigma(const std::vector<char32_t>& points, size_t at) {
    auto ignorable = [](char32_t point) {
        const utf8proc_category_t kind = category(point);
        return point == U'\'' || point == U'.' || point == U':' || kind == UTF8PROC_CATEGORY_MN ||
               kind == UTF8PROC_CATEGORY_ME || kind == UTF8PROC_CATEGORY_CF || kind == UTF8PROC_CATEGORY_LM ||
               kind == UTF8PROC_CATEGORY_SK;
    };
    size_t before = at;
    while (before > 0 && ignorable(points[before - 1])) --before;
    if (before == 0 || !is_cased(points[before - 1])) return false;
    size_t after = at + 1;
    while (after < points.size() && ignorable(points[after])) ++after;
    return after == points.size() || !is_cased(points[after]);
}

void append_lower(std::string& out, const std::vector<char32_t>& points, size_t at) {
    const char32_t point = points[at];
    if (point == U'İ') {
        out += "i̇";
    } else if (point == U'Σ' && is_final_sigma(points, at)) {
        out += "ς";
    } else {
        utf8::append(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(point))));
    }
}

}  // namespace

size_t count_code_points(std::string_view text) {
    // In blocks whose count fits a byte, which the compiler then does many bytes at a time.
    constexpr size_t kBlock = 192;
    size_t count = 0;
    for (size_t begin = 0; begin < text.size(); begin += kBlock) {
        unsigned char in_block = 0;
        for (const char byte : text.substr(begin, kBlock)) {
            in_block = static_cast<unsigned char>(in_block + ((static_cast<unsigned char>(byte) & 0xC0) != 0x80));
        }
        count += in_block;
    }
    return count;
}

char32_t next_code_point(std::string_view text, size_t& at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x80) {
        ++at;
        return byte;
    }
    const utf8::Decoded decoded = utf8::decode(text, at);
    at += decoded.length;
    return decoded.value;
}

char32_t previous_code_point(std::string_view text, size_t& at) {
    do {
        --at;
    } while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
    size_t start = at;
    return next_code_point(text, start);
}

std::vector<char32_t> code_points(std::string_view text) {
    std::vector<char32_t> points;
    points.reserve(text.size());
    for (size_t at = 0; at < text.size();) points.push_back(next_code_point(text, at));
    return points;
}

bool is_space(char32_t point) {
    return (point >= 0x09 && point <= 0x0D) || (point >= 0x1C && point <= 0x20) || point == 0x85 || point == 0xA0 ||
           point == 0x1680 || (point >= 0x2000 && point <= 0x200A) || point == 0x2028 || point == 0x2029 ||
           point == 0x202F || point == 0x205F || point == 0x3000;
}

bool is_line_break(char32_t point) {
    return (point >= 0x0A && point <= 0x0D) || (point >= 0x1C && point <= 0x1E) || point == 0x85 || point == 0x2028 ||
           point == 0x2029;
}

bool is_alpha(char32_t point) {
    const utf8proc_category_t kind = category(point);
    return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}

bool is_decimal(char32_t point) {
    return category(point) == UTF8PROC_CATEGORY_ND;
}

bool is_digit(char32_t point) {
    return is_decimal(point) || point == 0xB2 || point == 0xB3 || point == 0xB9 || point == 0x2070 ||
           (point >= 0x2074 && point <= 0x2079) || (point >= 0x2080 && point <= 0x2089) ||
           (point >= 0x2460 && point <= 0x2468);
}

bool is_numeric(char32_t point) {
    const utf8proc_category_t kind = category(point);
    return kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_NL || kind == UTF8PROC_CATEGORY_NO;
}

bool is_word(char32_t point) {
    return point == U'_' || is_alpha(point) || is_numeric(point);
}

bool is_upper(char32_t point) {
    return category(point) == UTF8PROC_CATEGORY_LU;
}
bool is_lower(char32_t point) {
    return category(point) == UTF8PROC_CATEGORY_LL || point == 0xAA || point == 0xBA;
}
bool is_title(char32_t point) {
    return category(point) == UTF8PROC_CATEGORY_LT;
}

bool is_printable(char32_t point) {
    if (point == U' ') return true;
    switch (category(point)) {
        case UTF8PROC_CATEGORY_CC:
        case UTF8PROC_CATEGORY_CF:
        case UTF8PROC_CATEGORY_CS:
        case UTF8PROC_CATEGORY_CO:
        case UTF8PROC_CATEGORY_CN:
        case UTF8PROC_CATEGORY_ZL:
        case UTF8PROC_CATEGORY_ZP:
        case UTF8PROC_CATEGORY_ZS:
            return false;
        default:
            return true;
    }
}

bool starts_identifier(char32_t point) {
    return point == U'_' || is_alpha(point) || category(point) == UTF8PROC_CATEGORY_NL;
}

bool continues_identifier(char32_t point) {
    const utf8proc_category_t kind = category(point);
    return starts_identifier(point) || kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_MN ||
           kind == UTF8PROC_CATEGORY_MC || kind == UTF8PROC_CATEGORY_PC;
}

bool is_identifier(std::string_view text) {
    if (text.empty()) return false;
    size_t at = 0;
    if (!starts_identifier(next_code_point(text, at))) return false;
    while (at < text.size()) {
        if (!continues_identifier(next_code_point(text, at))) return false;
    }
    return true;
}

std::string upper(std::string_view text) {
    std::string out;
    for (size_t at = 0; at < text.size();) append_upper(out, next_code_point(text, at));
    return out;
}

std::string lower(std::string_view text) {
    const std::vector<char32_t> points = code_points(text);
    std::string out;
    for (size_t i = 0; i < points.size(); ++i) append_lower(out, points, i);
    return out;
}

std::string title(std::string_view text) {
    const std::vector<char32_t> points = code_points(text);
    std::string out;
    bool inside = false;
    for (size_t i = 0; i < points.size(); ++i) {
        if (inside) {
            append_lower(out, points, i);
        } else {
            append_title(out, points[i]);
        }
        inside = is_cased(points[i]);
    }
    return out;
}

std::string capitalize(std::string_view text) {
    const std::vector<char32_t> points = code_points(text);
    std::string out;
    for (size_t i = 0; i < points.size(); ++i) {
        if (i == 0) {
            append_title(out, points[i]);
        } else {
            append_lower(out, points, i);
        }
    }
    return out;
}

std::string swapcase(std::string_view text) {
    const std::vector<char32_t> points = code_points(text);
    std::string out;
    for (size_t i = 0; i < points.size(); ++i) {
        if (is_upper(points[i])) {
            append_lower(out, points, i);
        } else if (is_lower(points[i])) {
            append_upper(out, points[i]);
        } else {
            utf8::append(out, points[i]);
        }
    }
    return out;
}

std::string casefold(std::string_view text) {
    std::string out;
    for (size_t at = 0; at < text.size();) {
        const char32_t point = next_code_point(text, at);
        utf8proc_int32_t folded[8];
        int boundary = 0;
        const utf8proc_ssize_t count =
            utf8proc_decompose_char(static_cast<utf8proc_int32_t>(point), folded, 8, UTF8PROC_CASEFOLD, &boundary);
        for (utf8proc_ssize_t i = 0; i < count && i < 8; ++i) utf8::append(out, static_cast<char32_t>(folded[i]));
    }
    return out;
}

}  // namespace sluice::jinja
