#pragma once

// Numbers of a cache's rows, four at a time where rows are aligned and the format has no factor of its own.

#include "backend/cuda/attention.h"

namespace sluice::cuda {

__device__ __forceinline__ bool lies_in_fours(KvFormat format, const uint8_t* row, int width) {
    return format != KvFormat::kInt8 && width % 4 == 0 && reinterpret_cast<uint64_t>(row) % 16 == 0;
}

__device__ __forceinline__ float4 four_at(KvFormat format, const uint8_t* row, int i) {
    if (format == KvFormat::kF32) return *reinterpret_cast<const float4*>(row + 4 * i);
    const uint2 pairs = *reinterpret_cast<const uint2*>(row + 2 * i);
    return {__uint_as_float(pairs.x << 16), __uint_as_float(pairs.x & 0xffff0000), __uint_as_float(pairs.y << 16),
            __uint_as_float(pairs.y & 0xffff0000)};
}

}  // namespace sluice::cuda
