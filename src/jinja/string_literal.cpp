#include "jinja/string_literal.h"

#include <fmt/core.h>

#include "jinja/character_names.h"
#include "jinja/failure.h"
#include "jinja/unicode.h"
#include "unicode/utf8.h"

namespace sluice::jinja {

namespace {

// Jinja decodes Python's escapes on a form of the text that has no character beyond ASCII, each such character being an
// escape itself. A backslash before one of them therefore escapes the backslash of that escape.
std::string ascii_form(std::string_view body) {
    std::string out;
    for (size_t at = 0; at < body.size();) {
        const auto point = static_cast<uint32_t>(next_code_point(body, at));
        if (point < 0x80) {
            out += static_cast<char>(point);
        } else if (point < 0x100) {
            out += fmt::format("\\x{:02x}", point);
        } else if (point < 0x10000) {
            out += fmt::format("\\u{:04x}", point);
        } else {
            out += fmt::format("\\U{:08x}", point);
        }
    }
    return out;
}

int digit_value(char byte, int base) {
    int value = 99;
    if (byte >= '0' && byte <= '9') value = byte - '0';
    if ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'f') value = (byte | 0x20) - 'a' + 10;
    return value < base ? value : -1;
}

class Unescaper {
  public:
    Unescaper(std::string_view text, int line) : text_(text), line_(line) {}

    std::string run() {
        while (at_ < text_.size()) {
            const char byte = text_[at_++];
            if (byte == '\\' && at_ < text_.size()) {
                escape(text_[at_++]);
            } else {
                out_ += byte;
            }
        }
        return std::move(out_);
    }

  private:
    void escape(char letter) {
        switch (letter) {
            case '\n':
                break;
            case '\\':
            case '\'':
            case '"':
                out_ += letter;
                break;
            case 'a':
                out_ += '\a';
                break;
            case 'b':
                out_ += '\b';
                break;
            case 'f':
                out_ += '\f';
                break;
            case 'n':
                out_ += '\n';
                break;
            case 'r':
                out_ += '\r';
                break;
            case 't':
                out_ += '\t';
                break;
            case 'v':
                out_ += '\v';
                break;
            case 'x':
                code_point(2);
                break;
            case 'u':
                code_point(4);
                break;
            case 'U':
                code_point(8);
                break;
            case 'N':
                named_character();
                break;
            default:
                if (digit_value(letter, 8) >= 0) {
                    --at_;
                    octal();
                } else {
                    out_ += '\\';
                    out_ += letter;
                }
        }
    }

    void code_point(int digits) {
        char32_t point = 0;
        for (int i = 0; i < digits; ++i, ++at_) {
            const int value = at_ < text_.size() ? digit_value(text_[at_], 16) : -1;
            if (value < 0) raise_at(line_, "an escape in a string needs {} hexadecimal digits", digits);
            point = (point << 4) | static_cast<char32_t>(value);
        }
        append(point);
    }

    void named_character() {
        const size_t end = text_.find('}', at_);
        if (at_ >= text_.size() || text_[at_] != '{' || end == std::string_view::npos) {
            raise_at(line_, "\\N in a string needs the name of a character, as in \\N{{BULLET}}");
        }
        const std::string_view name = text_.substr(at_ + 1, end - at_ - 1);
        const std::optional<char32_t> point = character_named(name);
        if (!point) raise_at(line_, "\\N{{{}}} is no character known here; write the character itself", name);
        append(*point);
        at_ = end + 1;
    }

    void octal() {
        char32_t point = 0;
        for (int i = 0; i < 3 && at_ < text_.size() && digit_value(text_[at_], 8) >= 0; ++i, ++at_) {
            point = (point << 3) | static_cast<char32_t>(digit_value(text_[at_], 8));
        }
        append(point);
    }

    void append(char32_t point) {
        const bool surrogate = point >= 0xD800 && point <= 0xDFFF;
        if (surrogate || point > 0x10FFFF) raise_at(line_, "an escape in a string stands for no character");
        utf8::append(out_, point);
    }

    std::string_view text_;
    int line_;
    size_t at_ = 0;
    std::string out_;
};

}  // namespace

std::string unescape(std::string_view body, int line) {
    if (body.find('\\') == std::string_view::npos) return std::string(body);
    const std::string ascii = ascii_form(body);
    return Unescaper(ascii, line).run();
}

}  // namespace sluice::jinja
