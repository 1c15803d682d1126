#pragma once

// Activations to int8, one scale per group of the weight that they meet.

#include "backend/cpu/isa/math.inl.h"

namespace sluice {
namespace {

// The order of columns: weights are unpacked `kUnit` columns at a time. 4-bit weights give the even columns first, then
// the odd ones, because masking and shifting does that; all others come out in order.
template <int kBits, int kGroup>
struct AffineShape {
    static constexpr int kHalves = kBits == 4 ? 2 : 1;  // vectors per unit
    static constexpr int kUnit = kHalves * kVectorBytes;
    static constexpr int kUnitBytes = kUnit * kBits / 8;
    static constexpr int kGroups = kUnit > kGroup ? kUnit / kGroup : 1;  // per step
    static constexpr int kUnits = kGroup > kUnit ? kGroup / kUnit : 1;   // per step
    static constexpr int kStep = kUnits * kUnit;                         // columns: whole units and whole groups
    static constexpr int kStepBytes = kUnits * kUnitBytes;
    static constexpr bool kWide = kBits == 8;
};

inline int64_t unit_columns(int bits) {
    return bits == 4 ? 2 * kVectorBytes : kVectorBytes;
}

inline int64_t quantized_bytes(int64_t columns, int bits) {
    const int64_t unit = unit_columns(bits);
    return (columns + unit - 1) / unit * unit;
}

// A group that is not finite gets a NaN scale, so that the fault stays visible.
inline void quantize_group(const float* x, int group, int8_t* values, float* scale, float* sum) {
    F largest = zero(), fault = zero();
    for (int i = 0; i < group; i += kLanes) {
        const F v = load(x + i);
        largest = max(largest, absolute(v));
        fault = fma(v, zero(), fault);
    }
    const float bound = reduce_max(largest);
    const bool representable = bound >= 1.2e-36f;
    const F inverse = set1(representable ? 127.0f / bound : 0.0f);
    F total = zero();
    for (int i = 0; i < group; i += kLanes) {
        const F level = min(max(round_even(mul(load(x + i), inverse)), set1(-127.0f)), set1(127.0f));
        total = add(total, level);
        store_i8(values + i, level);
    }
    *scale = (representable ? bound / 127.0f : 0.0f) + reduce_add(fault);
    *sum = *scale * reduce_add(total);
}

// Columns [first, first + count) of a row, whole groups; x is at the first of them.
inline void quantize(const float* x, int64_t first, int64_t count, int bits, int group, int8_t* values, float* scales,
                     float* sums) {
    alignas(64) int8_t bytes[128];
    for (int64_t column = first; column < first + count; column += group) {
        const int64_t g = column / group;
        if (bits != 4) {
            quantize_group(x + (column - first), group, values + column, scales + g, sums + g);
            continue;
        }
        quantize_group(x + (column - first), group, bytes, scales + g, sums + g);
        for (int done = 0; done < group;) {
            const int64_t at = column + done;
            const int64_t inside = at % (2 * kVectorBytes);
            int8_t* even = values + (at - inside) + inside / 2;
            int8_t* odd = even + kVectorBytes;
            const int run = smaller(group - done, 2 * kVectorBytes);
            for (int i = 0; i < run / 2; ++i) {
                even[i] = bytes[done + 2 * i];
                odd[i] = bytes[done + 2 * i + 1];
            }
            done += run;
        }
    }
}

// The same in the order of the columns, and the sums of every 16 bytes.
inline void quantize_row(const float* x, int64_t first, int64_t count, int group, int8_t* values, float* scales,
                         int16_t* sums) {
    for (int64_t column = first; column < first + count; column += group) {
        float sum;
        quantize_group(x + (column - first), group, values + column, scales + column / group, &sum);
        for (int64_t i = column; i < column + group; i += 16) {
            int total = 0;
            for (int64_t j = i; j < i + 16; ++j) total += values[j];
            sums[i / 16] = static_cast<int16_t>(total);
        }
    }
}

}  // namespace
}  // namespace sluice
