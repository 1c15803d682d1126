#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "jinja/failure.h"
#include "jinja/filters.h"
#include "jinja/format.h"
#include "jinja/json.h"
#include "jinja/methods.h"
#include "jinja/operations.h"
#include "jinja/render.h"
#include "jinja/string_functions.h"
#include "jinja/unicode.h"

namespace sluice::jinja {

namespace {

bool is_markup(const Value& value) {
    return value.is_string() && value.as_string().markup;
}

template <std::string (*kMap)(std::string_view)>
Value mapped(const Bound& arguments) {
    const TextOf text(arguments[0]);
    charge_items(text.get().size());
    return Value::string(SourcedText(kMap(text.get()), is_trusted(arguments[0])), is_markup(arguments[0]));
}

// A word starts after white space and after any of -({[<, unlike in str.title.
std::string title_words(std::string_view text) {
    std::string out;
    size_t begin = 0;
    auto append_word = [&](size_t end) {
        if (begin == end) return;
        size_t rest = begin;
        next_code_point(text, rest);
        out += upper(text.substr(begin, rest - begin));
        out += lower(text.substr(rest, end - rest));
    };
    for (size_t at = 0; at < text.size();) {
        const size_t before = at;
        const char32_t point = next_code_point(text, at);
        const bool separator =
            is_space(point) || point == U'-' || point == U'(' || point == U'{' || point == U'[' || point == U'<';
        if (!separator) continue;
        append_word(before);
        out += text.substr(before, at - before);
        begin = at;
    }
    append_word(text.size());
    return out;
}

Value titled(const Bound& arguments) {
    const TextOf text(arguments[0]);
    charge_items(text.get().size());
    return Value::string(SourcedText(title_words(text.get()), is_trusted(arguments[0])));
}

Value center(const Bound& arguments) {
    const Value text = Value::string(SourceOf(arguments[0]).get());
    CallArguments width;
    width.positional.push_back(Value::integer(arguments.integer(1, 80)));
    return call_builtin(*find_in(string_methods(), "center"), text, width);
}

Value force_escape(const Bound& arguments) {
    return Value::string(SourcedText(escape_html(TextOf(arguments[0]).get()), is_trusted(arguments[0])), true);
}

Value escape(const Bound& arguments) {
    return is_markup(arguments[0]) ? arguments[0] : force_escape(arguments);
}

Value format(const Bound& arguments) {
    if (!arguments.rest().empty() && !arguments.keywords().empty()) {
        raise("can't handle positional and keyword arguments at the same time");
    }
    if (arguments.keywords().empty()) {
        return Value::string(percent_format(SourceOf(arguments[0]).get(), Value::tuple(arguments.rest())));
    }
    Value::Entries entries;
    for (const auto& [name, value] : arguments.keywords()) entries.emplace_back(Value::string(name), value);
    return Value::string(percent_format(SourceOf(arguments[0]).get(), Value::dict(std::move(entries))));
}

Value indent(const Bound& arguments) {
    if (!arguments[0].is_string()) {
        if (arguments[0].is_undefined()) raise("{}", arguments[0].reason());
        raise("the indent filter takes a string, not '{}'", type_name(arguments[0]));
    }
    SourcedText margin;
    if (arguments[1].is_string()) {
        margin = arguments[1].source();
    } else {
        const int64_t width = arguments.integer(1, 4);
        if (width > 0) require_room(static_cast<size_t>(width));
        margin = SourcedText(std::string(static_cast<size_t>(std::max<int64_t>(width, 0)), ' '));
    }
    const bool indent_blank = arguments.flag(3, false);
    SourcedText text = arguments[0].source();
    text.append("\n", false);
    const std::vector<std::string_view> lines = split_lines(text.text(), false);
    SourcedText out;
    if (arguments.flag(2, false)) out = margin;
    for (size_t i = 0; i < lines.size(); ++i) {
        charge_copy(margin.bytes() + lines[i].size());
        require_room(out.bytes() + margin.bytes() + lines[i].size());
        if (i > 0) out.append("\n", false);
        if (i > 0 && (indent_blank || !lines[i].empty())) out.append(margin);
        out.append_part(text, lines[i]);
    }
    return Value::string(std::move(out), is_markup(arguments[0]));
}

Value replaced(const Bound& arguments) {
    const int64_t count = arguments.absent(3) ? -1 : arguments.integer(3, -1);
    return Value::string(
        replace(SourceOf(arguments[0]).get(), TextOf(arguments[1]).get(), SourceOf(arguments[2]).get(), count));
}

Value mark_safe(const Bound& arguments) {
    return Value::string(SourceOf(arguments[0]).get(), true);
}

Value as_string(const Bound& arguments) {
    return arguments[0].is_string() ? arguments[0] : Value::string(to_text(arguments[0]));
}

Value to_json(const Bound& arguments) {
    JsonStyle style;
    style.ensure_ascii = arguments.flag(1, false);
    style.sort_keys = arguments.flag(4, false);
    if (!arguments.absent(2)) {
        if (arguments[2].is_string()) {
            style.indent = arguments[2].text();
        } else {
            const int64_t width = std::max<int64_t>(arguments.integer(2, 0), 0);
            require_room(static_cast<size_t>(width));
            style.indent = std::string(static_cast<size_t>(width), ' ');
        }
        style.item_separator.assign(1, ',');
    }
    if (!arguments.absent(3)) {
        const Value::Items separators = iterate(arguments[3]);
        const bool fits = separators.size() == 2 && separators[0].is_string() && separators[1].is_string();
        if (!fits) raise("tojson takes two strings as separators");
        style.item_separator = separators[0].text();
        style.key_separator = separators[1].text();
    }
    return Value::string(json_text(arguments[0], style));
}

Value trim(const Bound& arguments) {
    const SourceOf text(arguments[0]);
    const auto stripped = [&](std::string_view characters) {
        const std::string_view piece = strip(text.get().text(), characters, true, true);
        return Value::string(text.get().part(piece), is_markup(arguments[0]));
    };
    if (arguments.absent(1)) return stripped("");
    const std::string characters = arguments.text(1, "");
    if (characters.empty()) return as_string(arguments);
    return stripped(characters);
}

std::string_view first_points(std::string_view text, int64_t count) {
    size_t at = 0;
    for (int64_t i = 0; i < count && at < text.size(); ++i) next_code_point(text, at);
    return text.substr(0, at);
}

Value truncate(const Bound& arguments) {
    const auto size = static_cast<int64_t>(length(arguments[0]));
    const int64_t limit = arguments.integer(1, 255);
    const std::string end = arguments.text(3, "...");
    const auto end_length = static_cast<int64_t>(count_code_points(end));
    const int64_t leeway = arguments.absent(4) ? 5 : arguments.integer(4, 5);
    if (limit < end_length) raise("expected length >= {}, got {}", end_length, limit);
    if (leeway < 0) raise("expected leeway >= 0, got {}", leeway);
    if (size - leeway <= limit) return arguments[0];
    if (!arguments[0].is_string()) raise("the truncate filter takes a string, not '{}'", type_name(arguments[0]));
    std::string_view kept = first_points(arguments[0].text(), limit - end_length);
    if (!arguments.flag(2, false)) kept = kept.substr(0, kept.rfind(' '));
    SourcedText text = arguments[0].source().part(kept);
    text.append(end, arguments.given(3) && is_trusted(arguments[3]));
    return Value::string(std::move(text));
}

std::string url_quoted(const Value& value, bool in_query) {
    const TextOf text(value);
    charge_items(text.get().size());
    std::string out;
    for (const char byte : text.get()) {
        const bool plain = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                           (byte >= '0' && byte <= '9') || byte == '_' || byte == '.' || byte == '-' || byte == '~' ||
                           (byte == '/' && !in_query);
        if (plain) {
            out += byte;
        } else if (byte == ' ' && in_query) {
            out += '+';
        } else {
            out += fmt::format("%{:02X}", static_cast<unsigned char>(byte));
        }
    }
    return out;
}

Value url_encode(const Bound& arguments) {
    const Value& value = arguments[0];
    if (value.is_string() || !is_iterable(value)) return Value::string(url_quoted(value, false));
    std::string out;
    auto append = [&](const Value& key, const Value& held) {
        if (!out.empty()) out += '&';
        out += fmt::format("{}={}", url_quoted(key, true), url_quoted(held, true));
    };
    if (value.is(Kind::kDict)) {
        for (const auto& [key, held] : value.as_dict().entries()) append(key, held);
        return Value::string(std::move(out));
    }
    ItemSource source(value);
    while (const std::optional<Value> pair = source.next()) {
        const Value::Items parts = iterate(*pair);
        if (parts.size() != 2) raise("urlencode takes pairs of a key and a value");
        append(parts[0], parts[1]);
    }
    return Value::string(std::move(out));
}

Value word_count(const Bound& arguments) {
    const TextOf text(arguments[0]);
    int64_t words = 0;
    bool inside = false;
    for (size_t at = 0; at < text.get().size();) {
        const bool word = is_word(next_code_point(text.get(), at));
        words += word && !inside;
        inside = word;
    }
    return Value::integer(words);
}

constexpr std::array kTextFilters = std::to_array<Builtin>({
    {"capitalize", "s", mapped<capitalize>},
    {"center", "value width?", center},
    {"e", "value", escape},
    {"escape", "value", escape},
    {"forceescape", "value", force_escape},
    {"format", "value * **", format},
    {"indent", "s width? first? blank?", indent},
    {"lower", "s", mapped<lower>},
    {"replace", "s old new count?", replaced},
    {"safe", "value", mark_safe},
    {"string", "object", as_string},
    {"title", "s", titled},
    {"tojson", "x ensure_ascii? indent? separators? sort_keys?", to_json},
    {"trim", "value chars?", trim},
    {"truncate", "s length? killwords? end? leeway?", truncate},
    {"upper", "s", mapped<upper>},
    {"urlencode", "value", url_encode},
    {"wordcount", "s", word_count},
});

}  // namespace

std::span<const Builtin> text_filters() {
    return kTextFilters;
}

}  // namespace sluice::jinja
