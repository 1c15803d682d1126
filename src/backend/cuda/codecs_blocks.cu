// GGUF's blocks with codes of their own: Q*_0, Q*_1 and the K-quants. A run of 32 columns is one block or an eighth of
// one.

#include "backend/cuda/codecs.h"
#include "backend/cuda/matrix.cuh"

namespace sluice::cuda {

namespace {

template <int kColumns, int kBytes>
__device__ __forceinline__ const uint8_t* block_of(const DeviceWeight& weight, int64_t row, int run) {
    return weight.data + row * weight.data_row_bytes + static_cast<int64_t>(run / (kColumns / kRun)) * kBytes;
}

// Code i of 32 in 16 bytes: the low nibbles come first, then the high ones.
__device__ __forceinline__ int nibble_of_halves(const uint32_t (&words)[4], int i) {
    return byte_of(words, i % 16) >> (i / 16 * 4) & 15;
}

__device__ __forceinline__ float to_float(int value) {
    return static_cast<float>(value);
}

struct Q8_0 {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        const uint8_t* const block = block_of<32, 34>(weight, row, run);
        uint32_t words[8];
        load_words(block + 2, words);
        const float scale = half_at(block);
#pragma unroll
        for (int i = 0; i < kRun; ++i) out[i] = to_float(static_cast<int8_t>(byte_of(words, i))) * scale;
    }
};

template <int kBits, bool kMinimum>
struct Q4Q5 {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        constexpr int kFactors = kMinimum ? 4 : 2, kHigh = kBits == 5 ? 4 : 0;
        constexpr int kCenter = kMinimum ? 0 : 1 << (kBits - 1);
        const uint8_t* const block = block_of<32, kFactors + kHigh + 16>(weight, row, run);
        uint32_t words[4];
        load_words(block + kFactors + kHigh, words);
        const uint32_t high = kBits == 5 ? load_u32(block + kFactors) : 0;
        const float scale = half_at(block), minimum = kMinimum ? half_at(block + 2) : 0.0f;
#pragma unroll
        for (int i = 0; i < kRun; ++i) {
            const int code = nibble_of_halves(words, i) | static_cast<int>(high >> i & 1) << 4;
            out[i] = fmaf(scale, to_float(code - kCenter), minimum);
        }
    }
};

struct Q2_K {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        const uint8_t* const block = block_of<256, 84>(weight, row, run);
        const int part = run % 8, shift = part % 4 * 2;
        uint32_t words[8];
        load_words(block + 16 + part / 4 * 32, words);
        const float scale = half_at(block + 80), minimum = half_at(block + 82);
        float step[2], low[2];
        for (int h = 0; h < 2; ++h) {
            const int factors = __ldg(block + 2 * part + h);
            step[h] = scale * to_float(factors & 15);
            low[h] = minimum * to_float(factors >> 4);
        }
#pragma unroll
        for (int i = 0; i < kRun; ++i) {
            out[i] = fmaf(step[i / 16], to_float(byte_of(words, i) >> shift & 3), -low[i / 16]);
        }
    }
};

struct Q3_K {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        const uint8_t* const block = block_of<256, 110>(weight, row, run);
        const int part = run % 8, shift = part % 4 * 2;
        uint32_t low[8], high[8];
        load_words(block + 32 + part / 4 * 32, low);
        load_words(block, high);
        const float scale = half_at(block + 108);
        const uint8_t* const factors = block + 96;
        float step[2];
        for (int h = 0; h < 2; ++h) {
            const int index = 2 * part + h;
            const int lower = index < 8 ? __ldg(factors + index) & 15 : __ldg(factors + index - 8) >> 4;
            const int upper = __ldg(factors + 8 + index % 4) >> (index / 4 * 2) & 3;
            step[h] = scale * to_float((lower | upper << 4) - 32);
        }
#pragma unroll
        for (int i = 0; i < kRun; ++i) {
            const int code = (byte_of(low, i) >> shift & 3) + 4 * (byte_of(high, i) >> part & 1) - 4;
            out[i] = step[i / 16] * to_float(code);
        }
    }
};

template <int kBits>
struct Q4K {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        constexpr int kNibbles = kBits == 5 ? 48 : 16;
        const uint8_t* const block = block_of<256, kNibbles + 128>(weight, row, run);
        const int part = run % 8, shift = part % 2 * 4;
        uint32_t words[8], high[8] = {};
        load_words(block + kNibbles + part / 2 * 32, words);
        if constexpr (kBits == 5) load_words(block + 16, high);
        const int low = __ldg(block + 4 + part % 4), middle = __ldg(block + 8 + part % 4);
        int factor = low & 63, minimum = middle & 63;
        if (part >= 4) {
            const int nibbles = __ldg(block + 8 + part);
            factor = (nibbles & 15) | low >> 6 << 4;
            minimum = nibbles >> 4 | middle >> 6 << 4;
        }
        const float step = half_at(block) * to_float(factor), lowest = half_at(block + 2) * to_float(minimum);
#pragma unroll
        for (int i = 0; i < kRun; ++i) {
            int code = byte_of(words, i) >> shift & 15;
            if constexpr (kBits == 5) code |= (byte_of(high, i) >> part & 1) << 4;
            out[i] = fmaf(step, to_float(code), -lowest);
        }
    }
};

struct Q6_K {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        const uint8_t* const block = block_of<256, 210>(weight, row, run);
        const int part = run % 8;
        uint32_t low[8], high[8];
        load_words(block + part / 4 * 64 + part % 2 * 32, low);
        load_words(block + 128 + part / 4 * 32, high);
        const float scale = half_at(block + 208);
        const float step[2] = {scale * to_float(static_cast<int8_t>(__ldg(block + 192 + 2 * part))),
                               scale * to_float(static_cast<int8_t>(__ldg(block + 193 + 2 * part)))};
        const int low_shift = part / 2 % 2 * 4, high_shift = part % 4 * 2;
#pragma unroll
        for (int i = 0; i < kRun; ++i) {
            const int code = (byte_of(low, i) >> low_shift & 15) | (byte_of(high, i) >> high_shift & 3) << 4;
            out[i] = step[i / 16] * to_float(code - 32);
        }
    }
};

// An E8M0 scale and 32 nibbles in halves; 255 is 2^128 and no NaN here, so half the scale meets twice the value.
struct Mxfp4Block {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        const uint8_t* const block = block_of<32, 17>(weight, row, run);
        uint32_t words[4];
        load_words(block + 1, words);
        const float half_scale = ldexpf(1.0f, __ldg(block) - 128);
#pragma unroll
        for (int i = 0; i < kRun; ++i) out[i] = half_scale * (2.0f * e2m1(nibble_of_halves(words, i)));
    }
};

// Four E4M3 scales without sign, each of 8 low and then 8 high nibbles; the code of NaN is zero.
template <bool kFactor>
struct Nvfp4Block {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        const uint8_t* const block = block_of<64, 36>(weight, row, run);
        const int part = run % 2;
        uint32_t words[4];
        load_words(block + 4 + 16 * part, words);
        float scale[2];
        for (int h = 0; h < 2; ++h) {
            const int code = __ldg(block + 2 * part + h) & 127;
            scale[h] = code == 127 ? 0.0f : e4m3(code);
        }
        const float factor = kFactor ? __uint_as_float(load_u32(weight.scales)) : 1.0f;
#pragma unroll
        for (int i = 0; i < kRun; ++i) {
            const int nibble = byte_of(words, i / 16 * 8 + i % 8) >> (i % 16 / 8 * 4) & 15;
            out[i] = scale[i / 16] * e2m1(nibble) * factor;
        }
    }
};

}  // namespace

const DeviceCodec kQ8_0OnDevice = codec_of<Q8_0>();
const DeviceCodec kQ4_0OnDevice = codec_of<Q4Q5<4, false>>();
const DeviceCodec kQ4_1OnDevice = codec_of<Q4Q5<4, true>>();
const DeviceCodec kQ5_0OnDevice = codec_of<Q4Q5<5, false>>();
const DeviceCodec kQ5_1OnDevice = codec_of<Q4Q5<5, true>>();
const DeviceCodec kQ2_KOnDevice = codec_of<Q2_K>();
const DeviceCodec kQ3_KOnDevice = codec_of<Q3_K>();
const DeviceCodec kQ4_KOnDevice = codec_of<Q4K<4>>();
const DeviceCodec kQ5_KOnDevice = codec_of<Q4K<5>>();
const DeviceCodec kQ6_KOnDevice = codec_of<Q6_K>();
const DeviceCodec kMxfp4BlockOnDevice = codec_of<Mxfp4Block>();
const DeviceCodec kNvfp4BlockOnDevice = codec_of<Nvfp4Block<false>>();
const DeviceCodec kScaledNvfp4BlockOnDevice = codec_of<Nvfp4Block<true>>();

}  // namespace sluice::cuda
