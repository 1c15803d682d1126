#include "text/unicode_forms.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "unicode/utf8.h"

namespace sluice {

namespace {

constexpr char32_t kFirstComposing = 0x300;  // NFC leaves alone any text of characters below

bool is_ascii(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

std::vector<utf8proc_int32_t> decompose(std::string_view text, bool compatible) {
    const int options = UTF8PROC_DECOMPOSE | UTF8PROC_STABLE | (compatible ? UTF8PROC_COMPAT : 0);
    constexpr size_t kLongest = 32;  // the longest decomposition of one character has 18
    std::vector<utf8proc_int32_t> characters;
    characters.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
        const utf8::Decoded next = utf8::decode(text, at);
        at += next.length;
        utf8proc_int32_t parts[kLongest];
        int boundary = 0;
        const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(next.value), parts, kLongest,
                                                   static_cast<utf8proc_option_t>(options), &boundary);
        if (count < 0 || static_cast<size_t>(count) > kLongest) {
            fail(ErrorCode::kUsage, "cannot normalize the character U+{:04X}", static_cast<uint32_t>(next.value));
        }
        characters.insert(characters.end(), parts, parts + count);
    }
    return characters;
}

// Marks after a base are put in the order of their combining classes. utf8proc's own loop is quadratic in a run.
void order_marks(std::vector<utf8proc_int32_t>& characters) {
    const auto combining_class = [](utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; };
    const auto is_base = [&](utf8proc_int32_t c) { return combining_class(c) == 0; };
    for (auto begin = characters.begin(); begin != characters.end();) {
        begin = std::find_if_not(begin, characters.end(), is_base);
        const auto end = std::find_if(begin, characters.end(), is_base);
        std::stable_sort(begin, end, [&](auto a, auto b) { return combining_class(a) < combining_class(b); });
        begin = end;
    }
}

bool below(std::string_view text, char32_t limit) {
    for (size_t at = 0; at < text.size();) {
        const utf8::Decoded next = utf8::decode(text, at);
        if (next.value >= limit) return false;
        at += next.length;
    }
    return true;
}

}  // namespace

std::string to_unicode_form(std::string_view text, UnicodeForm form) {
    const bool compose = form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc;
    const bool compatible = form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd;
    if (is_ascii(text) || (form == UnicodeForm::kNfc && below(text, kFirstComposing))) return std::string(text);

    std::vector<utf8proc_int32_t> characters = decompose(text, compatible);
    order_marks(characters);
    auto count = static_cast<utf8proc_ssize_t>(characters.size());
    if (compose) {
        const int options = UTF8PROC_COMPOSE | UTF8PROC_STABLE;
        count = utf8proc_normalize_utf32(characters.data(), count, static_cast<utf8proc_option_t>(options));
    }
    std::string out;
    out.reserve(text.size());
    for (utf8proc_ssize_t i = 0; i < count; ++i) {
        utf8::append(out, static_cast<char32_t>(characters[static_cast<size_t>(i)]));
    }
    return out;
}

}  // namespace sluice
