#include "jinja/lexer.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "jinja/big_integer.h"
#include "jinja/failure.h"
#include "jinja/string_literal.h"
#include "jinja/unicode.h"
#include "unicode/utf8.h"

namespace sluice::jinja {

namespace {

constexpr std::array<std::string_view, 26> kOperators{"**", "//", "==", "!=", ">=", "<=", "+", "-", "/",
                                                      "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                      ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

bool is_ascii_digit(char byte) {
    return byte >= '0' && byte <= '9';
}

// One kind of line ending, and no newline at the very end.
std::string normalized(std::string_view source) {
    std::string text;
    text.reserve(source.size());
    for (size_t i = 0; i < source.size(); ++i) {
        if (source[i] == '\r') {
            if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
            text += '\n';
        } else {
            text += source[i];
        }
    }
    if (text.ends_with('\n')) text.pop_back();
    return text;
}

class Lexer {
  public:
    explicit Lexer(std::string_view source) : source_(normalized(source)), text_(source_) {}

    std::vector<Token> run() {
        while (at_ < text_.size()) lex_data();
        tokens_.push_back({TokenType::kEnd, line_, "", {}});
        return std::move(tokens_);
    }

  private:
    bool here(std::string_view wanted) const { return text_.substr(at_).starts_with(wanted); }

    // Moves to `to`, counting lines.
    void advance(size_t to) {
        line_ += static_cast<int>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(at_),
                                             text_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
        at_ = to;
    }

    size_t behind_spaces(size_t at) const {
        while (at < text_.size()) {
            size_t next = at;
            if (!is_space(next_code_point(text_, next))) break;
            at = next;
        }
        return at;
    }

    void push(TokenType type, std::string text) { tokens_.push_back({type, line_, std::move(text), {}}); }

    // Text up to the next tag, and the tag's beginning.
    void lex_data() {
        size_t tag = text_.find('{', at_);
        while (tag != std::string_view::npos) {
            const char kind = tag + 1 < text_.size() ? text_[tag + 1] : '\0';
            if (kind == '{' || kind == '%' || kind == '#') break;
            tag = text_.find('{', tag + 1);
        }
        if (tag == std::string_view::npos) {
            push(TokenType::kData, std::string(text_.substr(at_)));
            advance(text_.size());
            return;
        }
        const char kind = text_[tag + 1];
        const char sign = tag + 2 < text_.size() ? text_[tag + 2] : '\0';
        push_data(tag, sign, kind != '{');
        advance(tag);
        const size_t behind_raw = kind == '%' ? raw_tag_end(tag + 2, "raw") : 0;
        if (behind_raw != 0) {
            advance(behind_raw);
            starts_line_ = text_[at_ - 1] == '\n';
            return lex_raw();
        }
        const size_t behind = tag + (sign == '-' || sign == '+' ? 3 : 2);
        starts_line_ = false;
        if (kind == '#') {
            advance(behind);
            return lex_comment();
        }
        push(kind == '{' ? TokenType::kVariableBegin : TokenType::kBlockBegin, "");
        advance(behind);
        lex_tag(kind == '{');
    }

    // The text before a tag at `tag`; a '-' takes all white space before it, and a block or comment that is first on
    // its line takes its indentation unless it has a '+'.
    void push_data(size_t tag, char sign, bool strips_indentation) {
        std::string_view data = text_.substr(at_, tag - at_);
        if (sign == '-') {
            while (!data.empty()) {
                size_t last = data.size();
                if (!is_space(previous_code_point(data, last))) break;
                data = data.substr(0, last);
            }
        } else if (sign != '+' && strips_indentation) {
            const size_t newline = data.rfind('\n');
            const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
            const bool at_line_start = line > 0 || starts_line_;
            if (at_line_start && behind_spaces(at_ + line) >= tag) data = data.substr(0, line);
        }
        if (!data.empty()) push(TokenType::kData, std::string(data));
    }

    // Where `at` stands behind "{%" in a "raw" tag, the byte behind that tag; else 0.
    size_t raw_tag_end(size_t at, std::string_view name) const {
        if (at < text_.size() && (text_[at] == '-' || text_[at] == '+')) ++at;
        at = behind_spaces(at);
        if (!text_.substr(at).starts_with(name)) return 0;
        at = behind_spaces(at + name.size());
        if (text_.substr(at).starts_with("-%}")) return behind_spaces(at + 3);
        const bool plain = text_.substr(at).starts_with("%}");
        if (name == "raw") return plain ? at + 2 : 0;
        if (text_.substr(at).starts_with("+%}")) return at + 3;
        if (!plain) return 0;
        return at + 2 < text_.size() && text_[at + 2] == '\n' ? at + 3 : at + 2;
    }

    void lex_raw() {
        for (size_t tag = text_.find("{%", at_); tag != std::string_view::npos; tag = text_.find("{%", tag + 1)) {
            const size_t behind = raw_tag_end(tag + 2, "endraw");
            if (behind == 0) continue;
            push_data(tag, text_[tag + 2], true);
            advance(behind);
            starts_line_ = text_[at_ - 1] == '\n';
            return;
        }
        raise_at(line_, "Missing end of raw directive");
    }

    void lex_comment() {
        const size_t end = text_.find("#}", at_);
        if (end == std::string_view::npos) raise_at(line_, "Missing end of comment tag");
        const char sign = end > at_ ? text_[end - 1] : '\0';
        size_t behind = end + 2;
        if (sign == '-') {
            behind = behind_spaces(behind);
        } else if (sign != '+' && behind < text_.size() && text_[behind] == '\n') {
            ++behind;
        }
        advance(behind);
        starts_line_ = text_[at_ - 1] == '\n';
    }

    void lex_tag(bool variable) {
        std::string closers;  // that the open brackets wait for
        while (at_ < text_.size()) {
            if (closers.empty() && lex_tag_end(variable)) return;
            const size_t behind = behind_spaces(at_);
            if (behind > at_) {
                advance(behind);
            } else if (is_ascii_digit(text_[at_])) {
                lex_number();
            } else if (!lex_name() && !lex_string()) {
                lex_operator(closers);
            }
        }
    }

    bool lex_tag_end(bool variable) {
        const std::string_view end = variable ? "}}" : "%}";
        size_t behind = 0;
        if (here(end)) {
            behind = at_ + 2;
            if (!variable && behind < text_.size() && text_[behind] == '\n') ++behind;
        } else if (text_.substr(at_ + 1).starts_with(end) && text_[at_] == '-') {
            behind = behind_spaces(at_ + 3);
        } else if (text_.substr(at_ + 1).starts_with(end) && text_[at_] == '+' && !variable) {
            behind = at_ + 3;
        } else {
            return false;
        }
        push(variable ? TokenType::kVariableEnd : TokenType::kBlockEnd, "");
        advance(behind);
        starts_line_ = text_[at_ - 1] == '\n';
        return true;
    }

    // The end of a run of digits with single underscores between them.
    template <typename IsDigit>
    size_t behind_digits(size_t at, IsDigit is_digit) const {
        while (at < text_.size()) {
            const bool joined = text_[at] == '_' && at + 1 < text_.size() && is_digit(text_[at + 1]);
            if (!is_digit(text_[at]) && !joined) break;
            at += joined ? 2 : 1;
        }
        return at;
    }

    void lex_number() {
        const bool after_dot = at_ > 0 && text_[at_ - 1] == '.';
        const size_t whole = behind_digits(at_, is_ascii_digit);
        size_t end = whole;
        if (whole + 1 < text_.size() && text_[whole] == '.' && is_ascii_digit(text_[whole + 1])) {
            end = behind_digits(whole + 1, is_ascii_digit);
        }
        const size_t exponent = behind_exponent(end);
        if (!after_dot && exponent > whole) {
            double value = 0;
            const std::string digits = without_underscores(exponent);
            std::from_chars(digits.data(), digits.data() + digits.size(), value);
            return push_number(Value::real(value), exponent);
        }
        lex_integer();
    }

    size_t behind_exponent(size_t at) const {
        if (at >= text_.size() || (text_[at] | 0x20) != 'e') return at;
        size_t digits = at + 1;
        if (digits < text_.size() && (text_[digits] == '+' || text_[digits] == '-')) ++digits;
        if (digits >= text_.size() || !is_ascii_digit(text_[digits])) return at;
        return behind_digits(digits, is_ascii_digit);
    }

    void lex_integer() {
        int base = 10;
        const char letter =
            text_[at_] == '0' && at_ + 1 < text_.size() ? static_cast<char>(text_[at_ + 1] | 0x20) : '\0';
        if (letter == 'x') base = 16;
        if (letter == 'o') base = 8;
        if (letter == 'b') base = 2;
        auto is_digit = [base](char byte) {
            if (base == 16) return std::isxdigit(static_cast<unsigned char>(byte)) != 0;
            return byte >= '0' && byte < '0' + base;
        };
        size_t end = base == 10 ? at_ : behind_digits(at_ + 2, is_digit);
        if (base != 10 && end == at_ + 2) base = 10;
        if (base == 10) {
            // A number that starts with zero is all zeros; other digits behind them are a number of their own.
            auto is_zero = [](char byte) { return byte == '0'; };
            end = text_[at_] == '0' ? behind_digits(at_, is_zero) : behind_digits(at_, is_ascii_digit);
        }
        const std::string digits = without_underscores(end).substr(base == 10 ? 0 : 2);
        int64_t value = 0;
        const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
        const bool fits = error == std::errc();
        push_number(fits ? Value::integer(value) : BigInteger::parse(digits, base, false).value(), end);
    }

    std::string without_underscores(size_t end) const {
        std::string digits(text_.substr(at_, end - at_));
        std::erase(digits, '_');
        return digits;
    }

    void push_number(Value number, size_t end) {
        tokens_.push_back({TokenType::kNumber, line_, std::string(text_.substr(at_, end - at_)), std::move(number)});
        at_ = end;
    }

    bool lex_name() {
        size_t end = at_;
        while (end < text_.size()) {
            size_t next = end;
            const char32_t point = next_code_point(text_, next);
            if (!continues_identifier(point)) break;
            end = next;
        }
        if (end == at_) return false;
        const std::string_view name = text_.substr(at_, end - at_);
        if (!is_identifier(name)) raise_at(line_, "Invalid character in identifier '{}'", name);
        push(TokenType::kName, std::string(name));
        at_ = end;
        return true;
    }

    bool lex_string() {
        const char quote = text_[at_];
        if (quote != '"' && quote != '\'') return false;
        size_t end = at_ + 1;
        while (end < text_.size() && text_[end] != quote) end += text_[end] == '\\' ? 2 : 1;
        if (end >= text_.size()) raise_at(line_, "a string that begins here has no end");
        push(TokenType::kString, unescape(text_.substr(at_ + 1, end - at_ - 1), line_));
        advance(end + 1);
        return true;
    }

    void lex_operator(std::string& closers) {
        for (const std::string_view symbol : kOperators) {
            if (!here(symbol)) continue;
            if (symbol == "(") closers += ')';
            if (symbol == "[") closers += ']';
            if (symbol == "{") closers += '}';
            if (symbol == ")" || symbol == "]" || symbol == "}") {
                if (closers.empty()) raise_at(line_, "unexpected '{}'", symbol);
                if (closers.back() != symbol[0]) {
                    raise_at(line_, "unexpected '{}', expected '{}'", symbol, closers.back());
                }
                closers.pop_back();
            }
            push(TokenType::kOperator, std::string(symbol));
            at_ += symbol.size();
            return;
        }
        size_t end = at_;
        next_code_point(text_, end);
        raise_at(line_, "unexpected char '{}'", text_.substr(at_, end - at_));
    }

    std::string source_;
    std::string_view text_;
    size_t at_ = 0;
    int line_ = 1;
    bool starts_line_ = true;  // what was read last ended a line
    std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) {
    if (!utf8::is_valid(source)) raise_at(1, "the template is not valid UTF-8");
    return Lexer(source).run();
}

}  // namespace sluice::jinja
