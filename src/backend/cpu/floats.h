#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace sluice {

inline void copy_floats(float* target, const float* source, int64_t count) {
    std::memcpy(target, source, static_cast<size_t>(count) * sizeof(float));
}

// log(1 + e^x), which is x where e^x would overflow.
inline float softplus(float x) {
    return x > 20.0f ? x : std::log1p(std::exp(x));
}

}  // namespace sluice
