#include <algorithm>
#include <optional>

#include "jinja/failure.h"
#include "jinja/format.h"
#include "jinja/format_layout.h"
#include "jinja/operations.h"
#include "jinja/render.h"
#include "jinja/unicode.h"

namespace sluice::jinja {

namespace {

Layout parse_specification(std::string_view specification) {
    Layout layout;
    FormatReader reader(specification);
    size_t after_fill = 0;
    if (!specification.empty()) {
        const char32_t first = next_code_point(specification, after_fill);
        const std::string_view aligns = "<>^=";
        if (after_fill < specification.size() && aligns.find(specification[after_fill]) != std::string::npos) {
            layout.fill = first;
            reader.skip(after_fill);
        }
    }
    reader.accept_any("<>^=", layout.align);
    reader.accept_any("+- ", layout.sign);
    layout.alternate = reader.accept('#');
    if (reader.peek() == '0' && layout.align == 0) {
        layout.fill = U'0';
        layout.align = '=';
    }
    layout.width = reader.number(kMaxFormatWidth);
    reader.accept_any(",_", layout.grouping);
    if (reader.accept('.')) {
        if (!reader.at_digit()) raise("Format specifier missing precision");
        layout.precision = reader.number(kMaxFormatPrecision);
    }
    layout.type = reader.take();
    if (!reader.done()) raise("Invalid format specifier '{}'", specification);
    return layout;
}

[[noreturn]] void unknown_code(char type, const Value& value) {
    raise("Unknown format code '{}' for object of type '{}'", type, type_name(value));
}

class BraceFormatter {
  public:
    explicit BraceFormatter(const CallArguments& values) : values_(values) {}

    // Specifications may hold fields themselves, one level deep.
    SourcedText run(const SourcedText& source, int levels) {
        if (levels < 0) raise("Max string recursion exceeded");
        const std::string_view format = source.text();
        SourcedText out;
        for (size_t at = 0; at < format.size();) {
            const char byte = format[at++];
            if (byte != '{' && byte != '}') {
                out.append(source, at - 1, 1);
            } else if (at < format.size() && format[at] == byte) {
                out.append(source, at - 1, 1);
                ++at;
            } else if (byte == '}') {
                raise("Single '}}' encountered in format string");
            } else {
                const size_t end = field_end(format, at);
                append_field(out, format.substr(at, end - at), levels);
                require_room(out.bytes());
                at = end + 1;
            }
        }
        return out;
    }

  private:
    static size_t field_end(std::string_view format, size_t at) {
        for (int open = 1; at < format.size(); ++at) {
            if (format[at] == '{') ++open;
            if (format[at] == '}' && --open == 0) return at;
        }
        raise("expected '}}' before end of string");
    }

    void append_field(SourcedText& out, std::string_view field, int levels) {
        std::string_view specification;
        const size_t colon = field.find(':');
        if (colon != std::string_view::npos) {
            specification = field.substr(colon + 1);
            field = field.substr(0, colon);
        }
        char conversion = 0;
        if (const size_t mark = field.find('!'); mark != std::string_view::npos) {
            if (mark + 2 != field.size()) raise("expected ':' after conversion specifier");
            conversion = field.back();
            field = field.substr(0, mark);
        }
        Value value = lookup(field);
        if (conversion == 's') {
            value = Value::string(SourceOf(value).get());
        } else if (conversion == 'r' || conversion == 'a') {
            value = Value::string(repr(value));
        } else if (conversion != 0) {
            raise("Unknown conversion specifier {}", conversion);
        }
        const std::string layout = run(SourcedText(std::string(specification)), levels - 1).text();
        if (layout.empty()) {
            out.append(SourceOf(value).get());
        } else {
            out.append(format_value(value, layout), is_trusted(value));
        }
    }

    Value lookup(std::string_view field) {
        const size_t name_end = std::min(field.find_first_of(".["), field.size());
        Value value = first(field.substr(0, name_end));
        FormatReader reader(field.substr(name_end));
        while (!reader.done()) {
            if (reader.accept('.')) {
                const size_t end = std::min(reader.rest().find_first_of(".["), reader.rest().size());
                value = get_attribute(value, std::string(reader.rest().substr(0, end)));
                reader.skip(end);
            } else if (reader.accept('[')) {
                const std::string key(reader.until(']'));
                const std::optional<int64_t> index = as_index(key);
                value = get_item(value, index ? Value::integer(*index) : Value::string(key));
            } else {
                raise("Only '.' or '[' may follow ']' in format field specifier");
            }
        }
        return value;
    }

    static std::optional<int64_t> as_index(std::string_view name) {
        if (name.empty() || name.size() > 9) return std::nullopt;
        if (name.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
        return std::stoll(std::string(name));
    }

    Value first(std::string_view name) {
        const std::optional<int64_t> index = name.empty() ? next_++ : as_index(name);
        if (index) {
            numbered_ = numbered_ || !name.empty();
            if (numbered_ && next_ > 0) raise("a format string either numbers all of its fields or none");
            if (static_cast<size_t>(*index) >= values_.positional.size()) {
                raise("Replacement index {} out of range for positional args tuple", *index);
            }
            return values_.positional[static_cast<size_t>(*index)];
        }
        for (const auto& [keyword, value] : values_.keywords) {
            if (keyword == name) return value;
        }
        raise("the format names '{}', which is not among its values", name);
    }

    const CallArguments& values_;
    int64_t next_ = 0;
    bool numbered_ = false;
};

}  // namespace

SourcedText brace_format(const SourcedText& format, const CallArguments& values) {
    charge_items(format.size());
    return BraceFormatter(values).run(format, 2);
}

std::string format_value(const Value& value, std::string_view specification) {
    if (specification.empty()) return to_text(value);
    const Layout layout = parse_specification(specification);
    charge_copy(layout.width);
    std::string out;
    const std::string_view float_types = "eEfFgG%";
    if (value.is_string()) {
        if (layout.type != 0 && layout.type != 's') unknown_code(layout.type, value);
        append_string(out, value.text(), layout);
    } else if (value.is(Kind::kFloat) ||
               (value.is_integral() && layout.type != 0 && float_types.find(layout.type) != std::string::npos)) {
        const bool fits = layout.type == 0 || layout.type == 'n' || float_types.find(layout.type) != std::string::npos;
        if (!fits) unknown_code(layout.type, value);
        append_float(out, value.as_real(), layout);
    } else if (value.is_integral()) {
        if (layout.type == 'c') {
            return percent_format(SourcedText("%c"), Value::tuple({value})).text();
        }
        if (layout.type != 0 && std::string_view("bdnoxX").find(layout.type) == std::string::npos) {
            unknown_code(layout.type, value);
        }
        if (layout.precision) raise("Precision not allowed in integer format specifier");
        append_integer(out, value.as_int(), layout);
    } else {
        raise("unsupported format string passed to {}.__format__", type_name(value));
    }
    return out;
}

}  // namespace sluice::jinja
