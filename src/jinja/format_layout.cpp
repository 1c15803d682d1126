#include "jinja/format_layout.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "jinja/failure.h"
#include "jinja/operations.h"
#include "jinja/unicode.h"
#include "unicode/utf8.h"

namespace sluice::jinja {

namespace {

void pad(std::string& out, std::string_view sign, std::string_view body, const Layout& layout, char natural) {
    const size_t length = count_code_points(sign) + count_code_points(body);
    const size_t missing = layout.width > length ? layout.width - length : 0;
    const char align = layout.align != 0 ? layout.align : natural;
    const size_t left = align == '<' || align == '=' ? 0 : align == '^' ? missing / 2 : missing;
    const size_t inner = align == '=' ? missing : 0;
    auto fill = [&](size_t count) {
        for (size_t i = 0; i < count; ++i) utf8::append(out, layout.fill);
    };
    fill(left);
    out += sign;
    fill(inner);
    out += body;
    fill(missing - left - inner);
}

std::string group_digits(std::string digits, char separator, size_t every) {
    const size_t whole = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
    for (size_t at = whole; at > every; at -= every) digits.insert(at - every, 1, separator);
    return digits;
}

std::string sign_of(bool negative, char wanted) {
    if (negative) return "-";
    return wanted == '+' ? "+" : wanted == ' ' ? " " : "";
}

}  // namespace

bool FormatReader::accept(char wanted) {
    if (done() || peek() != wanted) return false;
    ++at_;
    return true;
}

bool FormatReader::accept_any(std::string_view wanted, char& out) {
    if (done() || wanted.find(peek()) == std::string_view::npos) return false;
    out = take();
    return true;
}

size_t FormatReader::number(size_t limit) {
    size_t value = 0;
    while (at_digit()) {
        value = value * 10 + static_cast<size_t>(take() - '0');
        if (value > limit) raise("a width or precision in a format is larger than {}", limit);
    }
    return value;
}

std::string_view FormatReader::until(char end) {
    const size_t found = text_.find(end, at_);
    if (found == std::string_view::npos) raise("a format ends before its '{}'", end);
    const std::string_view part = text_.substr(at_, found - at_);
    at_ = found + 1;
    return part;
}

void append_integer(std::string& out, int64_t value, const Layout& layout) {
    const uint64_t magnitude = value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
    std::string sign = sign_of(value < 0, layout.sign);
    std::string digits;
    switch (layout.type) {
        case 'b':
            digits = fmt::format("{:b}", magnitude);
            break;
        case 'o':
            digits = fmt::format("{:o}", magnitude);
            break;
        case 'x':
            digits = fmt::format("{:x}", magnitude);
            break;
        case 'X':
            digits = fmt::format("{:X}", magnitude);
            break;
        default:
            digits = fmt::format("{}", magnitude);
    }
    if (layout.precision && digits.size() < *layout.precision) {
        digits.insert(0, *layout.precision - digits.size(), '0');
    }
    const bool decimal = layout.type == 0 || layout.type == 'd' || layout.type == 'n';
    if (layout.grouping != 0) digits = group_digits(digits, layout.grouping, decimal ? 3 : 4);
    if (layout.alternate && !decimal) sign += std::string("0") + layout.type;
    pad(out, sign, digits, layout, '>');
}

void append_float(std::string& out, double value, const Layout& layout) {
    const bool percent = layout.type == '%';
    const double magnitude = std::fabs(percent ? value * 100 : value);
    std::string digits;
    if (!std::isfinite(magnitude)) {
        digits = std::isnan(magnitude) ? "nan" : "inf";
    } else {
        const auto precision = static_cast<int>(layout.precision.value_or(6));
        switch (layout.type) {
            case 'e':
                digits = fmt::format("{:.{}e}", magnitude, precision);
                break;
            case 'E':
                digits = fmt::format("{:.{}E}", magnitude, precision);
                break;
            case 'f':
            case 'F':
            case '%':
                digits = fmt::format("{:.{}f}", magnitude, precision);
                break;
            case 'g':
            case 'n':
                digits = fmt::format("{:.{}g}", magnitude, std::max(precision, 1));
                break;
            case 'G':
                digits = fmt::format("{:.{}G}", magnitude, std::max(precision, 1));
                break;
            default:
                digits = layout.precision ? fmt::format("{:.{}g}", magnitude, std::max(precision, 1))
                                          : float_text(magnitude);
                if (digits.find_first_of(".e") == std::string::npos) digits += ".0";
        }
    }
    if (layout.grouping != 0) digits = group_digits(digits, layout.grouping, 3);
    if (percent) digits += '%';
    pad(out, sign_of(std::signbit(value) && !std::isnan(value), layout.sign), digits, layout, '>');
}

void append_string(std::string& out, std::string_view text, const Layout& layout) {
    if (layout.precision) {
        size_t at = 0;
        for (size_t i = 0; i < *layout.precision && at < text.size(); ++i) next_code_point(text, at);
        text = text.substr(0, at);
    }
    pad(out, "", text, layout, '<');
}

}  // namespace sluice::jinja
