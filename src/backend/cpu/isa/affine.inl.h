#pragma once

// Affine weights times int8 activations. A group's products are added up exactly in int32; groups are added
// in float, in ascending order, row by row in lanes: acc += bias * sum(x); acc += scale * (scale_x * sum(q
// x)). The vector and the matrix form do the same operations in the same order.

#include "backend/cpu/isa/quantize.inl.h"
#include "backend/cpu/kernels.h"
#include "tensor/dtype.h"

namespace sluice {
namespace {

constexpr int64_t kLineBytes = 64;
// How far ahead weights are brought to the second cache: the time that a read takes at full speed.
constexpr int64_t kAheadBytes = 16384;

// For reading soon; any address will do.
inline void prefetch(const std::byte* p) {
    __builtin_prefetch(p, 0, 2);
}

// Scales or biases of a weight.
struct Factors {
    const std::byte *first, *end;
    int64_t stride;  // bytes per row
    DType dtype;
    int width;

    Factors(const WeightView& w, const std::byte* data)
        : first(data),
          stride(w.columns / w.format.group_size * (w.format.dtype == DType::kF32 ? 4 : 2)),
          dtype(w.format.dtype),
          width(dtype == DType::kF32 ? 4 : 2) {
        end = data + w.rows * stride;
    }
};

// Lane r of out[i] is that of row `row + r` and group `group + i`, for `count` groups.
inline void load_factors(const Factors& factors, int64_t row, int rows, int64_t group, int count,
                         float (&out)[kLanes][kLanes]) {
    I lines[kLanes];
    for (int r = 0; r < kLanes; ++r) {
        const std::byte* p =
            factors.first + (row + smaller(r, rows - 1)) * factors.stride + group * factors.width;
        alignas(64) std::byte part[4 * kLanes];
        // What is read beyond the last group is another row's and not used, but it must be there.
        if (count < kLanes && factors.end - p < kLanes * factors.width) {
            __builtin_memset(part, 0, sizeof part);
            __builtin_memcpy(part, p, static_cast<size_t>(count * factors.width));
            p = part;
        }
        const F values = factors.dtype == DType::kBF16  ? load_bf16(p)
                         : factors.dtype == DType::kF16 ? load_f16(p)
                                                        : load_f32(p);
        lines[r] = as_int(values);
    }
    transpose(lines);
    for (int i = 0; i < kLanes; ++i) store(out[i], as_float(lines[i]));
}

// The columns of unit bytes at p, `kHalves` vectors of unsigned bytes.
template <int kBits>
inline void unpack_unit(const std::byte* p, I (&out)[kBits == 4 ? 2 : 1]) {
    if constexpr (kBits == 4) {
        const I packed = iload(p);
        out[0] = low_nibbles(packed);
        out[1] = high_nibbles(packed);
    } else {
        out[0] = unpack<kBits>(p);
    }
}

// sums[g] lane r: the products of group g of this step in row r, whose bytes are at p + r * stride. Meanwhile
// what is `ahead` bytes further is brought to the cache.
template <int kBits, int kGroup>
inline void step_sums(const std::byte* p, int64_t stride, const std::byte* ahead, const int8_t* x,
                      I (&sums)[AffineShape<kBits, kGroup>::kGroups]) {
    using Shape = AffineShape<kBits, kGroup>;
    constexpr int kParts = kLanes / 4;
    I quads[kParts];
#pragma GCC unroll 4
    for (int q = 0; q < kParts; ++q, p += 4 * stride, ahead += 4 * stride) {
        I part[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
            part[i] = izero();
            const std::byte* row = p + i * stride;
            for (int line = 0; line < Shape::kStepBytes; line += kLineBytes)
                prefetch(ahead + i * stride + line);
#pragma GCC unroll 4
            for (int u = 0; u < Shape::kUnits; ++u) {
                I w[Shape::kHalves];
                unpack_unit<kBits>(row + u * Shape::kUnitBytes, w);
#pragma GCC unroll 2
                for (int h = 0; h < Shape::kHalves; ++h) {
                    const I values = iload(x + (u * Shape::kHalves + h) * kVectorBytes);
                    part[i] = dot4<Shape::kWide>(part[i], w[h], values);
                }
            }
        }
        quads[q] = reduce4(part[0], part[1], part[2], part[3]);
    }
    transpose_parts(quads);
    constexpr int kPerGroup = kParts / Shape::kGroups;
#pragma GCC unroll 4
    for (int g = 0; g < Shape::kGroups; ++g) {
        sums[g] = quads[g * kPerGroup];
#pragma GCC unroll 4
        for (int i = 1; i < kPerGroup; ++i) sums[g] = iadd(sums[g], quads[g * kPerGroup + i]);
    }
}

inline F add_group(F acc, F scale, F bias, I sum, float x_scale, float x_sum) {
    acc = fma(bias, set1(x_sum), acc);
    return fma(scale, mul(to_float(sum), set1(x_scale)), acc);
}

// Where a block of kLanes rows lies.
struct Block {
    const std::byte *data, *scales, *biases;
};

// The block `distance` rows after `row`, which may lie in `next`; without one, the block at `row`.
inline Block block_ahead(const WeightView& w, int64_t row, int64_t distance, const WeightView* next) {
    const WeightView* from = &w;
    int64_t at = row + distance;
    if (at >= w.rows) {
        from = next;
        at -= (w.rows + kLanes - 1) / kLanes * kLanes;
    }
    if (from == nullptr || at >= from->rows) {
        from = &w;
        at = row;
    }
    const int64_t scale_stride =
        from->columns / from->format.group_size * (from->format.dtype == DType::kF32 ? 4 : 2);
    return {from->data + at * (from->columns * from->format.bits / 8), from->scales + at * scale_stride,
            from->biases + at * scale_stride};
}

// The scales of kLanes groups of every row of a block, from byte `offset` of a row on.
inline void prefetch_factors(const Block& block, int64_t stride, int64_t offset) {
    for (int r = 0; r < kLanes; ++r) {
        prefetch(block.scales + r * stride + offset);
        prefetch(block.biases + r * stride + offset);
    }
}

// `rows` rows from `first_row` on times x, row r in lane r, while `ahead` comes to the cache: a block that
// will be read after this one.
template <int kBits, int kGroup>
inline F block_dot(const WeightView& w, int64_t first_row, int rows, const QuantizedRow& x,
                   const Block& ahead) {
    using Shape = AffineShape<kBits, kGroup>;
    const int64_t stride = w.columns * kBits / 8;
    const int64_t groups = w.columns / kGroup;
    const Factors scale_factors(w, w.scales), bias_factors(w, w.biases);
    const std::byte* data = w.data + first_row * stride;
    alignas(64) float scales[kLanes][kLanes], biases[kLanes][kLanes];
    alignas(64) std::byte copy[kLanes][Shape::kStepBytes];
    F acc = zero();
    for (int64_t base = 0; base < groups; base += kLanes) {
        const int count = static_cast<int>(smaller<int64_t>(kLanes, groups - base));
        load_factors(scale_factors, first_row, rows, base, count, scales);
        load_factors(bias_factors, first_row, rows, base, count, biases);
        prefetch_factors(ahead, scale_factors.stride, base * scale_factors.width);
        for (int g = 0; g < count; g += Shape::kGroups) {
            const int64_t column = (base + g) * kGroup;
            const int64_t offset = column * kBits / 8;
            I sums[Shape::kGroups];
            if (rows == kLanes && (Shape::kGroups == 1 || g + Shape::kGroups <= count)) {
                step_sums<kBits, kGroup>(data + offset, stride, ahead.data + offset, x.values + column, sums);
            } else {
                const int64_t bytes = smaller<int64_t>(Shape::kStepBytes, stride - offset);
                __builtin_memset(copy, 0, sizeof copy);
                for (int r = 0; r < rows; ++r) {
                    __builtin_memcpy(copy[r], data + r * stride + offset, static_cast<size_t>(bytes));
                }
                step_sums<kBits, kGroup>(copy[0], Shape::kStepBytes, copy[0], x.values + column, sums);
            }
            for (int i = 0; i < Shape::kGroups && g + i < count; ++i) {
                acc = add_group(acc, load(scales[g + i]), load(biases[g + i]), sums[i],
                                x.scales[base + g + i], x.sums[base + g + i]);
            }
        }
    }
    return acc;
}

template <int kBits, int kGroup>
inline void affine_vector(const WeightView& weight, const QuantizedRow& x, float* out, bool accumulate,
                          const WeightView* next) {
    const int64_t block_bytes = kLanes * weight.columns * kBits / 8;
    const int64_t distance = (kAheadBytes + block_bytes - 1) / block_bytes * kLanes;
    for (int64_t row = 0; row < weight.rows; row += kLanes) {
        const int rows = static_cast<int>(smaller<int64_t>(kLanes, weight.rows - row));
        const Block ahead = block_ahead(weight, row, distance, next);
        const F result = block_dot<kBits, kGroup>(weight, row, rows, x, ahead);
        store_some(out + row, accumulate ? add(load_some(out + row, rows), result) : result, rows);
    }
}

template <int kBits>
inline void affine_pack(const WeightView& w, AffineTile& tile) {
    using Shape = AffineShape<kBits, 32>;  // a unit is the same for every group
    const int64_t stride = w.columns * kBits / 8;
    const int64_t groups = w.columns / w.format.group_size;
    const Factors scales(w, w.scales), biases(w, w.biases);
    const int total = static_cast<int>(w.rows);
    for (int v = 0; v < kTileVectors; ++v) {
        const int first = smaller(v * kLanes, total - 1);
        const int rows = smaller(kLanes, total - first);
        for (int64_t base = 0; base < groups; base += kLanes) {
            const int count = static_cast<int>(smaller<int64_t>(kLanes, groups - base));
            const int64_t place = (base * kTileVectors + v) * kLanes;
            alignas(64) float lines[kLanes][kLanes];
            load_factors(scales, first, rows, base, count, lines);
            for (int g = 0; g < count; ++g)
                store(tile.scales + place + g * kTileVectors * kLanes, load(lines[g]));
            load_factors(biases, first, rows, base, count, lines);
            for (int g = 0; g < count; ++g)
                store(tile.biases + place + g * kTileVectors * kLanes, load(lines[g]));
        }
        std::byte* out = tile.values + v * kVectorBytes;
        for (int64_t offset = 0; offset < stride; offset += Shape::kUnitBytes) {
            I lines[kLanes];
            I units[Shape::kHalves][kLanes];
            for (int r = 0; r < kLanes; ++r) {
                const std::byte* p = w.data + (first + smaller(r, rows - 1)) * stride + offset;
                alignas(64) std::byte part[Shape::kUnitBytes];
                if (offset + Shape::kUnitBytes > stride) {
                    __builtin_memset(part, 0, sizeof part);
                    __builtin_memcpy(part, p, static_cast<size_t>(stride - offset));
                    p = part;
                }
                if constexpr (kBits == 4) {
                    lines[r] = iload(p);
                } else {
                    lines[r] = unpack<kBits>(p);
                }
            }
            transpose(lines);
            // Nibbles stay in their dword, so 4-bit weights are turned before they are unpacked: half the
            // work.
            for (int i = 0; i < kLanes; ++i) {
                units[0][i] = kBits == 4 ? low_nibbles(lines[i]) : lines[i];
                if constexpr (kBits == 4) units[1][i] = high_nibbles(lines[i]);
            }
            for (int h = 0; h < Shape::kHalves; ++h) {
                for (int i = 0; i < kLanes; ++i, out += kTileVectors * kVectorBytes) istore(out, units[h][i]);
            }
        }
    }
}

// Which dwords of a row hold a group: `runs` runs of `run` dwords, kLanes apart. See AffineShape.
struct GroupDwords {
    int64_t groups, step, runs, run;

    GroupDwords(int bits, int group) {
        const int64_t unit = unit_columns(bits);
        const int64_t units = group > unit ? group / unit : 1;
        groups = unit > group ? unit / group : 1;
        runs = units * (unit / kVectorBytes);
        step = runs * kLanes;
        run = kLanes / groups;
    }
    int64_t first(int64_t group) const { return group / groups * step + group % groups * run; }
};

constexpr int kDwords = 4;  // per turn of the inner loop: every run is a multiple

// kDwords dwords of a tile from `first` on times those of kTokens rows.
template <bool kWide, int kTokens>
inline void add_dwords(const std::byte* tile, const QuantizedRow* x, int64_t first,
                       I (&sums)[kTileVectors][kTokens]) {
    const std::byte* w = tile + first * kTileVectors * kVectorBytes;
#pragma GCC unroll 4
    for (int i = 0; i < kDwords; ++i, w += kTileVectors * kVectorBytes) {
        I weights[kTileVectors];
#pragma GCC unroll 4
        for (int v = 0; v < kTileVectors; ++v) weights[v] = iload(w + v * kVectorBytes);
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) {
            const I values = broadcast4(x[t].values + 4 * (first + i));
#pragma GCC unroll 4
            for (int v = 0; v < kTileVectors; ++v) sums[v][t] = dot4<kWide>(sums[v][t], weights[v], values);
        }
    }
}

// Memory that will be read next, brought to the cache bit by bit while something else is computed.
struct Stream {
    const std::byte* at = nullptr;
    int64_t lines = 0;
    int64_t per_group = 0;

    void advance() {
        const int64_t count = smaller(per_group, lines);
        for (int64_t i = 0; i < count; ++i) prefetch(at + i * kLineBytes);
        at += count * kLineBytes;
        lines -= count;
    }
};

template <bool kWide, int kTokens>
inline void tile_dot(const AffineTile& tile, const QuantizedRow* x, float* const* out, int64_t first,
                     bool accumulate, Stream& ahead) {
    const GroupDwords dwords(tile.bits, tile.group);
    const int64_t groups = tile.columns / tile.group;
    F acc[kTileVectors][kTokens];
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 4
        for (int v = 0; v < kTileVectors; ++v) acc[v][t] = zero();
    }
    for (int64_t g = 0; g < groups; ++g) {
        ahead.advance();
        I sums[kTileVectors][kTokens];
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 4
            for (int v = 0; v < kTileVectors; ++v) sums[v][t] = izero();
        }
        for (int64_t run = 0; run < dwords.runs; ++run) {
            const int64_t start = dwords.first(g) + run * kLanes;
            for (int64_t i = 0; i < dwords.run; i += kDwords)
                add_dwords<kWide, kTokens>(tile.values, x, start + i, sums);
        }
        const float* scales = tile.scales + g * kTileVectors * kLanes;
        const float* biases = tile.biases + g * kTileVectors * kLanes;
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 4
            for (int v = 0; v < kTileVectors; ++v) {
                acc[v][t] = add_group(acc[v][t], load(scales + v * kLanes), load(biases + v * kLanes),
                                      sums[v][t], x[t].scales[g], x[t].sums[g]);
            }
        }
    }
    for (int t = 0; t < kTokens; ++t) {
        for (int v = 0; v < kTileVectors; ++v) {
            const int rows = smaller(kLanes, tile.rows - v * kLanes);
            if (rows <= 0) continue;
            float* p = out[t] + first + v * kLanes;
            store_some(p, accumulate ? add(load_some(p, rows), acc[v][t]) : acc[v][t], rows);
        }
    }
}

// `count` rows of activations, at most kTokens.
template <bool kWide, int kTokens>
inline void few_tokens(const AffineTile& tile, const QuantizedRow* x, int64_t count, float* const* out,
                       int64_t first, bool accumulate, Stream& ahead) {
    if (count == kTokens) return tile_dot<kWide, kTokens>(tile, x, out, first, accumulate, ahead);
    if constexpr (kTokens > 1) few_tokens<kWide, kTokens - 1>(tile, x, count, out, first, accumulate, ahead);
}

template <bool kWide>
inline void all_tokens(const AffineTile& tile, const QuantizedRow* x, int64_t tokens, float* const* out,
                       int64_t first, bool accumulate, Stream& ahead) {
    while (tokens > 0) {
        const int64_t count = rows_of_turn(tokens, kTileTokens);
        few_tokens<kWide, kTileTokens>(tile, x, count, out, first, accumulate, ahead);
        tokens -= count;
        x += count;
        out += count;
    }
}

inline Stream stream_of(const WeightView* next, const AffineTile& tile, int64_t tokens) {
    Stream ahead;
    if (next == nullptr) return ahead;
    const int64_t scale_bytes =
        next->rows * (next->columns / next->format.group_size) * (next->format.dtype == DType::kF32 ? 4 : 2);
    for (int64_t offset = 0; offset < scale_bytes; offset += kLineBytes) {
        prefetch(next->scales + offset);
        prefetch(next->biases + offset);
    }
    ahead.at = next->data;
    ahead.lines = next->rows * next->columns * next->format.bits / 8 / kLineBytes + 1;
    const int64_t turns = (tokens + kTileTokens - 1) / kTileTokens * (tile.columns / tile.group);
    ahead.per_group = (ahead.lines + turns - 1) / turns;
    return ahead;
}

inline void affine_matrix(const AffineTile& tile, const QuantizedRow* x, int64_t tokens, float* const* out,
                          int64_t first, bool accumulate, const WeightView* next) {
    Stream ahead = stream_of(next, tile, tokens);
    if (kWideDiffers && tile.bits == 8) {
        all_tokens<kWideDiffers>(tile, x, tokens, out, first, accumulate, ahead);
    } else {
        all_tokens<false>(tile, x, tokens, out, first, accumulate, ahead);
    }
}

// Calls function.template operator()<bits>().
template <typename Function>
inline void with_bits(int bits, Function&& function) {
    switch (bits) {
        case 2:
            return function.template operator()<2>();
        case 3:
            return function.template operator()<3>();
        case 4:
            return function.template operator()<4>();
        case 5:
            return function.template operator()<5>();
        case 6:
            return function.template operator()<6>();
        default:
            return function.template operator()<8>();
    }
}

inline void affine_vector_any(const WeightView& weight, const QuantizedRow& x, float* out, bool accumulate,
                              const WeightView* next) {
    if (next != nullptr && (next->format != weight.format || next->columns != weight.columns)) next = nullptr;
    with_bits(weight.format.bits, [&]<int kBits>() {
        switch (weight.format.group_size) {
            case 32:
                return affine_vector<kBits, 32>(weight, x, out, accumulate, next);
            case 64:
                return affine_vector<kBits, 64>(weight, x, out, accumulate, next);
            default:
                return affine_vector<kBits, 128>(weight, x, out, accumulate, next);
        }
    });
}

inline void affine_pack_any(const WeightView& weight, AffineTile& tile) {
    tile.columns = weight.columns;
    tile.bits = weight.format.bits;
    tile.group = weight.format.group_size;
    tile.rows = static_cast<int>(weight.rows);
    with_bits(tile.bits, [&]<int kBits>() { affine_pack<kBits>(weight, tile); });
}

}  // namespace
}  // namespace sluice
