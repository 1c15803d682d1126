#pragma once

// Positions of keys and queries. The angle is too large for float's digits.

#include <cstdint>

namespace sluice::cuda {

struct Turn {
    float sine, cosine;

    Turn() = default;
    __device__ __forceinline__ Turn(int32_t position, float frequency, float magnitude) {
        double s = 0, c = 0;
        sincos(static_cast<double>(position) * frequency, &s, &c);
        sine = static_cast<float>(s * magnitude), cosine = static_cast<float>(c * magnitude);
    }
    __device__ __forceinline__ void apply(float& a, float& b) const {
        const float before_a = a, before_b = b;
        a = fmaf(before_a, cosine, -(before_b * sine));
        b = fmaf(before_b, cosine, before_a * sine);
    }
};

}  // namespace sluice::cuda
