#include <algorithm>
#include <array>

#include "jinja/failure.h"
#include "jinja/format.h"
#include "jinja/methods.h"
#include "jinja/operations.h"
#include "jinja/render.h"
#include "jinja/string_functions.h"
#include "jinja/unicode.h"

namespace sluice::jinja {

namespace {

const StringObject& self(const Bound& arguments) {
    return arguments[0].as_string();
}

Value like(const Bound& arguments, SourcedText text) {
    return Value::string(std::move(text), self(arguments).markup);
}

// A text that is made of the whole string.
Value like(const Bound& arguments, std::string text) {
    return like(arguments, SourcedText(std::move(text), self(arguments).source.trusted()));
}

// `piece` is a view of the string.
Value part(const Bound& arguments, std::string_view piece) {
    return like(arguments, self(arguments).source.part(piece));
}

std::string text_argument(const Bound& arguments, size_t index) {
    const Value& value = arguments[index];
    if (!value.is_string()) raise("must be str, not {}", type_name(value));
    return value.text();
}

// Bytes of the part of a string between two optional code point bounds, as find, count and startswith take them.
struct Part {
    std::string_view text;
    size_t offset;  // code points before it
    bool valid;     // Python finds nothing, not even "", where the start lies behind the end
};

Part part_of(const Bound& arguments, size_t start_index) {
    const StringObject& string = self(arguments);
    const auto length = static_cast<int64_t>(string.length);
    auto bound = [&](size_t index, int64_t missing) {
        if (arguments.absent(index)) return missing;
        const int64_t at = arguments.integer(index, missing);
        return std::max<int64_t>(at < 0 ? at + length : at, 0);
    };
    const int64_t start = bound(start_index, 0);
    const int64_t stop = std::min(bound(start_index + 1, length), length);
    if (start > stop) return {{}, 0, false};
    const size_t begin = byte_offset(string, static_cast<size_t>(start));
    const size_t end = byte_offset(string, static_cast<size_t>(stop));
    charge_copy(end - begin);
    return {std::string_view(string.text).substr(begin, end - begin), static_cast<size_t>(start), true};
}

int64_t search(const Bound& arguments, bool from_right) {
    const std::string wanted = text_argument(arguments, 1);
    const Part part = part_of(arguments, 2);
    if (!part.valid) return -1;
    const size_t at = from_right ? part.text.rfind(wanted) : part.text.find(wanted);
    if (at == std::string_view::npos) return -1;
    return static_cast<int64_t>(part.offset + count_code_points(part.text.substr(0, at)));
}

Value found_or_raise(int64_t at) {
    if (at < 0) raise("substring not found");
    return Value::integer(at);
}

template <bool kFromEnd>
Value has_affix(const Bound& arguments) {
    const Part part = part_of(arguments, 2);
    auto matches = [&](const Value& affix) {
        if (!affix.is_string()) {
            raise("{} first arg must be str or a tuple of str, not {}", kFromEnd ? "endswith" : "startswith",
                  type_name(affix));
        }
        if (!part.valid) return false;
        return kFromEnd ? part.text.ends_with(affix.text()) : part.text.starts_with(affix.text());
    };
    if (arguments[1].is(Kind::kTuple)) {
        const Value::Items& affixes = arguments[1].items();
        return Value::boolean(std::any_of(affixes.begin(), affixes.end(), matches));
    }
    return Value::boolean(matches(arguments[1]));
}

template <bool (*kTest)(char32_t)>
Value every_point(const Bound& arguments) {
    const std::string& text = self(arguments).text;
    for (size_t at = 0; at < text.size();) {
        if (!kTest(next_code_point(text, at))) return Value::boolean(false);
    }
    return Value::boolean(!text.empty());
}

bool is_alphanumeric(char32_t point) {
    return is_alpha(point) || is_numeric(point);
}

// At least one cased letter, and none of the unwanted case.
template <bool (*kWanted)(char32_t), bool (*kUnwanted)(char32_t)>
Value all_cased(const Bound& arguments) {
    const std::string& text = self(arguments).text;
    bool any = false;
    for (size_t at = 0; at < text.size();) {
        const char32_t point = next_code_point(text, at);
        if (kUnwanted(point) || is_title(point)) return Value::boolean(false);
        any = any || kWanted(point);
    }
    return Value::boolean(any);
}

Value is_title_cased(const Bound& arguments) {
    const std::string& text = self(arguments).text;
    bool any = false;
    bool inside = false;
    for (size_t at = 0; at < text.size();) {
        const char32_t point = next_code_point(text, at);
        const bool starts = is_upper(point) || is_title(point);
        if (starts && inside) return Value::boolean(false);
        if (is_lower(point) && !inside) return Value::boolean(false);
        inside = starts || is_lower(point);
        any = any || inside;
    }
    return Value::boolean(any);
}

template <std::string (*kMap)(std::string_view)>
Value mapped(const Bound& arguments) {
    charge_items(self(arguments).text.size());
    return like(arguments, kMap(self(arguments).text));
}

template <bool kLeft, bool kRight>
Value stripped(const Bound& arguments) {
    const std::string characters = arguments.absent(1) ? "" : text_argument(arguments, 1);
    if (!arguments.absent(1) && characters.empty()) return arguments[0];
    return part(arguments, strip(self(arguments).text, characters, kLeft, kRight));
}

using Pieces = std::vector<std::string_view>;

Pieces split_on_space(std::string_view text, int64_t limit) {
    Pieces pieces;
    text = strip(text, "", true, false);
    while (!text.empty()) {
        if (limit >= 0 && static_cast<int64_t>(pieces.size()) >= limit) {
            pieces.push_back(text);
            break;
        }
        size_t end = 0;
        for (size_t at = 0; at < text.size(); end = at) {
            if (is_space(next_code_point(text, at))) break;
        }
        pieces.push_back(text.substr(0, end));
        text = strip(text.substr(end), "", true, false);
    }
    return pieces;
}

Pieces split_on_space_from_right(std::string_view text, int64_t limit) {
    Pieces pieces;
    text = strip(text, "", false, true);
    while (!text.empty()) {
        if (limit >= 0 && static_cast<int64_t>(pieces.size()) >= limit) {
            pieces.push_back(text);
            break;
        }
        size_t begin = text.size();
        for (size_t at = text.size(); at > 0; begin = at) {
            if (is_space(previous_code_point(text, at))) break;
        }
        pieces.push_back(text.substr(begin));
        text = strip(text.substr(0, begin), "", false, true);
    }
    std::reverse(pieces.begin(), pieces.end());
    return pieces;
}

template <bool kFromRight>
Pieces split_on(std::string_view text, std::string_view separator, int64_t limit) {
    Pieces pieces;
    while (limit < 0 || static_cast<int64_t>(pieces.size()) < limit) {
        const size_t at = kFromRight ? text.rfind(separator) : text.find(separator);
        if (at == std::string_view::npos) break;
        const std::string_view behind = text.substr(at + separator.size());
        pieces.push_back(kFromRight ? behind : text.substr(0, at));
        text = kFromRight ? text.substr(0, at) : behind;
    }
    pieces.push_back(text);
    if (kFromRight) std::reverse(pieces.begin(), pieces.end());
    return pieces;
}

Value::Items items_of(const Bound& arguments, const Pieces& pieces) {
    Value::Items items;
    items.reserve(pieces.size());
    for (const std::string_view piece : pieces) items.push_back(part(arguments, piece));
    return items;
}

std::string separator_argument(const Bound& arguments) {
    std::string separator = text_argument(arguments, 1);
    if (separator.empty()) raise("empty separator");
    return separator;
}

template <bool kFromRight>
Value split(const Bound& arguments) {
    const std::string_view text = self(arguments).text;
    charge_items(text.size());
    const int64_t limit = arguments.integer(2, -1);
    if (arguments.absent(1)) {
        const Pieces pieces = kFromRight ? split_on_space_from_right(text, limit) : split_on_space(text, limit);
        return Value::list(items_of(arguments, pieces));
    }
    const std::string separator = separator_argument(arguments);
    return Value::list(items_of(arguments, split_on<kFromRight>(text, separator, limit)));
}

template <bool kFromRight>
Value partition(const Bound& arguments) {
    const std::string_view text = self(arguments).text;
    const std::string separator = separator_argument(arguments);
    const size_t at = kFromRight ? text.rfind(separator) : text.find(separator);
    Pieces parts{text, "", ""};
    if (at != std::string_view::npos) {
        parts = {text.substr(0, at), text.substr(at, separator.size()), text.substr(at + separator.size())};
    } else if (kFromRight) {
        std::swap(parts[0], parts[2]);
    }
    return Value::tuple(items_of(arguments, parts));
}

Value count_occurrences(const Bound& arguments) {
    const std::string wanted = text_argument(arguments, 1);
    const Part part = part_of(arguments, 2);
    if (!part.valid) return Value::integer(0);
    if (wanted.empty()) return Value::integer(static_cast<int64_t>(count_code_points(part.text)) + 1);
    int64_t count = 0;
    size_t at = part.text.find(wanted);
    for (; at != std::string_view::npos; at = part.text.find(wanted, at + wanted.size())) ++count;
    return Value::integer(count);
}

SourcedText fill_argument(const Bound& arguments) {
    if (arguments.given(2)) text_argument(arguments, 2);
    const SourcedText fill = arguments.given(2) ? arguments[2].source() : SourcedText(" ");
    if (count_code_points(fill.text()) != 1) raise("The fill character must be exactly one character long");
    return fill;
}

SourcedText repeated(const SourcedText& text, size_t count) {
    size_t bytes = 0;
    if (__builtin_mul_overflow(text.size(), count, &bytes)) raise("a width of {} is too large", count);
    require_room(bytes);
    charge_copy(bytes);
    SourcedText out;
    for (size_t i = 0; i < count; ++i) out.append(text);
    return out;
}

enum class Side { kLeft, kCenter, kRight };

template <Side kSide>
Value justified(const Bound& arguments) {
    const SourcedText fill = fill_argument(arguments);
    const StringObject& string = self(arguments);
    const int64_t width = arguments.integer(1, 0);
    if (width <= static_cast<int64_t>(string.length)) return arguments[0];
    const size_t missing = static_cast<size_t>(width) - string.length;
    size_t left = 0;
    if (kSide == Side::kRight) left = missing;
    // Python puts the odd one to the left where the width is odd too.
    if (kSide == Side::kCenter) left = missing / 2 + (missing & static_cast<size_t>(width) & 1);
    SourcedText text = repeated(fill, left);
    text.append(string.source);
    text.append(repeated(fill, missing - left));
    return like(arguments, std::move(text));
}

Value zero_filled(const Bound& arguments) {
    const StringObject& string = self(arguments);
    const int64_t width = arguments.integer(1, 0);
    if (width <= static_cast<int64_t>(string.length)) return arguments[0];
    const bool has_sign = string.text.starts_with('+') || string.text.starts_with('-');
    const std::string zeros = repeated(SourcedText("0"), static_cast<size_t>(width) - string.length).text();
    return like(arguments, string.text.substr(0, has_sign ? 1 : 0) + zeros + string.text.substr(has_sign ? 1 : 0));
}

Value expand_tabs(const Bound& arguments) {
    const int64_t size = std::min<int64_t>(arguments.integer(1, 8), INT32_MAX);
    const std::string& text = self(arguments).text;
    std::string out;
    int64_t column = 0;
    for (size_t at = 0; at < text.size();) {
        const size_t begin = at;
        const char32_t point = next_code_point(text, at);
        if (point == U'\t') {
            const int64_t spaces = size > 0 ? size - column % size : 0;
            out += repeated(SourcedText(" "), static_cast<size_t>(spaces)).text();
            column += spaces;
        } else {
            out.append(text, begin, at - begin);
            column = point == U'\n' || point == U'\r' ? 0 : column + 1;
        }
    }
    return like(arguments, std::move(out));
}

Value replaced(const Bound& arguments) {
    text_argument(arguments, 2);
    return like(arguments, replace(self(arguments).source, text_argument(arguments, 1), arguments[2].source(),
                                   arguments.integer(3, -1)));
}

Value joined(const Bound& arguments) {
    return like(arguments, join(self(arguments).source, arguments[1]));
}

Value lines(const Bound& arguments) {
    Value::Items pieces;
    for (const std::string_view line : split_lines(self(arguments).text, arguments.flag(1, false))) {
        pieces.push_back(part(arguments, line));
    }
    return Value::list(std::move(pieces));
}

Value without_prefix(const Bound& arguments) {
    const std::string prefix = text_argument(arguments, 1);
    const std::string_view text = self(arguments).text;
    return text.starts_with(prefix) ? part(arguments, text.substr(prefix.size())) : arguments[0];
}

Value without_suffix(const Bound& arguments) {
    const std::string suffix = text_argument(arguments, 1);
    const std::string_view text = self(arguments).text;
    const bool ends = !suffix.empty() && text.ends_with(suffix);
    return ends ? part(arguments, text.substr(0, text.size() - suffix.size())) : arguments[0];
}

Value formatted(const Bound& arguments) {
    return like(arguments, brace_format(self(arguments).source, {}));
}

Value formatted_by_map(const Bound& arguments) {
    if (!arguments[1].is(Kind::kDict)) raise("format_map() takes a mapping, not '{}'", type_name(arguments[1]));
    CallArguments values;
    for (const auto& [key, value] : arguments[1].as_dict().entries()) {
        if (key.is_string()) values.keywords.emplace_back(key.text(), value);
    }
    return like(arguments, brace_format(self(arguments).source, values));
}

Value encoded(const Bound&) {
    raise("str.encode is not available in chat templates: there are no bytes");
}

constexpr std::array kStringMethods = std::to_array<Builtin>({
    {"capitalize", "self", mapped<capitalize>},
    {"casefold", "self", mapped<casefold>},
    {"center", "self width fillchar?", justified<Side::kCenter>},
    {"count", "self sub start? end?", count_occurrences},
    {"encode", "self encoding? errors?", encoded},
    {"endswith", "self suffix start? end?", has_affix<true>},
    {"expandtabs", "self tabsize?", expand_tabs},
    {"find", "self sub start? end?", [](const Bound& a) { return Value::integer(search(a, false)); }},
    {"format", "self", formatted},
    {"format_map", "self mapping", formatted_by_map},
    {"index", "self sub start? end?", [](const Bound& a) { return found_or_raise(search(a, false)); }},
    {"isalnum", "self", every_point<is_alphanumeric>},
    {"isalpha", "self", every_point<is_alpha>},
    {"isascii", "self", [](const Bound& a) { return Value::boolean(self(a).ascii()); }},
    {"isdecimal", "self", every_point<is_decimal>},
    {"isdigit", "self", every_point<is_digit>},
    {"isidentifier", "self", [](const Bound& a) { return Value::boolean(is_identifier(self(a).text)); }},
    {"islower", "self", all_cased<is_lower, is_upper>},
    {"isnumeric", "self", every_point<is_numeric>},
    {"isprintable", "self",
     [](const Bound& a) { return self(a).text.empty() ? Value::boolean(true) : every_point<is_printable>(a); }},
    {"isspace", "self", every_point<is_space>},
    {"istitle", "self", is_title_cased},
    {"isupper", "self", all_cased<is_upper, is_lower>},
    {"join", "self iterable", joined},
    {"ljust", "self width fillchar?", justified<Side::kLeft>},
    {"lower", "self", mapped<lower>},
    {"lstrip", "self chars?", stripped<true, false>},
    {"partition", "self sep", partition<false>},
    {"removeprefix", "self prefix", without_prefix},
    {"removesuffix", "self suffix", without_suffix},
    {"replace", "self old new count?", replaced},
    {"rfind", "self sub start? end?", [](const Bound& a) { return Value::integer(search(a, true)); }},
    {"rindex", "self sub start? end?", [](const Bound& a) { return found_or_raise(search(a, true)); }},
    {"rjust", "self width fillchar?", justified<Side::kRight>},
    {"rpartition", "self sep", partition<true>},
    {"rsplit", "self sep? maxsplit?", split<true>},
    {"rstrip", "self chars?", stripped<false, true>},
    {"split", "self sep? maxsplit?", split<false>},
    {"splitlines", "self keepends?", lines},
    {"startswith", "self prefix start? end?", has_affix<false>},
    {"strip", "self chars?", stripped<true, true>},
    {"swapcase", "self", mapped<swapcase>},
    {"title", "self", mapped<title>},
    {"upper", "self", mapped<upper>},
    {"zfill", "self width", zero_filled},
});

}  // namespace

std::span<const Builtin> string_methods() {
    return kStringMethods;
}

}  // namespace sluice::jinja
