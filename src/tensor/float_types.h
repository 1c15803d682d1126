#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace sluice {

// A value of type T from bytes of any alignment.
template <typename T>
T load_unaligned(const std::byte* bytes) {
    T value;
    std::memcpy(&value, bytes, sizeof value);
    return value;
}

template <typename T>
void store_unaligned(std::byte* bytes, T value) {
    std::memcpy(bytes, &value, sizeof value);
}

inline float bf16_to_float(uint16_t bits) {
    return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}
uint16_t float_to_bf16(float value);  // round to nearest even; NaN stays NaN
float f16_to_float(uint16_t bits);
uint16_t float_to_f16(float value);  // round to nearest even
float e4m3_to_float(uint8_t bits);   // e4m3fn: bias 7, maximum 448, 0x7f and 0xff NaN, no infinity
float e5m2_to_float(uint8_t bits);
float e8m0_to_float(uint8_t bits);    // 2^(bits - 127), 0xff NaN
float e2m1_to_float(uint8_t nibble);  // 0, .5, 1, 1.5, 2, 3, 4, 6 and their negatives
uint8_t float_to_e4m3(float value);   // round to nearest even, saturates at 448; NaN stays NaN
uint8_t float_to_e2m1(float value);   // round to nearest even, saturates at 6; NaN becomes 0
uint8_t float_to_e8m0(float value);   // the largest power of two not above a positive, finite value

}  // namespace sluice
