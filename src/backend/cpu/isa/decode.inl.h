#pragma once

// Weights of every format to floats, the same numbers as decode_row of tensor/weight_view.h: columns [first, first +
// count) of a row; first a multiple of kDecodeStep, count too unless the row ends there.

#include "backend/cpu/isa/affine.inl.h"
#include "tensor/codec.h"
#include "tensor/float_types.h"

namespace sluice {
namespace {

constexpr int kDecodeStep = 128;  // decoding starts at a multiple of this: whole groups, whole bytes

template <int kBits>
inline void decode_affine_group(const std::byte* data, int group, float scale, float zero_point, float* out) {
    alignas(64) uint8_t values[kVectorBytes];
    for (int done = 0; done < group; done += kVectorBytes) {
        const std::byte* p = data + done * kBits / 8;
        alignas(64) std::byte part[kVectorBytes];
        const int run = smaller(group - done, kVectorBytes);
        if (run < kVectorBytes) {
            __builtin_memset(part, 0, sizeof part);
            __builtin_memcpy(part, p, static_cast<size_t>(run * kBits / 8));
            p = part;
        }
        istore(values, unpack<kBits>(p));
        for (int i = 0; i < run; i += kLanes) {
            store(out + done + i, add(mul(load_u8(values + i), set1(scale)), set1(zero_point)));
        }
    }
}

inline float load_scale(const std::byte* base, DType dtype, int64_t index) {
    if (dtype == DType::kF32) return load_unaligned<float>(base + 4 * index);
    if (dtype == DType::kF8E8M0) return e8m0_to_float(static_cast<uint8_t>(base[index]));
    const auto bits = load_unaligned<uint16_t>(base + 2 * index);
    return dtype == DType::kBF16 ? bf16_to_float(bits) : f16_to_float(bits);
}

template <int kBits>
inline void decode_affine_bits(const WeightView& w, int64_t row, int64_t first, int64_t count, float* out) {
    const int group = w.format.group_size;
    const int64_t groups = w.columns / group;
    const std::byte* data = w.data + row * (w.columns * kBits / 8);
    for (int64_t g = first / group; g < (first + count) / group; ++g, out += group) {
        decode_affine_group<kBits>(data + g * group * kBits / 8, group,
                                   load_scale(w.scales, w.format.dtype, row * groups + g),
                                   load_scale(w.zero_points, w.format.dtype, row * groups + g), out);
    }
}

inline void decode_affine(const WeightView& w, int64_t row, int64_t first, int64_t count, float* out) {
    with_bits(w.format.bits, [&]<int kBits>() { decode_affine_bits<kBits>(w, row, first, count, out); });
}

// kWidth bytes hold kLanes values, `load_values` makes them floats.
template <typename Load>
inline void decode_scaled(const std::byte* data, int bits, int64_t count, float scale, float* out, Load&& load_values) {
    const F factor = set1(scale);
    for_vectors(count, [&](int64_t i, int n) {
        const std::byte* p = data + i * bits / 8;
        alignas(64) std::byte part[4 * kLanes];
        if (n < kLanes) {
            __builtin_memset(part, 0, sizeof part);
            __builtin_memcpy(part, p, static_cast<size_t>((n * bits + 7) / 8));
            p = part;
        }
        store_some(out + i, mul(load_values(p), factor), n);
    });
}

// `count` numbers of a floating type.
inline void decode_values(DType dtype, const std::byte* data, int64_t count, float* out) {
    switch (dtype) {
        case DType::kBF16:
            return decode_scaled(data, 16, count, 1.0f, out, [](const void* p) { return load_bf16(p); });
        case DType::kF16:
            return decode_scaled(data, 16, count, 1.0f, out, [](const void* p) { return load_f16(p); });
        default:
            return decode_scaled(data, 32, count, 1.0f, out, [](const void* p) { return load_f32(p); });
    }
}

inline void decode_float(const WeightView& w, int64_t row, int64_t first, int64_t count, float* out) {
    const int bits = w.format.dtype == DType::kF32 ? 32 : 16;
    decode_values(w.format.dtype, w.data + (row * w.columns + first) * bits / 8, count, out);
}

inline void decode_fp8_block(const WeightView& w, int64_t row, int64_t first, int64_t count, float* out) {
    const int64_t width = w.format.group_size;
    const int64_t blocks = (w.columns + width - 1) / width;
    const int64_t block_row = (w.block_row_offset + row) / w.format.group_rows;
    const std::byte* data = w.data + row * w.columns;
    const int64_t end = first + count;
    for (int64_t column = first; column < end;) {
        const int64_t block = column / width;
        const int64_t run = smaller((block + 1) * width, end) - column;
        const float scale = load_scale(w.scales, w.format.dtype, block_row * blocks + block);
        decode_scaled(data + column, 8, run, scale, out, [](const void* p) { return load_e4m3(p); });
        column += run;
        out += run;
    }
}

// Codes of E4M3 (8 bits) or E2M1 (4), and a scale of one byte, which kScale makes a float, per group.
template <int kBits, float (*kScale)(uint8_t)>
inline void decode_groups(const WeightView& w, int64_t row, int64_t first, int64_t count, float* out) {
    const int group = w.format.group_size;
    const int64_t groups = w.columns / group;
    const std::byte* data = w.data + row * (w.columns * kBits / 8);
    for (int64_t g = first / group; g < (first + count) / group; ++g, out += group) {
        const float scale = kScale(static_cast<uint8_t>(w.scales[row * groups + g]));
        const std::byte* p = data + g * group * kBits / 8;
        if constexpr (kBits == 8) {
            decode_scaled(p, 8, group, scale, out, [](const void* q) { return load_e4m3(q); });
        } else {
            decode_scaled(p, 4, group, scale, out, [](const void* q) { return load_e2m1(q); });
        }
    }
}

// Blocks that hold all that they need, by the codec's own definition.
inline void decode_blocks(const WeightView& w, int64_t row, int64_t first, int64_t count, float* out) {
    constexpr int64_t kLargestBlock = 256;
    const DataBlock shape = w.format.codec->block(w.format);
    const int64_t columns = shape.columns, bytes = shape.bytes;
    WeightView part = w;
    part.data += row * (w.columns / columns * bytes) + first / columns * bytes;
    const int64_t before = first % columns;
    if (before != 0) {
        float block[kLargestBlock];
        part.columns = columns;
        w.format.codec->decode_row(part, 0, block);
        const int64_t rest = smaller(columns - before, count);
        __builtin_memcpy(out, block + before, static_cast<size_t>(rest) * sizeof(float));
        part.data += bytes;
        out += rest;
        count -= rest;
    }
    part.columns = count / columns * columns;
    w.format.codec->decode_row(part, 0, out);
    const int64_t rest = count - part.columns;
    if (rest == 0) return;
    float block[kLargestBlock];
    part.data += part.columns / columns * bytes;
    out += part.columns;
    part.columns = columns;
    w.format.codec->decode_row(part, 0, block);
    __builtin_memcpy(out, block, static_cast<size_t>(rest) * sizeof(float));
}

}  // namespace
}  // namespace sluice
