#pragma once

// FP4 and FP8 codes whose factors lie apart, in tiles (tensor/row_tiles.h): lanes are rows, activations are broadcast.
//
// FP4 meets int8 activations: the products of a group are added up exactly, groups in ascending order. FP8 meets
// floats: four sums a group, of the columns 4 i + k for k below 4, each in ascending order; (s0 + s1) + (s2 + s3) times
// the group's factor is added to the row's sum. One row of x or many: the same operations in the same order.

#include "backend/cpu/isa/codes.inl.h"
#include "backend/cpu/isa/tiled_affine.inl.h"
#include "backend/cpu/isa/tiled_formats.inl.h"

namespace sluice {
namespace {

// Factors of kLanes rows, a byte each.
struct PowerFactors {
    static constexpr int kGroup = 32;
    // The smallest is subnormal; infinity stands for NaN.
    static F load_lanes(const std::byte* p) {
        return max(as_float(shift_left<23>(load_u8_dwords(p))), set1(0x1p-127F));
    }
};
struct SmallFloatFactors {
    static constexpr int kGroup = 16;
    static F load_lanes(const std::byte* p) { return load_e4m3(p); }
};

// What stands in a tile in front of a group, and is read some time after it.
struct CodesAt {
    const std::byte *data, *scales;

    CodesAt(const WeightView& w, int64_t row, int64_t groups, int64_t row_bytes)
        : data(w.data + row * row_bytes), scales(w.scales + row * groups) {}
};

// sums += two dwords of FP4 codes, doubled and raised by kE2m1Center, of kRowVectors vectors of rows, times kTokens
// rows of x from `column` on, as add_turn has it.
constexpr int kE2m1Center = 12, kE2m1Dwords = 2;
template <int kTokens>
inline void add_e2m1(const std::byte* data, const int8_t* const (&x)[kTokens], int64_t column,
                     I (&sums)[kRowVectors][kTokens]) {
    I words[kRowVectors][kTokens];
#pragma GCC unroll 2
    for (int i = 0; i < kE2m1Dwords; ++i) {
#pragma GCC unroll 4
        for (int v = 0; v < kRowVectors; ++v) {
            const I packed = iload(data + i * kTileLineBytes + v * kVectorBytes);
            const I even = look_up(kE2m1Table, low_nibbles(packed)), odd = look_up(kE2m1Table, high_nibbles(packed));
#pragma GCC unroll 8
            for (int t = 0; t < kTokens; ++t) {
                I sum = kWordRuns ? (i == 0 ? izero() : words[v][t]) : (i == 0 ? sums[v][t] : words[v][t]);
                sum = add_run_products(sum, even, broadcast4(x[t] + column + 4 * i));
                words[v][t] = add_run_products(sum, odd, broadcast4(x[t] + column + 4 * i + kVectorBytes));
            }
        }
    }
#pragma GCC unroll 4
    for (int v = 0; v < kRowVectors; ++v) {
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t)
            sums[v][t] = kWordRuns ? dot2(sums[v][t], words[v][t], set1_i32(0x00010001)) : words[v][t];
    }
}

// acc = a tile times kTokens rows of x, twice as large.
template <typename Scales, int kTokens>
inline void e2m1_tile(const CodesAt& tile, int64_t groups, const QuantizedRow* x, const ReadAhead& ahead,
                      F (&acc)[kRowVectors][kTokens]) {
    constexpr int kGroupDwords = Scales::kGroup / 8;
    const int8_t* values[kTokens];
    for (int t = 0; t < kTokens; ++t) values[t] = x[t].values;
    fill_sums(zero(), acc);
    for (int64_t g = 0; g < groups; ++g) {
        const std::byte* data = tile.data + g * kGroupDwords * kTileLineBytes;
        ahead.prefetch_from(data, kGroupDwords * kTileLineBytes);
        I sums[kRowVectors][kTokens];
        fill_sums(izero(), sums);
        for (int i = 0; i < kGroupDwords; i += kE2m1Dwords) {
            const auto dword = static_cast<uint64_t>(g * kGroupDwords + i);
            const uint64_t column = dword / kLanes * (2 * kVectorBytes) + dword % kLanes * 4;
            add_e2m1(data + i * kTileLineBytes, values, static_cast<int64_t>(column), sums);
        }
#pragma GCC unroll 4
        for (int v = 0; v < kRowVectors; ++v) {
            const F scale = Scales::load_lanes(tile.scales + g * kTileRows + v * kLanes);
#pragma GCC unroll 8
            for (int t = 0; t < kTokens; ++t) {
                const F raised = set1(-kE2m1Center * x[t].sums[g]);
                acc[v][t] = fma(scale, fma(to_float(sums[v][t]), set1(x[t].scales[g]), raised), acc[v][t]);
            }
        }
    }
}

// The last row of x again where there are fewer than kTokens.
template <typename Scales, int kTokens>
inline void e2m1_tokens(const CodesAt& tile, int64_t groups, const QuantizedRow* x, int64_t tokens,
                        const ReadAhead& ahead, float* const* out, int64_t row, bool accumulate) {
    QuantizedRow rows[kTokens];
    for (int t = 0; t < kTokens; ++t) rows[t] = x[smaller<int64_t>(t, tokens - 1)];
    F acc[kRowVectors][kTokens];
    e2m1_tile<Scales, kTokens>(tile, groups, rows, ahead, acc);
    for (int t = 0; t < smaller<int64_t>(kTokens, tokens); ++t) {
        for (int v = 0; v < kRowVectors; ++v) {
            float* to = out[t] + row + v * kLanes;
            const F sum = mul(acc[v][t], set1(0.5F));
            store(to, accumulate ? add(load(to), sum) : sum);
        }
    }
}

template <typename Scales>
inline void e2m1_rows(const WeightView& w, const QuantizedRow* x, int64_t tokens, float* const* out, int64_t first,
                      bool accumulate, const WeightView* next) {
    const int64_t groups = w.columns / Scales::kGroup, row_bytes = w.columns / 2;
    const ReadAhead ahead(w, row_bytes, next);
    for (int64_t row = 0; row < w.rows; row += kTileRows) {
        const CodesAt tile(w, row, groups, row_bytes);
        for (int64_t t = 0; t < tokens; t += kTileTokens) {
            auto* const multiply = tokens - t == 1 ? e2m1_tokens<Scales, 1> : e2m1_tokens<Scales, kTileTokens>;
            multiply(tile, groups, x + t, tokens - t, ahead, out + t, first + row, accumulate);
        }
    }
}

// The lower byte of every word to its upper one.
struct LowerBytes {
    alignas(64) uint8_t index[kVectorBytes];

    constexpr LowerBytes() : index{} {
        for (int i = 0; i < kVectorBytes; ++i) index[i] = static_cast<uint8_t>(i % 2 == 0 ? 128 : i % kPartColumns - 1);
    }
};
constexpr LowerBytes kLowerBytes{};

// Four E4M3 codes of a dword as floats, 2^120 too small; NaN is 480.
inline void e4m3_parts(I codes, F (&out)[4]) {
    const I kept = set1_i32(static_cast<int>(0x87f00000));
    const I odd = words_down4(codes), even = words_down4(shuffle_bytes(codes, iload(kLowerBytes.index)));
    out[0] = as_float(iand(shift_left<16>(even), kept));
    out[1] = as_float(iand(shift_left<16>(odd), kept));
    out[2] = as_float(iand(even, kept));
    out[3] = as_float(iand(odd, kept));
}

// The highest bit of the bytes that are NaN, among others.
inline I nan_bits(I codes) {
    return iadd(iand(codes, set1_i8(0x7f)), set1_i8(1));
}
inline bool any_nan(I bits) {
    alignas(64) int32_t lanes[kLanes];
    istore(lanes, iand(bits, set1_i8(-128)));
    int32_t any = 0;
    for (const int32_t lane : lanes) any |= lane;
    return any != 0;
}

// Factors of group `group` of kLanes rows of a tile, from `row` on.
inline F group_factors(const WeightView& w, int64_t row, int64_t groups, int64_t group) {
    if (w.format.group_rows == 1) {
        const int64_t tile = row / kTileRows * kTileRows;
        return PowerFactors::load_lanes(w.scales + tile * groups + group * kTileRows + row % kTileRows);
    }
    const auto of_row = [&](int64_t r) {
        return load_scale(w.scales, w.format.dtype, (w.block_row_offset + r) / w.format.group_rows * groups + group);
    };
    if ((w.block_row_offset + row) / w.format.group_rows ==
        (w.block_row_offset + row + kLanes - 1) / w.format.group_rows)
        return set1(of_row(row));
    alignas(64) float lanes[kLanes];
    for (int r = 0; r < kLanes; ++r) lanes[r] = of_row(row + r);
    return load(lanes);
}

// Which dwords of a row of FP8 codes are a group.
struct Fp8Groups {
    int64_t width, count, dwords;  // of all groups but the last, how many there are, of a whole row

    explicit Fp8Groups(const WeightView& w)
        : width(w.format.group_size / kTileDwordBytes),
          count((w.columns + w.format.group_size - 1) / w.format.group_size),
          dwords(w.columns / kTileDwordBytes) {}
    int64_t end(int64_t group) const { return smaller((group + 1) * width, dwords); }
};

inline F sum_of_parts(const F (&sums)[4]) {
    return add(add(sums[0], sums[1]), add(sums[2], sums[3]));
}

// NaN in the sums of kLanes rows of a tile that have such a code.
inline void spread_nan(const WeightView& w, int64_t row, float* sums) {
    const std::byte* data = w.data + row / kTileRows * kTileRows * w.columns + row % kTileRows * kTileDwordBytes;
    I bits = izero();
    for (int64_t d = 0; d < w.columns / kTileDwordBytes; ++d)
        bits = ior(bits, nan_bits(iload(data + d * kTileLineBytes)));
    const F any = to_float(shift_right<7>(iand(bits, set1_i8(-128))));
    store(sums, select_less(zero(), absolute(any), set1(__builtin_nanf("")), load(sums)));
}

// Rows of x, and where their products with row r of a weight go: out[t] + r.
struct Fp8Rows {
    const float* const* x;
    int64_t tokens;
    float* sums;
    float* const* out;
    int64_t first;
    bool accumulate;

    // The sums of the tile at `row`, [tokens][kTileRows], to their place.
    void finish(const WeightView& w, int64_t row, I nan) const {
        const bool faulty = any_nan(nan);
        for (int64_t t = 0; t < tokens; ++t) {
            for (int v = 0; v < kRowVectors; ++v) {
                float* sum = sums + t * kTileRows + v * kLanes;
                if (faulty) spread_nan(w, row + v * kLanes, sum);
                float* to = out[t] + first + row + v * kLanes;
                const F result = mul(load(sum), set1(CodeKernels::kScaledDown));
                store(to, accumulate ? add(load(to), result) : result);
            }
        }
    }
};

// The tile at `row` times one row of x.
inline void fp8_tile_vector(const WeightView& w, int64_t row, const Fp8Rows& rows, const ReadAhead& ahead) {
    const Fp8Groups groups(w);
    const float* x = rows.x[0];
    const std::byte* data = w.data + row * w.columns;
    F acc[kRowVectors];
    for (F& sum : acc) sum = zero();
    I nan = izero();
    for (int64_t g = 0; g < groups.count; ++g) {
        F sums[kRowVectors][4];
        fill_sums(zero(), sums);
        for (int64_t d = g * groups.width; d < groups.end(g); ++d) {
            const std::byte* line = data + d * kTileLineBytes;
            prefetch(ahead.after(line));
#pragma GCC unroll 4
            for (int v = 0; v < kRowVectors; ++v) {
                F codes[4];
                const I packed = iload(line + v * kVectorBytes);
                e4m3_parts(packed, codes);
                nan = ior(nan, nan_bits(packed));
#pragma GCC unroll 4
                for (int k = 0; k < 4; ++k) sums[v][k] = fma(codes[k], set1(x[4 * d + k]), sums[v][k]);
            }
        }
        for (int v = 0; v < kRowVectors; ++v) {
            acc[v] = fma(group_factors(w, row + v * kLanes, groups.count, g), sum_of_parts(sums[v]), acc[v]);
        }
    }
    for (int v = 0; v < kRowVectors; ++v) store(rows.sums + v * kLanes, acc[v]);
    rows.finish(w, row, nan);
}

// What the registers hold of rows of x, and groups of columns that are decoded at a time.
constexpr int kFp8Tokens = 12 / kRowVectors;
constexpr int64_t kFp8Dwords = 32;

// sums = dwords [0, count) of decoded codes, [4][kFp8Dwords][kTileRows], times kFp8Tokens rows of x.
inline void decoded_products(const float* codes, int64_t count, const float* const (&x)[kFp8Tokens],
                             F (&sums)[kRowVectors][kFp8Tokens]) {
    alignas(64) float lower[kRowVectors][kFp8Tokens][kLanes], upper[kRowVectors][kFp8Tokens][kLanes];
    for (int k = 0; k < 4; ++k) {
        F parts[kRowVectors][kFp8Tokens];
        fill_sums(zero(), parts);
        const float* line = codes + k * kFp8Dwords * kTileRows;
        for (int64_t d = 0; d < count; ++d, line += kTileRows) {
            F values[kRowVectors];
#pragma GCC unroll 4
            for (int v = 0; v < kRowVectors; ++v) values[v] = load(line + v * kLanes);
#pragma GCC unroll 12
            for (int t = 0; t < kFp8Tokens; ++t) {
                const F factor = set1(x[t][4 * d + k]);
#pragma GCC unroll 4
                for (int v = 0; v < kRowVectors; ++v) parts[v][t] = fma(values[v], factor, parts[v][t]);
            }
        }
        auto& half = k < 2 ? lower : upper;
#pragma GCC unroll 12
        for (int t = 0; t < kFp8Tokens; ++t) {
#pragma GCC unroll 4
            for (int v = 0; v < kRowVectors; ++v) {
                const F sum = k % 2 == 0 ? parts[v][t] : add(load(half[v][t]), parts[v][t]);
                store(half[v][t], sum);
            }
        }
    }
    for (int t = 0; t < kFp8Tokens; ++t) {
        for (int v = 0; v < kRowVectors; ++v) sums[v][t] = add(load(lower[v][t]), load(upper[v][t]));
    }
}

// The tile at `row` times many rows of x: a group is decoded once for all.
inline void fp8_tile_matrix(const WeightView& w, int64_t row, const Fp8Rows& all) {
    const Fp8Groups groups(w);
    const int64_t tokens = all.tokens;
    const std::byte* data = w.data + row * w.columns;
    alignas(64) float codes[4 * kFp8Dwords * kTileRows];
    I nan = izero();
    __builtin_memset(all.sums, 0, static_cast<size_t>(tokens * kTileRows) * sizeof(float));
    for (int64_t g = 0; g < groups.count; ++g) {
        const int64_t begin = g * groups.width, count = groups.end(g) - begin;
        for (int64_t d = 0; d < count; ++d) {
            for (int v = 0; v < kRowVectors; ++v) {
                F parts[4];
                const I packed = iload(data + (begin + d) * kTileLineBytes + v * kVectorBytes);
                e4m3_parts(packed, parts);
                nan = ior(nan, nan_bits(packed));
                for (int k = 0; k < 4; ++k) store(codes + (k * kFp8Dwords + d) * kTileRows + v * kLanes, parts[k]);
            }
        }
        F factors[kRowVectors];
        for (int v = 0; v < kRowVectors; ++v) factors[v] = group_factors(w, row + v * kLanes, groups.count, g);
        for (int64_t t = 0; t < tokens; t += kFp8Tokens) {
            const float* rows[kFp8Tokens];
            for (int i = 0; i < kFp8Tokens; ++i) rows[i] = all.x[smaller<int64_t>(t + i, tokens - 1)] + 4 * begin;
            F sums[kRowVectors][kFp8Tokens];
            decoded_products(codes, count, rows, sums);
            for (int i = 0; i < smaller<int64_t>(kFp8Tokens, tokens - t); ++i) {
                for (int v = 0; v < kRowVectors; ++v) {
                    float* to = all.sums + (t + i) * kTileRows + v * kLanes;
                    store(to, fma(factors[v], sums[v][i], load(to)));
                }
            }
        }
    }
    all.finish(w, row, nan);
}

inline void fp8_rows(const WeightView& w, const float* const* x, int64_t tokens, float* sums, float* const* out,
                     int64_t first, bool accumulate, const WeightView* next) {
    const ReadAhead ahead(w, w.columns, next);
    const Fp8Rows rows{x, tokens, sums, out, first, accumulate};
    for (int64_t row = 0; row < w.rows; row += kTileRows) {
        if (tokens == 1) {
            fp8_tile_vector(w, row, rows, ahead);
        } else {
            fp8_tile_matrix(w, row, rows);
        }
    }
}

template <typename Scales>
constexpr CodeKernels fp4_in_tiles() {
    if constexpr (kReadsTiles) return {.bytes = e2m1_rows<Scales>};
    return {};
}
constexpr CodeKernels fp8_in_tiles() {
    if constexpr (kReadsTiles) return {.floats = fp8_rows};
    return {};
}

}  // namespace
}  // namespace sluice
