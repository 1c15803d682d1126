#include <fmt/core.h>

#include <array>
#include <charconv>
#include <cmath>

#include "jinja/big_integer.h"
#include "jinja/failure.h"
#include "jinja/filters.h"
#include "jinja/operations.h"
#include "jinja/string_functions.h"

namespace sluice::jinja {

namespace {

Value absolute(const Bound& arguments) {
    const Value& value = arguments[0];
    if (value.is(Kind::kFloat)) return Value::real(std::fabs(value.as_real()));
    if (value.is_integral()) return value.as_int() < 0 ? negate(value) : Value::integer(value.as_int());
    if (value.is(Kind::kBigInt)) return value.digits().starts_with('-') ? negate(value) : value;
    if (value.is_undefined()) raise("{}", value.reason());
    raise("bad operand type for abs(): '{}'", type_name(value));
}

// A number's text without white space around it and without single underscores between its digits; nothing where the
// underscores stand elsewhere.
std::optional<std::string> plain_digits(std::string_view text) {
    text = strip(text, "", true, true);
    std::string plain;
    for (size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '_') {
            plain += text[i];
            continue;
        }
        auto digit = [&](size_t at) { return at < text.size() && std::isxdigit(static_cast<unsigned char>(text[at])); };
        if (i == 0 || !digit(i - 1) || !digit(i + 1)) return std::nullopt;
    }
    return plain;
}

std::optional<Value> parse_integer(std::string_view given, int64_t base) {
    if (base != 0 && (base < 2 || base > 36)) raise("int() base must be >= 2 and <= 36, or 0");
    const std::optional<std::string> plain = plain_digits(given);
    if (!plain) return std::nullopt;
    std::string_view text = *plain;
    const bool negative = text.starts_with('-');
    if (negative || text.starts_with('+')) text.remove_prefix(1);
    auto prefixed = [&](int64_t of_base, char letter) {
        const bool has = text.size() > 2 && text[0] == '0' && (text[1] | 0x20) == letter;
        if (!has || (base != 0 && base != of_base)) return false;
        text.remove_prefix(2);
        base = of_base;
        return true;
    };
    prefixed(16, 'x') || prefixed(8, 'o') || prefixed(2, 'b');
    if (base == 0) base = 10;
    if (text.empty()) return std::nullopt;
    uint64_t magnitude = 0;
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), magnitude, static_cast<int>(base));
    if (end != text.data() + text.size()) return std::nullopt;
    if (error != std::errc() || magnitude > static_cast<uint64_t>(INT64_MAX) + (negative ? 1 : 0)) {
        return BigInteger::parse(text, static_cast<int>(base), negative).value();
    }
    return Value::integer(static_cast<int64_t>(negative ? 0 - magnitude : magnitude));
}

std::optional<double> parse_float(std::string_view given) {
    const std::optional<std::string> plain = plain_digits(given);
    if (!plain) return std::nullopt;
    std::string_view text = *plain;
    const bool negative = text.starts_with('-');
    if (negative || text.starts_with('+')) text.remove_prefix(1);
    if (text.empty() || text[0] == '-') return std::nullopt;
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (end != text.data() + text.size()) return std::nullopt;
    if (error == std::errc::result_out_of_range) {
        const size_t exponent = text.find_first_of("eE");
        const bool tiny = exponent != std::string_view::npos && text.substr(exponent + 1).starts_with('-');
        value = tiny ? 0.0 : HUGE_VAL;
    } else if (error != std::errc()) {
        return std::nullopt;
    }
    return negative ? -value : value;
}

Value truncated(double value) {
    if (std::isnan(value)) raise("cannot convert float NaN to integer");
    if (std::isinf(value)) raise("cannot convert float infinity to integer");
    if (std::fabs(value) >= 9223372036854775808.0) return Value::big_integer(fmt::format("{:.0f}", std::trunc(value)));
    return Value::integer(static_cast<int64_t>(value));
}

Value to_integer(const Bound& arguments) {
    const Value& value = arguments[0];
    if (value.is_undefined()) raise("{}", value.reason());
    if (value.is_integral()) return Value::integer(value.as_int());
    if (value.is(Kind::kBigInt)) return value;
    if (value.is(Kind::kFloat)) {
        if (!std::isnan(value.as_real())) return truncated(value.as_real());
    } else if (value.is_string()) {
        if (std::optional<Value> parsed = parse_integer(value.text(), arguments.integer(2, 10))) return *parsed;
        const std::optional<double> real = parse_float(value.text());
        if (real && !std::isnan(*real)) return truncated(*real);
    }
    return arguments.given(1) ? arguments[1] : Value::integer(0);
}

Value to_float(const Bound& arguments) {
    const Value& value = arguments[0];
    if (value.is_undefined()) raise("{}", value.reason());
    if (value.is_number()) return Value::real(value.as_real());
    const bool textual = value.is_string() || value.is(Kind::kBigInt);
    if (textual) {
        if (const auto real = parse_float(value.is_string() ? value.text() : value.digits())) return Value::real(*real);
    }
    return arguments.given(1) ? arguments[1] : Value::real(0);
}

double round_decimal(double value, int64_t precision) {
    constexpr int64_t kDigits = 400;  // beyond the last decimal of any double
    if (!std::isfinite(value) || precision > kDigits) return value;
    if (precision < -kDigits) return std::copysign(0.0, value);
    if (precision < 0) {
        const double scale = std::pow(10.0, static_cast<double>(-precision));
        return std::nearbyint(value / scale) * scale;
    }
    // Printing rounds the exact value, halves to even, as Python's round does.
    return *parse_float(fmt::format("{:.{}f}", value, static_cast<int>(precision)));
}

Value round_number(const Bound& arguments) {
    const Value& value = arguments[0];
    const int64_t precision = arguments.integer(1, 0);
    const std::string method = arguments.text(2, "common");
    if (method != "common" && method != "ceil" && method != "floor") raise("method must be common, ceil or floor");
    if (value.is_undefined()) raise("{}", value.reason());
    if (value.is(Kind::kBigInt) && precision >= 0 && method == "common") return value;
    if (!value.is_number()) raise("type {} doesn't define __round__ method", type_name(value));
    if (method == "common") {
        if (value.is(Kind::kFloat)) return Value::real(round_decimal(value.as_real(), precision));
        if (precision >= 0) return Value::integer(value.as_int());
        return truncated(round_decimal(value.as_real(), precision));
    }
    const double scale = std::pow(10.0, static_cast<double>(precision));
    const double scaled = value.as_real() * scale;
    return Value::real((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

Value file_size(const Bound& arguments) {
    const Value& value = arguments[0];
    std::optional<double> bytes;
    if (value.is_undefined()) raise("{}", value.reason());
    if (value.is_number()) bytes = value.as_real();
    if (value.is(Kind::kBigInt)) bytes = BigInteger::of(value).real();
    if (value.is_string()) bytes = parse_float(value.text());
    if (!bytes) raise("could not convert {} to float", repr(value));
    const bool binary = arguments.flag(1, false);
    const double base = binary ? 1024 : 1000;
    if (*bytes == 1) return Value::string("1 Byte");
    if (*bytes < base) return Value::string(to_text(truncated(*bytes)) + " Bytes");
    constexpr std::string_view kPrefixes = "kMGTPEZY";
    long double unit = base * base;  // exact up to the one that a double cannot hold, 10^24
    size_t prefix = 0;
    for (; prefix + 1 < kPrefixes.size() && *bytes >= unit; ++prefix) unit *= base;
    const char letter = binary && prefix == 0 ? 'K' : kPrefixes[prefix];
    return Value::string(
        fmt::format("{:.1f} {}{}", base * *bytes / static_cast<double>(unit), letter, binary ? "iB" : "B"));
}

constexpr std::array kNumberFilters = std::to_array<Builtin>({
    {"abs", "number", absolute},
    {"filesizeformat", "value binary?", file_size},
    {"float", "value default?", to_float},
    {"int", "value default? base?", to_integer},
    {"round", "value precision? method?", round_number},
});

}  // namespace

std::span<const Builtin> number_filters() {
    return kNumberFilters;
}

}  // namespace sluice::jinja
