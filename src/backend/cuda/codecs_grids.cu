// GGUF's formats whose codes choose numbers from tables, and those of one or two bits.

#include "backend/cuda/codecs.h"
#include "backend/cuda/matrix.cuh"

namespace sluice::cuda {

namespace {

template <int kColumns, int kBytes>
__device__ __forceinline__ const uint8_t* block_of(const DeviceWeight& weight, int64_t row, int run) {
    return weight.data + row * weight.data_row_bytes + static_cast<int64_t>(run / (kColumns / kRun)) * kBytes;
}

__device__ __forceinline__ float to_float(int value) {
    return static_cast<float>(value);
}

// One of -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89 and 113.
__device__ __forceinline__ float iq4_value(int nibble) {
    const auto index = static_cast<uint32_t>(nibble & 7);
    const uint32_t low = __byte_perm(0xbfad9881u, 0xf6eaddcfu, index),
                   high = __byte_perm(0x26190d01u, 0x71594535u, index);
    return to_float(static_cast<int8_t>((nibble & 8) != 0 ? high & 255 : low & 255));
}

__device__ __forceinline__ void iq4_run(const uint8_t* nibbles, float scale, float (&out)[kRun]) {
    uint32_t words[4];
    load_words(nibbles, words);
#pragma unroll
    for (int i = 0; i < kRun; ++i) out[i] = scale * iq4_value(byte_of(words, i % 16) >> (i / 16 * 4) & 15);
}

struct Iq4Nl {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        const uint8_t* const block = block_of<32, 18>(weight, row, run);
        iq4_run(block + 2, half_at(block), out);
    }
};

struct Iq4Xs {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        const uint8_t* const block = block_of<256, 136>(weight, row, run);
        const int part = run % 8;
        const int lower = __ldg(block + 4 + part / 2) >> (part % 2 * 4) & 15;
        const int upper = load_u16(block + 2) >> (2 * part) & 3;
        iq4_run(block + 8 + 16 * part, half_at(block) * to_float((lower | upper << 4) - 32), out);
    }
};

// Eight columns from 8 * eight on, their magnitudes in the bytes of a number.
__device__ __forceinline__ void put_eight(uint64_t magnitudes, uint32_t signs, float step, int eight,
                                          float (&out)[kRun]) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        const int magnitude = static_cast<int>(magnitudes >> (8 * i) & 255);
        out[8 * eight + i] = step * to_float((signs >> i & 1) != 0 ? -magnitude : magnitude);
    }
}

// Seven signs and the eighth that makes the number of minus signs even.
__device__ __forceinline__ uint32_t even_signs(uint32_t code) {
    return code | (static_cast<uint32_t>(__popc(code)) & 1) << 7;
}

__device__ __forceinline__ float half_step(float scale, int factor, float part) {
    return scale * (0.5f + to_float(factor)) * part;
}

struct Iq2Xxs {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        const uint8_t* const block = block_of<256, 66>(weight, row, run);
        const uint8_t* const codes = block + 2 + 8 * (run % 8);
        const uint32_t rest = load_u32(codes + 4);
        const float step = half_step(half_at(block), static_cast<int>(rest >> 28), 0.25f);
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            put_eight(__ldg(weight.grids->iq2_xxs + __ldg(codes + k)), even_signs(rest >> (7 * k) & 127), step, k, out);
        }
    }
};

struct Iq2Xs {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        const uint8_t* const block = block_of<256, 74>(weight, row, run);
        const int part = run % 8;
        const float scale = half_at(block);
        const int factors = __ldg(block + 66 + part);
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const uint32_t code = load_u16(block + 2 + 2 * (4 * part + k));
            put_eight(__ldg(weight.grids->iq2_xs + (code & 511)), even_signs(code >> 9),
                      half_step(scale, factors >> (k / 2 * 4) & 15, 0.25f), k, out);
        }
    }
};

struct Iq2S {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        const uint8_t* const block = block_of<256, 82>(weight, row, run);
        const int part = run % 8;
        const float scale = half_at(block);
        const int uppers = __ldg(block + 66 + part), factors = __ldg(block + 74 + part);
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const int index = __ldg(block + 2 + 4 * part + k) | (uppers >> (2 * k) & 3) << 8;
            put_eight(__ldg(weight.grids->iq2_s + index), __ldg(block + 34 + 4 * part + k),
                      half_step(scale, factors >> (k / 2 * 4) & 15, 0.25f), k, out);
        }
    }
};

__device__ __forceinline__ uint64_t eight_of(uint32_t low, uint32_t high) {
    return static_cast<uint64_t>(high) << 32 | low;
}

struct Iq3Xxs {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        const uint8_t* const block = block_of<256, 98>(weight, row, run);
        const int part = run % 8;
        const uint32_t rest = load_u32(block + 66 + 4 * part);
        const float step = half_step(half_at(block), static_cast<int>(rest >> 28), 0.5f);
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const uint8_t* const indices = block + 2 + 2 * (4 * part + k);
            const uint32_t* const grid = weight.grids->iq3_xxs;
            put_eight(eight_of(__ldg(grid + __ldg(indices)), __ldg(grid + __ldg(indices + 1))),
                      even_signs(rest >> (7 * k) & 127), step, k, out);
        }
    }
};

struct Iq3S {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        const uint8_t* const block = block_of<256, 110>(weight, row, run);
        const int part = run % 8;
        const int factor = __ldg(block + 106 + part / 2) >> (part % 2 * 4) & 15;
        const float step = half_at(block) * to_float(1 + 2 * factor);
        const int uppers = __ldg(block + 66 + part);
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const uint8_t* const indices = block + 2 + 2 * (4 * part + k);
            const int first = __ldg(indices) | (uppers >> (2 * k) & 1) << 8;
            const int second = __ldg(indices + 1) | (uppers >> (2 * k + 1) & 1) << 8;
            const uint32_t* const grid = weight.grids->iq3_s;
            put_eight(eight_of(__ldg(grid + first), __ldg(grid + second)), __ldg(block + 74 + 4 * part + k), step, k,
                      out);
        }
    }
};

// Eight of -1, 0 and 1, and an eighth more or less.
__device__ __forceinline__ void put_iq1(uint64_t values, bool lowered, float step, int eight, float (&out)[kRun]) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        const auto value = static_cast<int8_t>(values >> (8 * i) & 255);
        out[8 * eight + i] = step * (to_float(value) + (lowered ? -0.125f : 0.125f));
    }
}

struct Iq1S {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        const uint8_t* const block = block_of<256, 50>(weight, row, run);
        const int part = run % 8, rest = load_u16(block + 34 + 2 * part);
        const float step = half_at(block) * to_float(2 * (rest >> 12 & 7) + 1);
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const int index = __ldg(block + 2 + 4 * part + k) | (rest >> (3 * k) & 7) << 8;
            put_iq1(__ldg(weight.grids->iq1 + index), (rest & 0x8000) != 0, step, k, out);
        }
    }
};

struct Iq1M {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        const uint8_t* const block = block_of<256, 56>(weight, row, run);
        const int part = run % 8;
        uint32_t bits = 0;
        for (int i = 0; i < 4; ++i) bits |= (load_u16(block + 48 + 2 * i) >> 12) << (4 * i);
        const float scale = half_bits(static_cast<uint16_t>(bits));
        const int word = load_u16(block + 48 + part / 2 * 2);
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const int at = 4 * part + k;
            const int rest = __ldg(block + 32 + at / 2) >> (k % 2 * 4);
            const int factor = 2 * (word >> (at / 2 % 4 * 3) & 7) + 1;
            put_iq1(__ldg(weight.grids->iq1 + (__ldg(block + at) | (rest & 7) << 8)), (rest & 8) != 0,
                    scale * to_float(factor), k, out);
        }
    }
};

// Five ternary digits in a byte: multiplied by 3^n, what overflows is gone, and a third of the byte is left.
__device__ __forceinline__ float ternary(int byte, int n) {
    const int power = n == 0 ? 1 : n == 1 ? 3 : n == 2 ? 9 : n == 3 ? 27 : 81;
    return to_float(((byte * power & 255) * 3 >> 8) - 1);
}

// 32 bytes of five digits, 16 of five, 4 of four; the columns of one digit stand together.
struct Tq1_0 {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        const uint8_t* const block = block_of<256, 54>(weight, row, run);
        const float scale = half_at(block + 52);
        const int part = run % 8;
#pragma unroll
        for (int i = 0; i < kRun; ++i) {
            const int column = 32 * part + i, second = column - 160, third = column - 240;
            const int byte = part < 5 ? i : column < 240 ? 32 + second % 16 : 48 + third % 4;
            const int digit = part < 5 ? part : column < 240 ? second / 16 : third / 4;
            out[i] = scale * ternary(__ldg(block + byte), digit);
        }
    }
};

struct Tq2_0 {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        const uint8_t* const block = block_of<256, 66>(weight, row, run);
        const int part = run % 8;
        uint32_t words[8];
        load_words(block + part / 4 * 32, words);
        const float scale = half_at(block + 64);
#pragma unroll
        for (int i = 0; i < kRun; ++i) out[i] = scale * to_float((byte_of(words, i) >> (part % 4 * 2) & 3) - 1);
    }
};

struct Q1_0 {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        const uint8_t* const block = block_of<128, 18>(weight, row, run);
        const uint32_t signs = load_u32(block + 2 + 4 * (run % 4));
        const float scale = half_at(block);
#pragma unroll
        for (int i = 0; i < kRun; ++i) out[i] = (signs >> i & 1) != 0 ? scale : -scale;
    }
};

struct Q2_0 {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        const uint8_t* const block = block_of<64, 18>(weight, row, run);
        uint32_t words[2];
        load_words(block + 2 + 8 * (run % 2), words);
        const float scale = half_at(block);
#pragma unroll
        for (int i = 0; i < kRun; ++i)
            out[i] = scale * to_float(static_cast<int>(words[i / 16] >> (i % 16 * 2) & 3) - 1);
    }
};

}  // namespace

const DeviceCodec kIq4NlOnDevice = codec_of<Iq4Nl>();
const DeviceCodec kIq4XsOnDevice = codec_of<Iq4Xs>();
const DeviceCodec kIq3XxsOnDevice = codec_of<Iq3Xxs>();
const DeviceCodec kIq3SOnDevice = codec_of<Iq3S>();
const DeviceCodec kIq2XxsOnDevice = codec_of<Iq2Xxs>();
const DeviceCodec kIq2XsOnDevice = codec_of<Iq2Xs>();
const DeviceCodec kIq2SOnDevice = codec_of<Iq2S>();
const DeviceCodec kIq1SOnDevice = codec_of<Iq1S>();
const DeviceCodec kIq1MOnDevice = codec_of<Iq1M>();
const DeviceCodec kTq1_0OnDevice = codec_of<Tq1_0>();
const DeviceCodec kTq2_0OnDevice = codec_of<Tq2_0>();
const DeviceCodec kQ1_0OnDevice = codec_of<Q1_0>();
const DeviceCodec kQ2_0OnDevice = codec_of<Q2_0>();

}  // namespace sluice::cuda
