#pragma once

// MLX affine: codes of kBits in a bit stream, a scale and a zero point per group of 32, 64 or 128.

#include "backend/cuda/decode.cuh"

namespace sluice::cuda {

// A run as it lies in memory.
template <int kBits>
struct AffineRun {
    uint32_t words[kBits];
    float scale, zero;

    __device__ __forceinline__ void load(const DeviceWeight& weight, int64_t row, int run) {
        load_words(weight.data + row * weight.data_row_bytes + static_cast<int64_t>(run) * 4 * kBits, words);
        const int group = run / (weight.group_size / kRun);
        scale = load_scale(weight.scale_type, weight.scales + row * weight.scale_row_bytes, group);
        zero = load_scale(weight.scale_type, weight.zero_points + row * weight.scale_row_bytes, group);
    }
    __device__ __forceinline__ void decode(float (&out)[kRun]) const {
#pragma unroll
        for (int i = 0; i < kRun; ++i) {
            const int bit = i * kBits, word = bit / 32, shift = bit % 32;
            uint32_t code = words[word] >> shift;
            if (shift + kBits > 32) code |= words[word + 1 < kBits ? word + 1 : word] << (32 - shift);
            // Without a conversion: a code in the upper digits of a float from 2^kBits on.
            const uint32_t bits = (code & ((1u << kBits) - 1)) << (23 - kBits) | (127u + kBits) << 23;
            const float number = __uint_as_float(bits) - static_cast<float>(1 << kBits);
            out[i] = fmaf(number, scale, zero);
        }
    }
};

template <int kBits>
struct Affine {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        AffineRun<kBits> packed;
        packed.load(weight, row, run);
        packed.decode(out);
    }
};

}  // namespace sluice::cuda
