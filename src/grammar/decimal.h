#pragma once

#include <compare>
#include <string>
#include <string_view>

namespace sluice::grammar {

// A number of JSON, exactly.
struct Decimal {
    bool negative = false;      // never of zero
    std::string whole = {};     // digits without leading zeros; empty: 0
    std::string fraction = {};  // digits without trailing zeros

    bool zero() const { return whole.empty() && fraction.empty(); }
    bool integral() const { return fraction.empty(); }
    bool operator==(const Decimal&) const = default;
    std::strong_ordering operator<=>(const Decimal& other) const;
};

// `number`: as it is printed, "-1.5e3".
Decimal parse_decimal(std::string_view number);
// 10 to the power of `digits`.
Decimal power_of_ten(size_t digits);

}  // namespace sluice::grammar
