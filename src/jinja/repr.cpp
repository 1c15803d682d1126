#include <fmt/core.h>

#include <cmath>

#include "jinja/operations.h"
#include "jinja/render.h"
#include "jinja/unicode.h"

namespace sluice::jinja {

namespace {

constexpr size_t kMostQuotedPerByte = 4;  // that a quoted string takes for a byte of its text

// Empty where a character stands for itself.
std::string_view html_entity(char byte) {
    switch (byte) {
        case '&':
            return "&amp;";
        case '<':
            return "&lt;";
        case '>':
            return "&gt;";
        case '\'':
            return "&#39;";
        case '"':
            return "&#34;";
        default:
            return {};
    }
}

void append_quoted(std::string& out, std::string_view text) {
    const bool double_quotes = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
    const char quote = double_quotes ? '"' : '\'';
    out += quote;
    for (size_t at = 0; at < text.size();) {
        const size_t begin = at;
        const char32_t point = next_code_point(text, at);
        if (point == static_cast<char32_t>(quote) || point == U'\\') {
            out += '\\';
            out += static_cast<char>(point);
        } else if (point == U'\n') {
            out += "\\n";
        } else if (point == U'\r') {
            out += "\\r";
        } else if (point == U'\t') {
            out += "\\t";
        } else if ((point >= 0x20 && point < 0x7F) || is_printable(point)) {
            out += text.substr(begin, at - begin);
        } else if (point < 0x100) {
            out += fmt::format("\\x{:02x}", static_cast<uint32_t>(point));
        } else if (point < 0x10000) {
            out += fmt::format("\\u{:04x}", static_cast<uint32_t>(point));
        } else {
            out += fmt::format("\\U{:08x}", static_cast<uint32_t>(point));
        }
    }
    out += quote;
}

void append_repr(std::string& out, const Value& value);

void append_items(std::string& out, const Value::Items& items) {
    for (size_t i = 0; i < items.size(); ++i) {
        if (i > 0) out += ", ";
        append_repr(out, items[i]);
    }
}

void append_entries(std::string& out, const Value::Entries& entries) {
    out += '{';
    for (size_t i = 0; i < entries.size(); ++i) {
        if (i > 0) out += ", ";
        append_repr(out, entries[i].first);
        out += ": ";
        append_repr(out, entries[i].second);
    }
    out += '}';
}

void append_range(std::string& out, const RangeObject& range) {
    out += range.step == 1 ? fmt::format("range({}, {})", range.start, range.stop)
                           : fmt::format("range({}, {}, {})", range.start, range.stop, range.step);
}

void append_repr(std::string& out, const Value& value) {
    const Nested nested;
    charge_items(1);
    switch (value.kind()) {
        case Kind::kUndefined:
            out += "Undefined";
            break;
        case Kind::kNone:
            out += "None";
            break;
        case Kind::kBool:
            out += value.as_bool() ? "True" : "False";
            break;
        case Kind::kInt:
            out += std::to_string(value.as_int());
            break;
        case Kind::kBigInt:
            out += value.digits();
            break;
        case Kind::kFloat:
            out += float_text(value.as_real());
            break;
        case Kind::kString:
            charge_items(value.text().size());
            require_room(out.size() + kMostQuotedPerByte * value.text().size());
            if (value.as_string().markup) out += "Markup(";
            append_quoted(out, value.text());
            if (value.as_string().markup) out += ')';
            break;
        case Kind::kList:
            out += '[';
            append_items(out, value.items());
            out += ']';
            break;
        case Kind::kTuple:
            out += '(';
            append_items(out, value.items());
            out += value.items().size() == 1 ? ",)" : ")";
            break;
        case Kind::kView:
            out += value.sequence().type;
            out += "([";
            append_items(out, value.items());
            out += "])";
            break;
        case Kind::kDict:
            append_entries(out, value.as_dict().entries());
            break;
        case Kind::kRange:
            append_range(out, value.as_range());
            break;
        case Kind::kIterator:
            out += fmt::format("<generator object {}>", value.as_iterator().function);
            break;
        case Kind::kNamespace:
            out += "<Namespace ";
            append_entries(out, value.as_namespace().entries());
            out += '>';
            break;
        case Kind::kNative:
            out += value.as_native().repr();
            break;
    }
    // Values are shared: a few doublings of a list print as more than memory holds.
    require_room(out.size());
}

}  // namespace

std::string to_text(const Value& value) {
    if (value.is_string()) return value.text();
    return value.is_undefined() ? std::string() : repr(value);
}

std::string repr(const Value& value) {
    std::string out;
    append_repr(out, value);
    return out;
}

std::string float_text(double value) {
    if (std::isnan(value)) return "nan";
    if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
    std::string text = fmt::format("{}", value);
    if (text.find_first_of(".e") == std::string::npos) text += ".0";
    return text;
}

std::string escape_html(std::string_view text) {
    size_t size = 0;
    for (const char byte : text) size += html_entity(byte).empty() ? 1 : html_entity(byte).size();
    charge_items(size);
    require_room(size);
    std::string out;
    out.reserve(size);
    for (const char byte : text) {
        const std::string_view entity = html_entity(byte);
        if (entity.empty()) {
            out += byte;
        } else {
            out += entity;
        }
    }
    return out;
}

}  // namespace sluice::jinja
