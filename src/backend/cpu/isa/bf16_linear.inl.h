#pragma once

// Weights that are exact in BF16 times activations rounded to BF16, sums in float: lane j of a sum adds up
// the columns 32 i + 2 j and 32 i + 2 j + 1, in ascending i, in the vector and in the matrix form. Needs
// AVX-512 BF16 and VBMI.

#include "backend/cpu/isa/bf16_codes.inl.h"
#include "backend/cpu/isa/decode.inl.h"
#include "backend/cpu/kernels.h"

namespace sluice {
namespace {

constexpr int kPairRows = kBf16TileRows;
constexpr int kPairTokens = 6;  // 24 sums and what they are made of: what the registers hold

inline F add_pairs(F sum, I a, I b) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
}

// The sums of four vectors, each added up like reduce_add().
inline __m128 reduce_rows(const F (&v)[kPairRows]) {
    const auto halves = [](F a, F b) {
        return add(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    };
    const F ab = halves(v[0], v[1]), cd = halves(v[2], v[3]);
    F quads = add(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
    quads = add(quads, _mm512_permute_ps(quads, 0x4e));
    quads = add(quads, _mm512_permute_ps(quads, 0xb1));
    const I firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
    return _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, quads));
}

inline void store_sums(const F (&v)[kPairRows], int64_t rows, float* out, bool accumulate) {
    const auto mask = static_cast<__mmask8>(rows < kPairRows ? (1 << rows) - 1 : 15);
    __m128 sums = reduce_rows(v);
    if (accumulate) sums = _mm_add_ps(_mm_maskz_loadu_ps(mask, out), sums);
    _mm_mask_storeu_ps(out, mask, sums);
}

// Rows of a weight, kPairRows of them; the last one again where there are fewer.
template <typename Codec>
struct CodeRows {
    const std::byte *data[kPairRows], *factors[kPairRows];
    int64_t row_bytes;

    CodeRows(const WeightView& w, int64_t row) : row_bytes(w.columns * Codec::kBits / 8) {
        const int64_t row_factors = w.columns * Codec::kFactorBytes / kPairUnit;
        for (int r = 0; r < kPairRows; ++r) {
            const int64_t at = smaller(row + r, w.rows - 1);
            data[r] = w.data + at * row_bytes;
            factors[r] = w.scales + at * row_factors;
        }
    }
};

template <typename Codec>
inline void read_whole(const Codec& codec, const std::byte* data, const std::byte* factors, int64_t column,
                       I (&out)[2]) {
    codec.read(data + column * Codec::kBits / 8, factors + column * Codec::kFactorBytes / kPairUnit, out);
}

// The `count` columns that are left of a row, and zeros; what is behind them is not read.
template <typename Codec>
inline void read_rest(const Codec& codec, const std::byte* data, const std::byte* factors, int64_t column,
                      int64_t count, I (&out)[2]) {
    alignas(64) std::byte codes[kPairUnit * Codec::kBits / 8 + kVectorBytes] = {}, scales[kVectorBytes] = {};
    __builtin_memcpy(codes, data + column * Codec::kBits / 8, static_cast<size_t>(count * Codec::kBits / 8));
    if constexpr (Codec::kFactorBytes > 0) {
        __builtin_memcpy(scales, factors + column * Codec::kFactorBytes / kPairUnit,
                         static_cast<size_t>(count * Codec::kFactorBytes / kPairUnit));
    }
    codec.read(codes, scales, out);
}

// The codes of a unit, to the second cache.
template <typename Codec>
inline void prefetch_unit(const std::byte* p) {
    prefetch(p);
    if constexpr (Codec::kBits == 16) prefetch(p + kLineBytes);
}

template <typename Codec>
inline void bf16_vector_rows(const WeightView& w, int64_t row, const Codec& codec, const uint16_t* x,
                             F (&sums)[kPairRows]) {
    const CodeRows<Codec> rows(w, row);
    const int64_t ahead = kPairRows * rows.row_bytes;
    // By name and value: an array of sums would be stored at every step.
    static_assert(kPairRows == 4);
    F sum0 = zero(), sum1 = zero(), sum2 = zero(), sum3 = zero();
    const auto add_unit = [&](int64_t i, auto&& read) {
        const I low = iload(x + i), high = iload(x + i + kPairUnit / 2);
        const auto added = [&](int r, F sum) {
            I pairs[2];
            read(r, pairs);
            return add_pairs(add_pairs(sum, pairs[0], low), pairs[1], high);
        };
        sum0 = added(0, sum0);
        sum1 = added(1, sum1);
        sum2 = added(2, sum2);
        sum3 = added(3, sum3);
    };
    int64_t i = 0;
    for (; i + kPairUnit <= w.columns; i += kPairUnit) {
        add_unit(i, [&](int r, I(&pairs)[2]) {
            prefetch_unit<Codec>(rows.data[r] + i * Codec::kBits / 8 + ahead);
            read_whole(codec, rows.data[r], rows.factors[r], i, pairs);
        });
    }
    if (i < w.columns) {
        add_unit(i, [&](int r, I(&pairs)[2]) {
            read_rest(codec, rows.data[r], rows.factors[r], i, w.columns - i, pairs);
        });
    }
    sums[0] = sum0;
    sums[1] = sum1;
    sums[2] = sum2;
    sums[3] = sum3;
}

// Calls function(codec) with what reads this format.
template <typename Function>
inline void with_codec(const WeightFormat& format, Function&& function) {
    switch (format.kind) {
        case WeightKind::kFp8Block:
            return function(E4m3Codec{});
        case WeightKind::kMxfp8:
            return function(Mxfp8Codec{});
        case WeightKind::kMxfp4:
            return function(Mxfp4Codec{});
        case WeightKind::kNvfp4:
            return function(Nvfp4Codec{});
        default:
            return function(Bf16Codec{});
    }
}

inline void bf16_vector(const WeightView& w, const uint16_t* x, float* out, bool accumulate) {
    with_codec(w.format, [&](const auto& codec) {
        for (int64_t row = 0; row < w.rows; row += kPairRows) {
            F sums[kPairRows];
            bf16_vector_rows(w, row, codec, x, sums);
            store_sums(sums, w.rows - row, out + row, accumulate);
        }
    });
}

inline void bf16_pack(const WeightView& w, Bf16Tile& tile) {
    tile.columns = whole_units(w.columns);
    tile.stride = bf16_row_values(w.columns);
    tile.rows = w.rows;
    with_codec(w.format, [&]<typename Codec>(const Codec& codec) {
        for (int64_t row = 0; row < w.rows; row += kPairRows) {
            const CodeRows<Codec> rows(w, row);
            for (int r = 0; r < kPairRows; ++r) {
                uint16_t* to = tile.values + (row + r) * tile.stride;
                for (int64_t i = 0; i < w.columns; i += kPairUnit) {
                    prefetch_unit<Codec>(rows.data[r] + i * Codec::kBits / 8 + kAheadBytes);
                    I pairs[2];
                    if (i + kPairUnit <= w.columns) {
                        read_whole(codec, rows.data[r], rows.factors[r], i, pairs);
                    } else {
                        read_rest(codec, rows.data[r], rows.factors[r], i, w.columns - i, pairs);
                    }
                    istore(to + i, pairs[0]);
                    istore(to + i + kPairUnit / 2, pairs[1]);
                }
            }
        }
    });
}

template <int kTokens>
inline void bf16_block(const Bf16Tile& tile, int64_t row, const uint16_t* const* x, float* const* out,
                       int64_t first, bool accumulate) {
    const uint16_t* weight = tile.values + row * tile.stride;
    F sums[kTokens][kPairRows];
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 4
        for (int r = 0; r < kPairRows; ++r) sums[t][r] = zero();
    }
    for (int64_t i = 0; i < tile.columns; i += kPairUnit / 2) {
        I w[kPairRows];
#pragma GCC unroll 4
        for (int r = 0; r < kPairRows; ++r) w[r] = iload(weight + r * tile.stride + i);
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) {
            const I v = iload(x[t] + i);
#pragma GCC unroll 4
            for (int r = 0; r < kPairRows; ++r) sums[t][r] = add_pairs(sums[t][r], w[r], v);
        }
    }
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) store_sums(sums[t], tile.rows - row, out[t] + first + row, accumulate);
}

// All rows of the tile, `count` rows of activations, at most kTokens.
template <int kTokens>
inline void bf16_tokens(const Bf16Tile& tile, const uint16_t* const* x, int64_t count, float* const* out,
                        int64_t first, bool accumulate) {
    if constexpr (kTokens > 1) {
        if (count < kTokens) return bf16_tokens<kTokens - 1>(tile, x, count, out, first, accumulate);
    }
    for (int64_t row = 0; row < tile.rows; row += kPairRows)
        bf16_block<kTokens>(tile, row, x, out, first, accumulate);
}

inline void bf16_matrix(const Bf16Tile& tile, const uint16_t* const* x, int64_t tokens, float* const* out,
                        int64_t first, bool accumulate) {
    while (tokens > 0) {
        const int64_t count = rows_of_turn(tokens, kPairTokens);
        bf16_tokens<kPairTokens>(tile, x, count, out, first, accumulate);
        tokens -= count;
        x += count;
        out += count;
    }
}

// vector_at(i, n): n values from column i on, and zeros. Writes whole units.
template <typename Function>
inline void round_columns(int64_t count, uint16_t* out, Function&& vector_at) {
    const auto part = [&](int64_t i) {
        const int64_t n = smaller<int64_t>(count - i, kLanes);
        return n > 0 ? vector_at(i, static_cast<int>(n)) : zero();
    };
    for (int64_t i = 0; i < whole_units(count); i += 2 * kLanes)
        istore(out + i, reinterpret_cast<I>(_mm512_cvtne2ps_pbh(part(i + kLanes), part(i))));
}

inline void round_to_bf16(const float* x, int64_t count, uint16_t* out) {
    round_columns(count, out, [&](int64_t i, int n) { return load_some(x + i, n); });
}

inline void round_scaled_to_bf16(const WeightView& w, int64_t row, const float* x, uint16_t* out) {
    const int64_t width = w.format.block_columns, blocks = (w.columns + width - 1) / width;
    const int64_t block_row = (w.block_row_offset + row) / w.format.block_rows;
    for (int64_t block = 0; block < blocks; ++block) {
        const int64_t first = block * width;
        const F factor = set1(load_scale(w.scales, w.format.dtype, block_row * blocks + block));
        round_columns(smaller(width, w.columns - first), out + first,
                      [&](int64_t i, int n) { return mul(load_some(x + first + i, n), factor); });
    }
}

}  // namespace
}  // namespace sluice
