#pragma once

// Affine weights times many rows of int8 activations: rows of the weight are turned to a tile once and multiplied with
// all of them. The operations and their order are those of the vector form in affine.inl.h.

#include "backend/cpu/isa/affine.inl.h"
#include "tensor/row_tiles.h"

namespace sluice {
namespace {

// `count` rows from `first` on of a weight's scales or zero points to every kTileVectors-th vector of `out`.
inline void pack_factors(const Factors& factors, int first, int rows, int64_t groups, float* out) {
    alignas(64) float lines[kFactorGroups][kLanes];
    for (int64_t base = 0; base < groups; base += kFactorGroups) {
        const int count = static_cast<int>(smaller<int64_t>(kFactorGroups, groups - base));
        load_factors(factors, first, rows, base, count, lines);
        for (int g = 0; g < count; ++g, out += kTileVectors * kLanes) store(out, load(lines[g]));
    }
}

// Scales or zero points of kLanes rows, which lie side by side.
inline F turned_factors(DType dtype, const std::byte* p) {
    switch (dtype) {
        case DType::kBF16:
            return load_bf16(p);
        case DType::kF16:
            return load_f16(p);
        default:
            return load_f32(p);
    }
}

// turn_rows for a weight in tiles: its dwords lie as they are wanted.
template <int kBits, typename StoreUnit>
inline void take_turned_rows(const WeightView& w, AffineTile& tile, StoreUnit&& store_unit) {
    const int64_t stride = w.columns * kBits / 8, dwords = stride / kTileDwordBytes;
    const int64_t groups = w.columns / w.format.group_size;
    const int64_t factor_stride = factor_row_bytes(w), width = factor_stride / groups;
    for (int v = 0; v < kTileVectors; ++v) {
        const int64_t first = smaller<int64_t>(v * kLanes, w.rows - kLanes), inside = first % kTileRows;
        const std::byte* data = w.data + (first - inside) * stride + inside * kTileDwordBytes;
        for (int64_t dword = 0; dword < dwords; dword += kLanes) {
            I lines[kLanes];
            for (int i = 0; i < kLanes; ++i) {
                const bool there = dword + i < dwords;
                lines[i] = there ? iload(data + (dword + i) * kTileRows * kTileDwordBytes) : izero();
            }
            store_unit(v, dword / kLanes, lines);
        }
        const int64_t factors = (first - inside) * factor_stride + inside * width;
        for (int64_t g = 0; g < groups; ++g) {
            const int64_t from = factors + g * kTileRows * width, to = (g * kTileVectors + v) * kLanes;
            store(tile.scales + to, turned_factors(w.format.dtype, w.scales + from));
            store(tile.zero_points + to, turned_factors(w.format.dtype, w.zero_points + from));
        }
    }
}

// The scales and zero points of a weight's rows to the tile, and its values to store_unit(v, unit, lines): a unit is
// kVectorBytes of a row (unpacked, where bits are neither 4 nor 8), and lines[i] the dword i of each row of row vector
// v.
template <int kBits, typename StoreUnit>
inline void turn_rows(const WeightView& w, AffineTile& tile, StoreUnit&& store_unit) {
    if constexpr (kBits == 4 || kBits == 8) {
        if (w.tiled) return take_turned_rows<kBits>(w, tile, store_unit);
    }
    constexpr int kUnitBytes = AffineShape<kBits, 32>::kUnitBytes;  // the same for every group
    const int64_t stride = w.columns * kBits / 8;
    const int64_t groups = w.columns / w.format.group_size;
    const Factors scales(w, w.scales), zero_points(w, w.zero_points);
    const int total = static_cast<int>(w.rows);
    for (int v = 0; v < kTileVectors; ++v) {
        const int first = smaller(v * kLanes, total - 1);
        const int rows = smaller(kLanes, total - first);
        pack_factors(scales, first, rows, groups, tile.scales + v * kLanes);
        pack_factors(zero_points, first, rows, groups, tile.zero_points + v * kLanes);
        const std::byte* pointers[kLanes];
        row_pointers(w.data + first * stride, stride, rows, pointers);
        alignas(64) std::byte copy[kLanes][kVectorBytes];
        for (int64_t offset = 0; offset < stride; offset += kUnitBytes) {
            int64_t at = offset;
            if (offset + kUnitBytes > stride) {
                __builtin_memset(copy, 0, sizeof copy);
                for (int r = 0; r < kLanes; ++r) {
                    __builtin_memcpy(copy[r], pointers[r] + offset, static_cast<size_t>(stride - offset));
                    pointers[r] = copy[r];
                }
                at = 0;
            }
            I lines[kLanes];
            if constexpr (kBits == 4 || kBits == 8) {
                load_transposed(pointers, at, lines);
            } else {
                for (int r = 0; r < kLanes; ++r) lines[r] = unpack<kBits>(pointers[r] + at);
                transpose(lines);
            }
            store_unit(v, offset / kUnitBytes, lines);
        }
    }
}

// 4-bit weights stay packed, so that a tile fits the first cache: unpacking them costs little beside the products.
template <int kBits>
inline void affine_pack(const WeightView& w, AffineTile& tile) {
    turn_rows<kBits>(w, tile, [&](int v, int64_t unit, const I(&lines)[kLanes]) {
        std::byte* out = tile.values + (unit * kLanes * kTileVectors + v) * kVectorBytes;
        for (int i = 0; i < kLanes; ++i) istore(out + i * kTileVectors * kVectorBytes, lines[i]);
    });
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

// sums += kDwords dwords of kVectors row vectors, at w, times those of kTokens rows, at x[t] + column.
template <bool kWide, int kTokens, int kVectors>
inline void add_dwords(const std::byte* w, const int8_t* const (&x)[kTokens], int64_t column,
                       I (&sums)[kVectors][kTokens]) {
#pragma GCC unroll 4
    for (int i = 0; i < kDwords; ++i, w += kVectors * kVectorBytes) {
        I weights[kVectors];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) weights[v] = iload(w + v * kVectorBytes);
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) {
            const I values = broadcast4(x[t] + column + 4 * i);
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; ++v) sums[v][t] = dot4<kWide>(sums[v][t], weights[v], values);
        }
    }
}

// The same for kDwords dwords of nibbles; the odd columns' activations lie kVectorBytes after the even ones'. Words
// hold the products of all of them.
template <int kTokens, int kVectors>
inline void add_nibble_dwords(const std::byte* w, const int8_t* const (&x)[kTokens], int64_t column,
                              I (&sums)[kVectors][kTokens]) {
    static_assert(kDwords * 4 * 15 * 127 <= 32767);
    I words[kVectors][kTokens];
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) words[v][t] = kWordRuns ? izero() : sums[v][t];
    }
#pragma GCC unroll 4
    for (int i = 0; i < kDwords; ++i, w += kVectors * kVectorBytes) {
        I even[kVectors], odd[kVectors];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
            const I packed = iload(w + v * kVectorBytes);
            even[v] = low_nibbles(packed);
            odd[v] = high_nibbles(packed);
        }
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) {
            const I values = broadcast4(x[t] + column + 4 * i);
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; ++v) words[v][t] = add_run_products(words[v][t], even[v], values);
            const I odd_values = broadcast4(x[t] + column + kVectorBytes + 4 * i);
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; ++v) words[v][t] = add_run_products(words[v][t], odd[v], odd_values);
        }
    }
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
            sums[v][t] = kWordRuns ? dot2(sums[v][t], words[v][t], set1_i32(0x00010001)) : words[v][t];
        }
    }
}

// How a tile's weights are multiplied.
enum class TileKind { kNibbles, kBytes, kWideBytes };

// sums += dwords d, d + 1, ... of kVectors row vectors, kDwords of them from w on, times those of kTokens rows.
template <TileKind kKind, int kTokens, int kVectors>
inline void add_turn(const std::byte* w, int64_t d, const int8_t* const (&x)[kTokens], I (&sums)[kVectors][kTokens]) {
    if constexpr (kKind == TileKind::kNibbles) {
        const auto dword = static_cast<uint64_t>(d);  // of which division takes one shift
        const uint64_t column = dword / kLanes * (2 * kVectorBytes) + dword % kLanes * 4;
        add_nibble_dwords(w, x, static_cast<int64_t>(column), sums);
    } else {
        add_dwords<kKind == TileKind::kWideBytes>(w, x, 4 * d, sums);
    }
}

// sums += dwords [begin, end) of kVectors row vectors, dword 0 at `values`, times those of kTokens rows.
template <TileKind kKind, int kTokens, int kVectors>
inline void add_run(const std::byte* values, int64_t begin, int64_t end, const int8_t* const (&x)[kTokens],
                    I (&sums)[kVectors][kTokens]) {
    for (int64_t d = begin; d < end; d += kDwords) add_turn<kKind>(values + d * kVectors * kVectorBytes, d, x, sums);
}

// Memory that will be read next, brought to the cache bit by bit while something else is computed.
struct Stream {
    const std::byte* at = nullptr;
    int64_t lines = 0;
    int64_t per_turn = 0;

    void advance() {
        const int64_t count = smaller(per_turn, lines);
        for (int64_t i = 0; i < count; ++i) prefetch(at + i * kLineBytes);
        at += count * kLineBytes;
        lines -= count;
    }
};

// Row vector v of a tile's results to out, the place of its first row.
inline void store_tile_rows(const AffineTile& tile, int v, F values, float* out, bool accumulate) {
    const int rows = smaller(kLanes, tile.rows - v * kLanes);
    if (rows <= 0) return;
    float* p = out + v * kLanes;
    store_some(p, accumulate ? add(load_some(p, rows), values) : values, rows);
}

template <TileKind kKind, int kTokens>
inline void tile_dot(const AffineTile& tile, const QuantizedRow* rows, float* const* out, int64_t first,
                     bool accumulate, Stream& ahead) {
    const GroupDwords dwords(tile.bits, tile.group);
    const int64_t groups = tile.columns / tile.group;
    const int8_t* x[kTokens];
    F acc[kTileVectors][kTokens];
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
        x[t] = rows[t].values;
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
        if constexpr (kKind == TileKind::kNibbles) {
            const int64_t begin = g * tile.group / 8;
            add_run<kKind>(tile.values, begin, begin + tile.group / 8, x, sums);
        } else {
            for (int64_t run = 0; run < dwords.runs; ++run) {
                const int64_t begin = dwords.first(g) + run * kLanes;
                add_run<kKind>(tile.values, begin, begin + dwords.run, x, sums);
            }
        }
        const float* scales = tile.scales + g * kTileVectors * kLanes;
        const float* zero_points = tile.zero_points + g * kTileVectors * kLanes;
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 4
            for (int v = 0; v < kTileVectors; ++v) {
                acc[v][t] = add_group(acc[v][t], load(scales + v * kLanes), load(zero_points + v * kLanes), sums[v][t],
                                      rows[t].scales[g], rows[t].sums[g]);
            }
        }
    }
    for (int t = 0; t < kTokens; ++t) {
        for (int v = 0; v < kTileVectors; ++v) store_tile_rows(tile, v, acc[v][t], out[t] + first, accumulate);
    }
}

// `count` rows of activations, at most kTokens.
template <TileKind kKind, int kTokens>
inline void few_tokens(const AffineTile& tile, const QuantizedRow* x, int64_t count, float* const* out, int64_t first,
                       bool accumulate, Stream& ahead) {
    if (count == kTokens) return tile_dot<kKind, kTokens>(tile, x, out, first, accumulate, ahead);
    if constexpr (kTokens > 1) few_tokens<kKind, kTokens - 1>(tile, x, count, out, first, accumulate, ahead);
}

template <TileKind kKind>
inline void all_tokens(const AffineTile& tile, const QuantizedRow* x, int64_t tokens, float* const* out, int64_t first,
                       bool accumulate, Stream& ahead) {
    while (tokens > 0) {
        const int64_t count = rows_of_turn(tokens, kTileTokens);
        few_tokens<kKind, kTileTokens>(tile, x, count, out, first, accumulate, ahead);
        tokens -= count;
        x += count;
        out += count;
    }
}

// What advances over `next` in this many turns.
inline Stream stream_of(const WeightView* next, int64_t turns) {
    Stream ahead;
    if (next == nullptr) return ahead;
    const int64_t scale_bytes = next->rows * factor_row_bytes(*next);
    for (int64_t offset = 0; offset < scale_bytes; offset += kLineBytes) {
        prefetch(next->scales + offset);
        prefetch(next->zero_points + offset);
    }
    ahead.at = next->data;
    ahead.lines = next->rows * next->columns * next->format.bits / 8 / kLineBytes + 1;
    ahead.per_turn = (ahead.lines + turns - 1) / turns;
    return ahead;
}

inline void affine_matrix(const AffineTile& tile, const QuantizedRow* x, int64_t tokens, float* const* out,
                          int64_t first, bool accumulate, const WeightView* next) {
    const int64_t turns = (tokens + kTileTokens - 1) / kTileTokens;
    Stream ahead = stream_of(next, turns * (tile.columns / tile.group));
    if (tile.bits == 4) {
        all_tokens<TileKind::kNibbles>(tile, x, tokens, out, first, accumulate, ahead);
    } else if (kWideDiffers && tile.bits == 8) {
        all_tokens<kWideDiffers ? TileKind::kWideBytes : TileKind::kBytes>(tile, x, tokens, out, first, accumulate,
                                                                           ahead);
    } else {
        all_tokens<TileKind::kBytes>(tile, x, tokens, out, first, accumulate, ahead);
    }
}

inline void describe_tile(const WeightView& weight, AffineTile& tile) {
    tile.columns = weight.columns;
    tile.bits = weight.format.bits;
    tile.group = weight.format.group_size;
    tile.rows = static_cast<int>(weight.rows);
}

inline void affine_pack_any(const WeightView& weight, AffineTile& tile) {
    describe_tile(weight, tile);
    with_bits(tile.bits, [&]<int kBits>() { affine_pack<kBits>(weight, tile); });
}

}  // namespace
}  // namespace sluice
