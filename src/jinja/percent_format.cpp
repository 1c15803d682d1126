#include <cmath>
#include <optional>

#include "jinja/failure.h"
#include "jinja/format.h"
#include "jinja/format_layout.h"
#include "jinja/operations.h"
#include "jinja/render.h"
#include "unicode/utf8.h"

namespace sluice::jinja {

namespace {

class PercentFormatter {
  public:
    PercentFormatter(const SourcedText& format, const Value& values)
        : format_(format), reader_(format.text()), values_(values) {}

    SourcedText run() {
        SourcedText out;
        while (!reader_.done()) {
            const size_t at = reader_.at();
            if (reader_.take() != '%' || reader_.accept('%')) {
                out.append(format_, at, 1);
            } else {
                append_field(out);
                require_room(out.bytes());
            }
        }
        if (values_left()) raise("not all arguments converted during string formatting");
        return out;
    }

  private:
    bool values_left() const {
        switch (values_.kind()) {
            case Kind::kTuple:
                return used_ < values_.items().size();
            // What could be subscripted by a name may go unused.
            case Kind::kDict:
            case Kind::kList:
            case Kind::kRange:
            case Kind::kUndefined:
                return false;
            default:
                return used_ == 0;
        }
    }

    Value next_value() {
        if (values_.is(Kind::kTuple)) {
            if (used_ < values_.items().size()) return values_.items()[used_++];
        } else if (used_++ == 0) {
            return values_;
        }
        raise("not enough arguments for format string");
    }

    size_t number_or_star(size_t limit, bool* left) {
        if (!reader_.accept('*')) return reader_.number(limit);
        const Value value = next_value();
        if (!value.is_integral()) raise("* wants int");
        const int64_t given = value.as_int();
        if (given < 0 && left != nullptr) *left = true;
        const uint64_t size = given < 0 ? 0 - static_cast<uint64_t>(given) : static_cast<uint64_t>(given);
        if (size > limit) raise("a width or precision in a format is larger than {}", limit);
        return given < 0 && left == nullptr ? 0 : size;
    }

    void append_field(SourcedText& out) {
        std::optional<Value> named;
        if (reader_.accept('(')) {
            const std::string_view name = reader_.until(')');
            if (!values_.is(Kind::kDict)) raise("format requires a mapping");
            const Value* found = values_.as_dict().find(name);
            if (found == nullptr) raise("the format names '{}', which is not among its values", name);
            named = *found;
        }
        Layout layout;
        bool zero = false;
        bool left = false;
        for (char flag = 0; reader_.accept_any("-+ #0", flag);) {
            if (flag == '-') left = true;
            if (flag == '+' || (flag == ' ' && layout.sign != '+')) layout.sign = flag;
            if (flag == '#') layout.alternate = true;
            if (flag == '0') zero = true;
        }
        layout.width = number_or_star(kMaxFormatWidth, &left);
        if (reader_.accept('.')) layout.precision = number_or_star(kMaxFormatPrecision, nullptr);
        for (char ignored = 0; reader_.accept_any("hlL", ignored);) continue;
        if (reader_.done()) raise("incomplete format");
        layout.type = reader_.take();
        layout.align = left ? '<' : '>';
        const bool numeric = std::string_view("diuoxXeEfFgG").find(layout.type) != std::string_view::npos;
        if (zero && !left && numeric) {
            layout.fill = U'0';
            layout.align = '=';
        }
        const Value value = named ? *named : next_value();
        if (layout.type == 's' && layout.width == 0 && !layout.precision) {
            out.append(SourceOf(value).get());
        } else {
            std::string text;
            append_value(text, value, layout);
            out.append(text, is_trusted(value));
        }
    }

    static void append_value(std::string& out, const Value& value, Layout& layout) {
        switch (layout.type) {
            case 's':
                return append_string(out, to_text(value), layout);
            case 'r':
            case 'a':
                return append_string(out, repr(value), layout);
            case 'c':
                return append_character(out, value, layout);
            case 'd':
            case 'i':
            case 'u':
                layout.type = 'd';
                [[fallthrough]];
            case 'o':
            case 'x':
            case 'X':
                return append_whole(out, value, layout);
            case 'e':
            case 'E':
            case 'f':
            case 'F':
            case 'g':
            case 'G':
                if (value.is_undefined()) raise("{}", value.reason());
                if (!value.is_number()) raise("must be real number, not {}", type_name(value));
                return append_float(out, value.as_real(), layout);
            default:
                raise("unsupported format character 0x{:02x}", static_cast<unsigned char>(layout.type));
        }
    }

    static void append_whole(std::string& out, const Value& value, const Layout& layout) {
        if (value.is_undefined()) raise("{}", value.reason());
        if (value.is(Kind::kBigInt) && layout.type == 'd') return append_string(out, value.digits(), layout);
        const bool fits = value.is_integral() ||
                          (value.is(Kind::kFloat) && layout.type == 'd' && std::fabs(value.as_real()) < 9.2e18);
        if (!fits) raise("%{} format: a number is required, not {}", layout.type, type_name(value));
        append_integer(out, value.is_integral() ? value.as_int() : static_cast<int64_t>(value.as_real()), layout);
    }

    static void append_character(std::string& out, const Value& value, const Layout& layout) {
        std::string text;
        if (value.is_string() && value.as_string().length == 1) {
            text = value.text();
        } else if (value.is_integral() && value.as_int() >= 0 && value.as_int() < 0x110000 &&
                   (value.as_int() < 0xD800 || value.as_int() > 0xDFFF)) {
            utf8::append(text, static_cast<char32_t>(value.as_int()));
        } else {
            raise("%c requires int or char");
        }
        append_string(out, text, layout);
    }

    const SourcedText& format_;
    FormatReader reader_;
    const Value& values_;
    size_t used_ = 0;
};

}  // namespace

SourcedText percent_format(const SourcedText& format, const Value& values) {
    charge_items(format.size());
    return PercentFormatter(format, values).run();
}

}  // namespace sluice::jinja
