#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "jinja/value.h"

namespace sluice::jinja {

// Whole numbers as Python has them, of any size up to 4,300 digits (where Python stops writing them, too). Throws
// Failure beyond that.
class BigInteger {
  public:
    explicit BigInteger(int64_t value);
    // Of a Value that is an integer of either kind, or a bool.
    static BigInteger of(const Value& value);
    // `digits` of base 2 to 36 alone, at least one.
    static BigInteger parse(std::string_view digits, int base, bool negative);

    Value value() const;  // of the small kind where it fits 64 bits
    std::string text() const;
    double real() const;  // rounded to nearest; throws Failure for one that no double holds

    bool is_zero() const { return limbs_.empty(); }
    bool negative() const { return negative_; }
    BigInteger operator-() const;
    BigInteger operator+(const BigInteger& other) const;
    BigInteger operator-(const BigInteger& other) const { return *this + -other; }
    BigInteger operator*(const BigInteger& other) const;
    // Rounded down, and what then remains, of the divisor's sign. Throws Failure for a divisor of zero.
    struct Division;
    Division divide(const BigInteger& divisor) const;
    BigInteger power(int64_t exponent) const;  // exponent >= 0
    // The quotient rounded to nearest.
    double divide_real(const BigInteger& divisor) const;

    std::strong_ordering operator<=>(const BigInteger& other) const;
    bool operator==(const BigInteger& other) const { return (*this <=> other) == 0; }

  private:
    BigInteger() = default;
    void trim();
    void multiply_add(uint32_t factor, uint32_t summand);
    size_t bits() const;

    std::vector<uint32_t> limbs_;  // of base 10^9, the least first, the greatest not zero
    bool negative_ = false;        // never of zero
};

struct BigInteger::Division {
    BigInteger quotient;
    BigInteger remainder;
};

}  // namespace sluice::jinja
