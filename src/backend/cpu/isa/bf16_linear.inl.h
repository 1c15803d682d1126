#pragma once

// Weights that are exact in BF16 times activations rounded to BF16, sums in float: lane j of a sum adds up the columns
// 32 i + 2 j and 32 i + 2 j + 1, in ascending i, in the vector and in the matrix form. Needs AVX-512 BF16 and VBMI.

#include "backend/cpu/isa/bf16_rows.inl.h"

namespace sluice {
namespace {

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
        add_unit(
            i, [&](int r, I(&pairs)[2]) { read_rest(codec, rows.data[r], rows.factors[r], i, w.columns - i, pairs); });
    }
    sums[0] = sum0;
    sums[1] = sum1;
    sums[2] = sum2;
    sums[3] = sum3;
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

template <int kTokens>
inline void bf16_block(const Bf16Tile& tile, int64_t row, const uint16_t* const* x, float* const* out, int64_t first,
                       bool accumulate) {
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
inline void bf16_tokens(const Bf16Tile& tile, const uint16_t* const* x, int64_t count, float* const* out, int64_t first,
                        bool accumulate) {
    if constexpr (kTokens > 1) {
        if (count < kTokens) return bf16_tokens<kTokens - 1>(tile, x, count, out, first, accumulate);
    }
    for (int64_t row = 0; row < tile.rows; row += kPairRows) bf16_block<kTokens>(tile, row, x, out, first, accumulate);
}

inline void bf16_matrix(const Bf16Tile& tile, const Bf16Activations& x, float* const* out, int64_t first,
                        bool accumulate) {
    for (int64_t done = 0; done < x.tokens;) {
        const int64_t count = rows_of_turn(x.tokens - done, kPairTokens);
        bf16_tokens<kPairTokens>(tile, x.rows + done, count, out + done, first, accumulate);
        done += count;
    }
}

}  // namespace
}  // namespace sluice
