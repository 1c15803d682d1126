#include "jinja/big_integer.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "jinja/failure.h"
#include "jinja/render.h"

namespace sluice::jinja {

namespace {

using Limbs = std::vector<uint32_t>;

constexpr uint32_t kBase = 1'000'000'000;
constexpr size_t kLimbDigits = 9;
constexpr size_t kMostLimbs = 4300 / kLimbDigits + 1;

std::strong_ordering compare(const Limbs& a, const Limbs& b) {
    if (a.size() != b.size()) return a.size() <=> b.size();
    return std::lexicographical_compare_three_way(a.rbegin(), a.rend(), b.rbegin(), b.rend());
}

Limbs sum(const Limbs& a, const Limbs& b) {
    Limbs out;
    uint32_t carry = 0;
    for (size_t i = 0; i < std::max(a.size(), b.size()) || carry != 0; ++i) {
        const uint32_t limb = (i < a.size() ? a[i] : 0) + (i < b.size() ? b[i] : 0) + carry;
        out.push_back(limb % kBase);
        carry = limb / kBase;
    }
    return out;
}

// a - b, where a is not less.
Limbs difference(const Limbs& a, const Limbs& b) {
    Limbs out;
    uint32_t borrow = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        const uint32_t taken = (i < b.size() ? b[i] : 0) + borrow;
        borrow = a[i] < taken ? 1 : 0;
        out.push_back(a[i] + borrow * kBase - taken);
    }
    while (!out.empty() && out.back() == 0) out.pop_back();
    return out;
}

Limbs times(const Limbs& a, uint32_t factor) {
    Limbs out;
    uint64_t carry = 0;
    for (size_t i = 0; i < a.size() || carry != 0; ++i) {
        carry += i < a.size() ? uint64_t{a[i]} * factor : 0;
        out.push_back(static_cast<uint32_t>(carry % kBase));
        carry /= kBase;
    }
    while (!out.empty() && out.back() == 0) out.pop_back();
    return out;
}

}  // namespace

BigInteger::BigInteger(int64_t value) : negative_(value < 0) {
    uint64_t magnitude = negative_ ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
    for (; magnitude > 0; magnitude /= kBase) limbs_.push_back(static_cast<uint32_t>(magnitude % kBase));
}

BigInteger BigInteger::of(const Value& value) {
    if (!value.is(Kind::kBigInt)) return BigInteger(value.as_int());
    std::string_view digits = value.digits();
    const bool negative = digits.starts_with('-');
    if (negative) digits.remove_prefix(1);
    return parse(digits, 10, negative);
}

BigInteger BigInteger::parse(std::string_view digits, int base, bool negative) {
    BigInteger number;
    for (const char c : digits) {
        const int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
        number.multiply_add(static_cast<uint32_t>(base), static_cast<uint32_t>(digit));
    }
    number.negative_ = negative && !number.is_zero();
    return number;
}

void BigInteger::multiply_add(uint32_t factor, uint32_t summand) {
    uint64_t carry = summand;
    for (uint32_t& limb : limbs_) {
        carry += uint64_t{limb} * factor;
        limb = static_cast<uint32_t>(carry % kBase);
        carry /= kBase;
    }
    if (carry != 0) limbs_.push_back(static_cast<uint32_t>(carry));
    charge_copy(limbs_.size());
    trim();
}

void BigInteger::trim() {
    while (!limbs_.empty() && limbs_.back() == 0) limbs_.pop_back();
    if (limbs_.empty()) negative_ = false;
    if (limbs_.size() > kMostLimbs) raise("an integer has more than {} digits", (kMostLimbs - 1) * kLimbDigits);
}

std::string BigInteger::text() const {
    if (limbs_.empty()) return "0";
    std::string text = fmt::format("{}{}", negative_ ? "-" : "", limbs_.back());
    for (auto limb = limbs_.rbegin() + 1; limb != limbs_.rend(); ++limb) text += fmt::format("{:09}", *limb);
    return text;
}

Value BigInteger::value() const {
    std::string digits = text();
    int64_t small = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), small);
    return error == std::errc() ? Value::integer(small) : Value::big_integer(std::move(digits));
}

double BigInteger::real() const {
    const std::string digits = text();
    double value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc()) raise("int too large to convert to float");
    return value;
}

std::strong_ordering BigInteger::operator<=>(const BigInteger& other) const {
    if (negative_ != other.negative_) return negative_ ? std::strong_ordering::less : std::strong_ordering::greater;
    return negative_ ? compare(other.limbs_, limbs_) : compare(limbs_, other.limbs_);
}

BigInteger BigInteger::operator-() const {
    BigInteger result = *this;
    result.negative_ = !negative_ && !is_zero();
    return result;
}

BigInteger BigInteger::operator+(const BigInteger& other) const {
    BigInteger result;
    if (negative_ == other.negative_) {
        result.limbs_ = sum(limbs_, other.limbs_);
        result.negative_ = negative_;
    } else {
        const bool mine = compare(limbs_, other.limbs_) >= 0;
        result.limbs_ = mine ? difference(limbs_, other.limbs_) : difference(other.limbs_, limbs_);
        result.negative_ = mine ? negative_ : other.negative_;
    }
    result.trim();
    return result;
}

BigInteger BigInteger::operator*(const BigInteger& other) const {
    if (limbs_.size() + other.limbs_.size() > kMostLimbs + 1) raise("the product of two integers is too large");
    charge_copy(limbs_.size() * other.limbs_.size());
    BigInteger result;
    result.limbs_.assign(limbs_.size() + other.limbs_.size(), 0);
    for (size_t i = 0; i < limbs_.size(); ++i) {
        uint64_t carry = 0;
        for (size_t j = 0; j < other.limbs_.size() || carry != 0; ++j) {
            carry += result.limbs_[i + j];
            if (j < other.limbs_.size()) carry += uint64_t{limbs_[i]} * other.limbs_[j];
            result.limbs_[i + j] = static_cast<uint32_t>(carry % kBase);
            carry /= kBase;
        }
    }
    result.negative_ = negative_ != other.negative_;
    result.trim();
    return result;
}

BigInteger::Division BigInteger::divide(const BigInteger& divisor) const {
    if (divisor.is_zero()) raise("integer division or modulo by zero");
    charge_copy(30 * limbs_.size() * divisor.limbs_.size());
    Division result{BigInteger(), BigInteger()};
    Limbs& rest = result.remainder.limbs_;
    Limbs& quotient = result.quotient.limbs_;
    quotient.assign(limbs_.size(), 0);
    for (size_t i = limbs_.size(); i-- > 0;) {
        rest.insert(rest.begin(), limbs_[i]);
        while (!rest.empty() && rest.back() == 0) rest.pop_back();
        uint32_t least = 0;  // the digit of the quotient lies in [least, beyond)
        for (uint32_t beyond = kBase; beyond - least > 1;) {
            const uint32_t middle = least + (beyond - least) / 2;
            (compare(times(divisor.limbs_, middle), rest) <= 0 ? least : beyond) = middle;
        }
        quotient[i] = least;
        rest = difference(rest, times(divisor.limbs_, least));
    }
    result.quotient.negative_ = negative_ != divisor.negative_;
    result.remainder.negative_ = negative_;
    result.quotient.trim();
    result.remainder.trim();
    if (!result.remainder.is_zero() && negative_ != divisor.negative_) {
        result.quotient = result.quotient + BigInteger(-1);
        result.remainder = result.remainder + divisor;
    }
    return result;
}

BigInteger BigInteger::power(int64_t exponent) const {
    BigInteger result(1);
    BigInteger base = *this;
    while (exponent > 0) {
        if ((exponent & 1) != 0) result = result * base;
        exponent >>= 1;
        if (exponent > 0) base = base * base;
    }
    return result;
}

// Of the magnitude, to within the last limb: at most 30 too many.
size_t BigInteger::bits() const {
    return limbs_.size() * 30;
}

double BigInteger::divide_real(const BigInteger& divisor) const {
    if (divisor.is_zero()) raise("division by zero");
    // Scaled so that the quotient has over 60 bits, more than a double holds: all that lies between it and the next
    // whole number is rounded alike.
    constexpr int64_t kQuotientBits = 97;
    const auto shift = kQuotientBits - static_cast<int64_t>(bits()) + static_cast<int64_t>(divisor.bits());
    const BigInteger scale = BigInteger(2).power(std::abs(shift));
    BigInteger top = shift > 0 ? *this * scale : *this;
    BigInteger bottom = shift < 0 ? divisor * scale : divisor;
    top.negative_ = bottom.negative_ = false;
    const Division parts = top.divide(bottom);
    const std::string digits = parts.quotient.text() + (parts.remainder.is_zero() ? "" : ".5");
    double quotient = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), quotient);
    const double magnitude = std::ldexp(quotient, static_cast<int>(-shift));
    if (std::isinf(magnitude)) raise("integer division result too large for a float");
    return negative_ != divisor.negative_ ? -magnitude : magnitude;
}

}  // namespace sluice::jinja
