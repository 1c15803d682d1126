#include "tensor/float_types.h"

#include <array>
#include <cmath>
#include <limits>

namespace sluice {

namespace {

constexpr uint32_t kMagnitudeMask = 0x7fffffff;
constexpr uint32_t kInfinityBits = 0x7f800000;

// A sign, `exponent_bits` and `mantissa_bits`, subnormals included; what infinity and NaN are is up to the caller.
constexpr float decode_small(uint32_t bits, int exponent_bits, int mantissa_bits) {
    const uint32_t mantissa = bits & ((1u << mantissa_bits) - 1);
    const uint32_t exponent = (bits >> mantissa_bits) & ((1u << exponent_bits) - 1);
    const bool negative = ((bits >> (exponent_bits + mantissa_bits)) & 1) != 0;
    const int bias = (1 << (exponent_bits - 1)) - 1;
    float value = static_cast<float>(exponent == 0 ? mantissa : mantissa | (1u << mantissa_bits));
    int power = static_cast<int>(exponent == 0 ? 1 : exponent) - bias - mantissa_bits;
    for (; power > 0; --power) value *= 2.0f;
    for (; power < 0; ++power) value *= 0.5f;
    return negative ? -value : value;
}

constexpr std::array<float, 256> make_e4m3_table() {
    std::array<float, 256> table{};
    for (uint32_t i = 0; i < 256; ++i) table[i] = decode_small(i, 4, 3);
    table[0x7f] = std::numeric_limits<float>::quiet_NaN();
    table[0xff] = std::numeric_limits<float>::quiet_NaN();
    return table;
}

constexpr std::array<float, 256> kE4M3 = make_e4m3_table();
constexpr std::array<float, 16> kE2M1 = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                         -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

}  // namespace

uint16_t float_to_bf16(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    if ((bits & kMagnitudeMask) > kInfinityBits) return static_cast<uint16_t>((bits >> 16) | 0x40);
    return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

float f16_to_float(uint16_t bits) {
    const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
    const uint32_t magnitude = bits & 0x7fff;
    if (magnitude >= 0x7c00) return std::bit_cast<float>(sign | kInfinityBits | ((magnitude & 0x3ff) << 13));
    if (magnitude < 0x400) {
        const float value = static_cast<float>(magnitude) * 0x1p-24f;
        return sign != 0 ? -value : value;
    }
    return std::bit_cast<float>(sign | ((magnitude << 13) + (112u << 23)));
}

uint16_t float_to_f16(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const uint32_t sign = (bits >> 16) & 0x8000;
    const uint32_t magnitude = bits & kMagnitudeMask;
    uint32_t half = 0;
    if (magnitude > kInfinityBits) {
        half = 0x7e00;
    } else if (magnitude >= 0x477ff000) {  // 65520 and above round to infinity
        half = 0x7c00;
    } else if (magnitude < 0x38800000) {  // below 2^-14: the addition rounds to a multiple of 2^-24
        half = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000;
    } else {
        half = (magnitude + 0xfff + ((magnitude >> 13) & 1) - (112u << 23)) >> 13;
    }
    return static_cast<uint16_t>(sign | half);
}

float e4m3_to_float(uint8_t bits) {
    return kE4M3[bits];
}

float e5m2_to_float(uint8_t bits) {
    return f16_to_float(static_cast<uint16_t>(bits << 8));  // the upper byte of an F16
}

float e8m0_to_float(uint8_t bits) {
    if (bits == 0xff) return std::numeric_limits<float>::quiet_NaN();
    return std::bit_cast<float>(bits == 0 ? 0x00400000u : static_cast<uint32_t>(bits) << 23);
}

float e2m1_to_float(uint8_t nibble) {
    return kE2M1[nibble & 0xf];
}

uint8_t float_to_e4m3(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const uint32_t sign = (bits >> 24) & 0x80;
    const uint32_t magnitude = bits & kMagnitudeMask;
    uint32_t code = 0;
    if (magnitude > kInfinityBits) {
        code = 0x7f;
    } else if (magnitude >= std::bit_cast<uint32_t>(448.0f)) {
        code = 0x7e;
    } else if (magnitude < std::bit_cast<uint32_t>(0x1p-6f)) {  // the addition rounds to a multiple of 2^-9
        code = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0x1p14f) - std::bit_cast<uint32_t>(0x1p14f);
    } else {
        code = (magnitude + 0x7ffff + ((magnitude >> 20) & 1) - (120u << 23)) >> 20;
    }
    return static_cast<uint8_t>(sign | code);
}

uint8_t float_to_e2m1(float value) {
    const float magnitude = std::abs(value);
    const uint8_t sign = std::signbit(value) ? 8 : 0;
    // Halfway points go to the even code: upward (>=) into codes 2, 4 and 6, downward (>) before 1, 3, 5 and 7.
    const int code = (magnitude > 0.25f) + (magnitude >= 0.75f) + (magnitude > 1.25f) + (magnitude >= 1.75f) +
                     (magnitude > 2.5f) + (magnitude >= 3.5f) + (magnitude > 5.0f);
    return static_cast<uint8_t>(std::isnan(value) ? 0 : sign | code);
}

uint8_t float_to_e8m0(float value) {
    return static_cast<uint8_t>(std::bit_cast<uint32_t>(value) >>
                                23);  // the exponent; 2^-127 for what lies below 2^-126
}

}  // namespace sluice
