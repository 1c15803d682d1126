#pragma once

// What both ways to format a string have in common: reading the format, and laying out one value.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::jinja {

constexpr size_t kMaxFormatWidth = 1'000'000;
constexpr size_t kMaxFormatPrecision = 1000;

// How one value is to look; both notations end up here.
struct Layout {
    char32_t fill = U' ';
    char align = 0;  // '<', '>', '^', '=' (between sign and digits), or 0: by type
    char sign = '-';
    bool alternate = false;
    size_t width = 0;
    char grouping = 0;
    std::optional<size_t> precision;
    char type = 0;
};

void append_integer(std::string& out, int64_t value, const Layout& layout);
void append_float(std::string& out, double value, const Layout& layout);
void append_string(std::string& out, std::string_view text, const Layout& layout);

class FormatReader {
  public:
    explicit FormatReader(std::string_view text) : text_(text) {}
    bool done() const { return at_ >= text_.size(); }
    char peek() const { return done() ? '\0' : text_[at_]; }
    char take() { return done() ? '\0' : text_[at_++]; }
    size_t at() const { return at_; }
    std::string_view rest() const { return text_.substr(at_); }
    void skip(size_t count) { at_ += count; }
    bool accept(char wanted);
    bool accept_any(std::string_view wanted, char& out);
    bool at_digit() const { return peek() >= '0' && peek() <= '9'; }
    size_t number(size_t limit);       // throws Failure where it is larger
    std::string_view until(char end);  // moves behind `end`; throws Failure where there is none

  private:
    std::string_view text_;
    size_t at_ = 0;
};

}  // namespace sluice::jinja
