#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "jinja/failure.h"
#include "jinja/filters.h"
#include "jinja/operations.h"
#include "jinja/render.h"
#include "jinja/string_functions.h"
#include "jinja/unicode.h"
#include "unicode/utf8.h"

namespace sluice::jinja {

namespace {

// Drops what stands between the marks, these included, as long as there are both.
std::string without(std::string text, std::string_view open, std::string_view close) {
    std::string out;
    size_t kept = 0;
    for (size_t begin = text.find(open); begin != std::string::npos; begin = text.find(open, kept)) {
        const size_t end = text.find(close, begin);
        if (end == std::string::npos) break;
        out.append(text, kept, begin - kept);
        kept = end + close.size();
    }
    return out.append(text, kept);
}

std::string single_spaced(std::string_view text) {
    std::string out;
    size_t word_begin = 0;
    const auto add_word = [&](size_t end) {
        if (word_begin == end) return;
        if (!out.empty()) out += ' ';
        out += text.substr(word_begin, end - word_begin);
    };
    for (size_t at = 0; at < text.size();) {
        const size_t before = at;
        if (!is_space(next_code_point(text, at))) continue;
        add_word(before);
        word_begin = at;
    }
    add_word(text.size());
    return out;
}

struct Entity {
    std::string_view name;
    std::string_view text;
};

// The entities that text in hand carries; others stay as they are written.
constexpr std::array kEntities = std::to_array<Entity>({
    {"amp", "&"},        {"lt", "<"},         {"gt", ">"},         {"quot", "\""},      {"apos", "'"},
    {"nbsp", "\u00a0"},  {"copy", "\u00a9"},  {"reg", "\u00ae"},   {"trade", "\u2122"}, {"hellip", "\u2026"},
    {"ndash", "\u2013"}, {"mdash", "\u2014"}, {"lsquo", "\u2018"}, {"rsquo", "\u2019"}, {"ldquo", "\u201c"},
    {"rdquo", "\u201d"}, {"laquo", "\u00ab"}, {"raquo", "\u00bb"}, {"bull", "\u2022"},  {"middot", "\u00b7"},
    {"deg", "\u00b0"},   {"times", "\u00d7"}, {"euro", "\u20ac"},  {"pound", "\u00a3"}, {"sect", "\u00a7"},
});

// "#39" or "#x27" as the character; nothing where it is neither.
std::string numbered_character(std::string_view reference) {
    const bool hexadecimal = reference.size() > 1 && (reference[1] | 0x20) == 'x';
    reference.remove_prefix(hexadecimal ? 2 : 1);
    uint32_t point = 0;
    const char* const last = reference.data() + reference.size();
    const auto [end, error] = std::from_chars(reference.data(), last, point, hexadecimal ? 16 : 10);
    if (reference.empty() || end != last) return "";
    const bool none = error != std::errc() || point == 0 || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF);
    std::string text;
    utf8::append(text, none ? utf8::kReplacement : static_cast<char32_t>(point));
    return text;
}

std::string without_entities(std::string_view text) {
    constexpr size_t kLongest = 32;
    std::string out;
    while (!text.empty()) {
        const size_t mark = std::min(text.find('&'), text.size());
        out += text.substr(0, mark);
        text.remove_prefix(mark);
        if (text.empty()) break;
        const size_t end = text.substr(0, kLongest).find(';');
        std::string character;
        if (end != std::string_view::npos) {
            const std::string_view name = text.substr(1, end - 1);
            const auto known = std::ranges::find(kEntities, name, &Entity::name);
            if (known != kEntities.end()) character = known->text;
            if (name.starts_with('#')) character = numbered_character(name);
        }
        out += character.empty() ? "&" : character;
        text.remove_prefix(character.empty() ? 1 : end + 1);
    }
    return out;
}

Value strip_tags(const Bound& arguments) {
    const TextOf text(arguments[0]);
    charge_items(text.get().size());
    std::string bare = without(without(text.get(), "<!--", "-->"), "<", ">");
    return Value::string(without_entities(single_spaced(bare)));
}

Value xml_attributes(const Bound& arguments) {
    if (!arguments[0].is(Kind::kDict)) raise("'{}' object has no attribute 'items'", type_name(arguments[0]));
    std::string out;
    for (const auto& [key, value] : arguments[0].as_dict().entries()) {
        if (value.is_none() || value.is_undefined()) continue;
        const TextOf name(key);
        if (name.get().find_first_of(" \t\n\r\f\v/>=") != std::string::npos) {
            raise("Invalid character in attribute name: {}", repr(key));
        }
        const auto escaped = [](const Value& part) {
            const bool markup = part.is_string() && part.as_string().markup;
            return markup ? part.text() : escape_html(TextOf(part).get());
        };
        charge_copy(out.size());
        out += fmt::format("{}{}=\"{}\"", out.empty() ? "" : " ", escaped(key), escaped(value));
    }
    if (arguments.flag(1, true) && !out.empty()) out.insert(0, 1, ' ');
    return Value::string(std::move(out));
}

constexpr std::array kHtmlFilters = std::to_array<Builtin>({
    {"striptags", "value", strip_tags},
    {"xmlattr", "d autospace?", xml_attributes},
});

}  // namespace

std::span<const Builtin> html_filters() {
    return kHtmlFilters;
}

}  // namespace sluice::jinja
