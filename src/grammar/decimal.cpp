#include "grammar/decimal.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

namespace sluice::grammar {

std::strong_ordering Decimal::operator<=>(const Decimal& other) const {
    if (negative != other.negative) return negative ? std::strong_ordering::less : std::strong_ordering::greater;
    std::strong_ordering order = whole.size() <=> other.whole.size();
    if (order == 0) order = whole.compare(other.whole) <=> 0;
    if (order == 0) order = fraction.compare(other.fraction) <=> 0;
    return negative ? 0 <=> order : order;
}

Decimal parse_decimal(std::string_view number) {
    Decimal result;
    result.negative = number.starts_with('-');
    if (result.negative) number.remove_prefix(1);
    const size_t exponent_at = std::min(number.find_first_of("eE"), number.size());
    long exponent = 0;
    if (exponent_at < number.size()) exponent = std::atol(std::string(number.substr(exponent_at + 1)).c_str());
    number = number.substr(0, exponent_at);
    const size_t point = std::min(number.find('.'), number.size());
    std::string digits(number.substr(0, point));
    if (point < number.size()) digits += number.substr(point + 1);
    // The point stands behind so many digits, or so many zeros before them.
    const long whole = static_cast<long>(point) + exponent;
    if (whole <= 0) {
        result.fraction.resize(static_cast<size_t>(-whole), '0');
        result.fraction += digits;
    } else {
        const auto count = static_cast<size_t>(whole);
        if (digits.size() < count) digits.resize(count, '0');
        result.whole = digits.substr(0, count);
        result.fraction = digits.substr(count);
    }
    result.whole.erase(0, std::min(result.whole.find_first_not_of('0'), result.whole.size()));
    result.fraction.erase(result.fraction.find_last_not_of('0') + 1);
    if (result.zero()) result.negative = false;
    return result;
}

Decimal power_of_ten(size_t digits) {
    Decimal result{.whole = "1"};
    result.whole.resize(digits + 1, '0');
    return result;
}

}  // namespace sluice::grammar
