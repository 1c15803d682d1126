#pragma once

// How a cache takes rows.

#include "backend/cuda/attention.h"

namespace sluice::cuda {

// Where keys (part 0) or values (part 1) of grouped attention lie.
CacheRows grouped_rows(const GroupedKvLayout& layout, int64_t width, int part);

__device__ inline uint16_t to_bf16(float value) {
    const uint32_t bits = __float_as_uint(value);
    if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(bits >> 16 | 0x40);
    return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

__device__ inline void store_int8(const float* from, int width, uint8_t* row) {
    constexpr float kLargestByte = 127.0f, kSmallestNormal = 1.17549435e-38f;
    const int lane = threadIdx.x % 32;
    float largest = 0;
    bool finite = true;
    for (int i = lane; i < width; i += 32) {
        finite = finite && isfinite(from[i]);
        largest = fmaxf(largest, fabsf(from[i]));
    }
    finite = __all_sync(kAllLanes, finite);
    // A row that is not finite decodes to NaN, so that the fault stays visible.
    const float scale = finite ? warp_max(largest) / kLargestByte : __uint_as_float(0x7fc00000);
    const bool representable = scale >= kSmallestNormal;
    const float inverse = representable ? 1.0f / scale : 0.0f;
    if (lane == 0) *reinterpret_cast<float*>(row) = finite && !representable ? 0.0f : scale;
    for (int i = lane; i < (width + 3) / 4 * 4; i += 32) {
        const float level = representable && i < width ? rintf(from[i] * inverse) : 0.0f;
        row[4 + i] = static_cast<uint8_t>(static_cast<int8_t>(fminf(fmaxf(level, -kLargestByte), kLargestByte)));
    }
}

// A vector of a token, by a warp.
__device__ inline void store_row(const CachePages& cache, const CacheRows& rows, int sequence, int head, int token,
                                 const float* from) {
    const int lane = threadIdx.x % 32, width = rows.width;
    const int64_t page = cache.pages[sequence][token / cache.page_tokens];
    auto* const to = const_cast<uint8_t*>(cache.pool) + page * static_cast<int64_t>(cache.page_bytes) + rows.first +
                     head * rows.head_bytes + token % cache.page_tokens * rows.token_bytes;
    if (cache.format == KvFormat::kInt8) return store_int8(from, width, to);
    for (int i = lane; i < width; i += 32) {
        if (cache.format == KvFormat::kF32) {
            reinterpret_cast<float*>(to)[i] = from[i];
        } else {
            reinterpret_cast<uint16_t*>(to)[i] = to_bf16(from[i]);
        }
    }
}

}  // namespace sluice::cuda
