#pragma once

// What decoders of weight formats share. A decoder is a struct with
//     static __device__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[32])
// which makes columns [32 * run, 32 * run + 32) of a row; those behind the row's end become zeros.

#include <cstdint>

#include "backend/cuda/weight.h"

namespace sluice::cuda {

constexpr int kRun = 32;  // columns that a thread decodes at once

// Words from any address, in the widest loads that its alignment allows.
template <int kWords>
__device__ __forceinline__ void load_words(const uint8_t* from, uint32_t (&words)[kWords]) {
    const auto address = reinterpret_cast<uintptr_t>(from);
    if (kWords % 4 == 0 && address % 16 == 0) {
#pragma unroll
        for (int i = 0; i < kWords / 4; ++i) {
            const uint4 value = __ldg(reinterpret_cast<const uint4*>(from) + i);
            words[4 * i] = value.x, words[4 * i + 1] = value.y, words[4 * i + 2] = value.z, words[4 * i + 3] = value.w;
        }
    } else if (address % 4 == 0) {
#pragma unroll
        for (int i = 0; i < kWords; ++i) words[i] = __ldg(reinterpret_cast<const uint32_t*>(from) + i);
    } else if (address % 2 == 0) {
#pragma unroll
        for (int i = 0; i < kWords; ++i) {
            const auto* halves = reinterpret_cast<const uint16_t*>(from) + 2 * i;
            words[i] = __ldg(halves) | static_cast<uint32_t>(__ldg(halves + 1)) << 16;
        }
    } else {
#pragma unroll
        for (int i = 0; i < kWords; ++i) {
            words[i] = __ldg(from + 4 * i) | static_cast<uint32_t>(__ldg(from + 4 * i + 1)) << 8 |
                       static_cast<uint32_t>(__ldg(from + 4 * i + 2)) << 16 |
                       static_cast<uint32_t>(__ldg(from + 4 * i + 3)) << 24;
        }
    }
}

__device__ __forceinline__ uint16_t load_u16(const uint8_t* from) {
    return static_cast<uint16_t>(__ldg(from) | __ldg(from + 1) << 8);
}
__device__ __forceinline__ uint32_t load_u32(const uint8_t* from) {
    return load_u16(from) | static_cast<uint32_t>(load_u16(from + 2)) << 16;
}

template <int kWords>
__device__ __forceinline__ int byte_of(const uint32_t (&words)[kWords], int index) {
    return static_cast<int>(words[index / 4] >> (index % 4 * 8) & 255);
}

__device__ __forceinline__ float half_bits(uint16_t bits) {
    float value = 0;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
__device__ __forceinline__ float half_at(const uint8_t* from) {
    return half_bits(load_u16(from));
}
__device__ __forceinline__ float bf16_bits(uint32_t bits) {
    return __uint_as_float(bits << 16);
}

// The exponent lands where a float has its own, small by 2^120; multiplying makes subnormals right, too.
__device__ __forceinline__ float e4m3(int bits) {
    const auto code = static_cast<uint32_t>(bits);
    const float magnitude =
        (code & 127) == 127 ? __uint_as_float(0x7fc00000) : __uint_as_float((code & 127) << 20) * 0x1p120f;
    return (code & 128) != 0 ? -magnitude : magnitude;
}
__device__ __forceinline__ float e2m1(int nibble) {
    const auto code = static_cast<uint32_t>(nibble);
    return __uint_as_float((__float_as_uint(__uint_as_float((code & 7) << 22) * 0x1p126f)) | (code & 8) << 28);
}
__device__ __forceinline__ float e8m0(int code) {
    if (code == 255) return __uint_as_float(0x7fc00000);
    return __uint_as_float(code == 0 ? 0x00400000u : static_cast<uint32_t>(code) << 23);
}

__device__ __forceinline__ float load_scale(ScaleType type, const uint8_t* scales, int64_t index) {
    if (type == ScaleType::kF32) return __uint_as_float(load_u32(scales + 4 * index));
    const uint16_t bits = load_u16(scales + 2 * index);
    return type == ScaleType::kF16 ? half_bits(bits) : bf16_bits(bits);
}

}  // namespace sluice::cuda
