#pragma once

// Eight numbers in a row, in the widest accesses that their place allows.

#include <cstdint>

namespace sluice::cuda {

__device__ __forceinline__ void load_eight(const float* from, float (&x)[8]) {
    if (reinterpret_cast<uintptr_t>(from) % 16 == 0) {
        const float4 low = *reinterpret_cast<const float4*>(from), high = *reinterpret_cast<const float4*>(from + 4);
        x[0] = low.x, x[1] = low.y, x[2] = low.z, x[3] = low.w;
        x[4] = high.x, x[5] = high.y, x[6] = high.z, x[7] = high.w;
        return;
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) x[j] = from[j];
}

__device__ __forceinline__ void store_eight(float* to, const float (&x)[8]) {
    if (reinterpret_cast<uintptr_t>(to) % 16 == 0) {
        reinterpret_cast<float4*>(to)[0] = {x[0], x[1], x[2], x[3]};
        reinterpret_cast<float4*>(to)[1] = {x[4], x[5], x[6], x[7]};
        return;
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) to[j] = x[j];
}

}  // namespace sluice::cuda
