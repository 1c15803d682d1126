#pragma once

// Weights on their way from memory to the registers that Hopper's tensor cores read.

#include "backend/cuda/matrix_tiles.cuh"
#include "backend/cuda/views.cuh"

namespace sluice::cuda {

// Two BF16 numbers, a * b + c each.
__device__ __forceinline__ uint32_t fma_pair(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t out = 0;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(out) : "r"(a), "r"(b), "r"(c));
    return out;
}

// Loads that keep their place among the products.
__device__ __forceinline__ uint4 load_16(const uint8_t* from) {
    uint4 value;
    asm volatile("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
                 : "l"(from));
    return value;
}
__device__ __forceinline__ uint2 load_8(const uint8_t* from) {
    uint2 value;
    asm volatile("ld.global.nc.v2.u32 {%0, %1}, [%2];" : "=r"(value.x), "=r"(value.y) : "l"(from));
    return value;
}
__device__ __forceinline__ uint32_t load_2(const uint8_t* from) {
    uint16_t value = 0;
    asm volatile("ld.global.nc.u16 %0, [%1];" : "=h"(value) : "l"(from));
    return value;
}

// A loader has a thread's part of two rows of a weight: load() asks for a chunk, decode() makes the operand of its s-th
// product of 16 columns.

struct Bf16Rows {
    struct Codes {
        uint4 words[2][2];
    };
    const uint8_t* data[2];

    __device__ void start(const MatrixWeight& weight, const int64_t (&rows)[2]) {
        for (int r = 0; r < 2; ++r) data[r] = weight.data + rows[r] * weight.row_bytes + threadIdx.x % 4 * 16;
    }
    __device__ __forceinline__ Codes load(int chunk) const {
        Codes codes;
#pragma unroll
        for (int i = 0; i < 4; ++i)
            codes.words[i / 2][i % 2] = load_16(data[i / 2] + static_cast<int64_t>(chunk) * kRowBytes + i % 2 * 64);
        return codes;
    }
    __device__ __forceinline__ void decode(const Codes& codes, int s, uint32_t (&out)[4]) const {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const uint4 words = codes.words[r][s / 2];
            out[r] = s % 2 == 0 ? words.x : words.z;
            out[2 + r] = s % 2 == 0 ? words.y : words.w;
        }
    }
};

// MLX affine of 4 bits with scales in BF16: 128 + a code is a BF16 number whose last bits are the code; from there on
// code * scale + zero is rounded once.
struct NibbleRows {
    struct Codes {
        uint2 words[2];
        uint32_t scale[2], zero[2];
    };
    const uint8_t *data[2], *scales[2], *zeros[2];
    int first, group_shift;

    __device__ void start(const MatrixWeight& weight, const int64_t (&rows)[2]) {
        first = threadIdx.x % 4 * 16;
        group_shift = weight.group_shift;
        for (int r = 0; r < 2; ++r) {
            data[r] = weight.data + rows[r] * weight.row_bytes + first / 2;
            scales[r] = weight.scales + rows[r] * weight.scale_row_bytes;
            zeros[r] = weight.zeros + rows[r] * weight.scale_row_bytes;
        }
    }
    __device__ __forceinline__ Codes load(int chunk) const {
        Codes codes;
        const int group = (chunk * kChunkColumns + first) >> group_shift;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            codes.words[r] = load_8(data[r] + static_cast<int64_t>(chunk) * 32);
            codes.scale[r] = load_2(scales[r] + 2 * group);
            codes.zero[r] = load_2(zeros[r] + 2 * group);
        }
        return codes;
    }
    __device__ __forceinline__ void decode(const Codes& codes, int s, uint32_t (&out)[4]) const {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const uint32_t scale = __byte_perm(codes.scale[r], 0, 0x1010), zero = __byte_perm(codes.zero[r], 0, 0x1010);
#pragma unroll
            for (int h = 0; h < 2; ++h) {
                const uint32_t word = h == 0 ? codes.words[r].x : codes.words[r].y;
                const uint32_t pair = (word >> (4 * s) & 0x000f000f) | 0x43004300;
                // 1 and -128
                out[2 * h + r] = fma_pair(fma_pair(pair, 0x3f803f80, 0xc300c300), scale, zero);
            }
        }
    }
};

}  // namespace sluice::cuda
