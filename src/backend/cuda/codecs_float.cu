// Plain floats, FP8 by blocks, and the FP4 and FP8 formats of safetensors.

#include "backend/cuda/codecs.h"
#include "backend/cuda/fold.cuh"

namespace sluice::cuda {

namespace {

// kWords words of a run, or as many bytes as the row has left and zeros.
template <int kWords>
__device__ __forceinline__ void load_run(const uint8_t* from, int bytes, uint32_t (&words)[kWords]) {
    if (bytes >= 4 * kWords) return load_words(from, words);
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
        words[i] = 0;
        for (int j = 0; j < 4; ++j) {
            if (4 * i + j < bytes) words[i] |= static_cast<uint32_t>(__ldg(from + 4 * i + j)) << (8 * j);
        }
    }
}

__device__ __forceinline__ int columns_left(const DeviceWeight& weight, int run) {
    const int64_t left = weight.columns - static_cast<int64_t>(run) * kRun;
    return left < kRun ? static_cast<int>(left) : kRun;
}

struct F32 {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        uint32_t words[32];
        load_run(weight.data + row * weight.data_row_bytes + static_cast<int64_t>(run) * 4 * kRun,
                 4 * columns_left(weight, run), words);
#pragma unroll
        for (int i = 0; i < kRun; ++i) out[i] = __uint_as_float(words[i]);
    }
};

template <bool kBf16>
struct Half {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        uint32_t words[16];
        load_run(weight.data + row * weight.data_row_bytes + static_cast<int64_t>(run) * 2 * kRun,
                 2 * columns_left(weight, run), words);
#pragma unroll
        for (int i = 0; i < kRun; ++i) {
            const uint32_t bits = words[i / 2] >> (i % 2 * 16) & 0xffff;
            out[i] = kBf16 ? bf16_bits(bits) : half_bits(static_cast<uint16_t>(bits));
        }
    }
};

// A factor per block of any size: one for the run, or one for each column.
struct Fp8Block {
    static __device__ __forceinline__ float scale_at(const DeviceWeight& weight, const uint8_t* scales, int block) {
        if (weight.scale_type == ScaleType::kE8m0) return e8m0(__ldg(scales + block));
        return load_scale(weight.scale_type, scales, block);
    }
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        uint32_t words[8];
        const int64_t first = static_cast<int64_t>(run) * kRun;
        load_run(weight.data + row * weight.data_row_bytes + first, columns_left(weight, run), words);
        const uint8_t* const scales = weight.scales + static_cast<int>(weight.block_row_offset + row) /
                                                          weight.group_rows * weight.scale_row_bytes;
        if (weight.group_size % kRun == 0) {
            const float scale = scale_at(weight, scales, static_cast<int>(first) / weight.group_size);
#pragma unroll
            for (int i = 0; i < kRun; ++i) out[i] = e4m3(byte_of(words, i)) * scale;
            return;
        }
        const int count = columns_left(weight, run);
#pragma unroll
        for (int i = 0; i < kRun; ++i) {
            const int column = static_cast<int>(first) + i;
            const float scale = i < count ? scale_at(weight, scales, column / weight.group_size) : 0.0f;
            out[i] = e4m3(byte_of(words, i)) * scale;
        }
    }
};

struct Mxfp4 {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        uint32_t words[4];
        load_words(weight.data + row * weight.data_row_bytes + static_cast<int64_t>(run) * 16, words);
        const float scale = e8m0(__ldg(weight.scales + row * weight.scale_row_bytes + run));
#pragma unroll
        for (int i = 0; i < kRun; ++i) out[i] = e2m1(words[i / 8] >> (i % 8 * 4) & 15) * scale;
    }
};

struct Mxfp8 {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        uint32_t words[8];
        load_words(weight.data + row * weight.data_row_bytes + static_cast<int64_t>(run) * 32, words);
        const float scale = e8m0(__ldg(weight.scales + row * weight.scale_row_bytes + run));
#pragma unroll
        for (int i = 0; i < kRun; ++i) out[i] = e4m3(byte_of(words, i)) * scale;
    }
};

// Groups of 16, so that the last run may be half of one.
struct Nvfp4 {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        uint32_t words[4];
        const int count = columns_left(weight, run);
        load_run(weight.data + row * weight.data_row_bytes + static_cast<int64_t>(run) * 16, count / 2, words);
        const uint8_t* const scales = weight.scales + row * weight.scale_row_bytes + 2 * run;
        const float low = e4m3(__ldg(scales)), high = count > 16 ? e4m3(__ldg(scales + 1)) : 0.0f;
#pragma unroll
        for (int i = 0; i < kRun; ++i) out[i] = e2m1(words[i / 8] >> (i % 8 * 4) & 15) * (i < 16 ? low : high);
    }
};

}  // namespace

const DeviceCodec kF32OnDevice = exact_codec_of<F32>();
const DeviceCodec kF16OnDevice = exact_codec_of<Half<false>>();
const DeviceCodec kBf16OnDevice = folding_codec_of<Half<true>>();
const DeviceCodec kFp8BlockOnDevice = folding_codec_of<Fp8Block>();
const DeviceCodec kMxfp4OnDevice = codec_of<Mxfp4>();
const DeviceCodec kMxfp8OnDevice = codec_of<Mxfp8>();
const DeviceCodec kNvfp4OnDevice = codec_of<Nvfp4>();

}  // namespace sluice::cuda
