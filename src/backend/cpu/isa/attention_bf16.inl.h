#pragma once

// Attention with queries, keys, values and probabilities rounded to BF16, sums in float: twice the products per
// instruction, half the bytes per tile. Needs AVX-512 BF16.

#include "backend/cpu/isa/attention.inl.h"

namespace sluice {
namespace {

inline I to_bf16_pairs(F low, F high) {
    return reinterpret_cast<I>(_mm512_cvtne2ps_pbh(high, low));
}

// 2^x for what is rounded to BF16 next: 2e-7 of the result off, zero far below. The bound comes first in max so that a
// NaN stays one.
inline F power_of_two_to_bf16(F x) {
    const F bounded = max(set1(-160.0f), x);
    const F n = round_even(bounded), r = sub(bounded, n);
    F p = set1(0.00133813025f);
    p = fma(p, r, set1(0.00966636852f));
    p = fma(p, r, set1(0.0555038101f));
    p = fma(p, r, set1(0.24022349f));
    p = fma(p, r, set1(0.693147181f));
    p = fma(p, r, set1(1.0f));
    return _mm512_scalef_ps(p, n);
}

// c[r] (+)= sum over k of a[r][k] * b[k], where a dword of a or b is a pair of BF16 that are multiplied and added.
template <int kRows, int kVectors>
inline void multiply_pairs_block(const int32_t* a, int64_t a_stride, const int32_t* b, int64_t b_stride, int64_t depth,
                                 float* c, int64_t c_stride, bool accumulate) {
    F acc[kRows][kVectors];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) acc[r][v] = accumulate ? load(c + r * c_stride + v * kLanes) : zero();
    }
    for (int64_t k = 0; k < depth; ++k) {
        __m512bh line[kVectors];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) line[v] = reinterpret_cast<__m512bh>(iload(b + k * b_stride + v * kLanes));
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
            const auto factor = reinterpret_cast<__m512bh>(_mm512_set1_epi32(a[r * a_stride + k]));
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; ++v) acc[r][v] = _mm512_dpbf16_ps(acc[r][v], factor, line[v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) store(c + r * c_stride + v * kLanes, acc[r][v]);
    }
}

template <int kRows>
inline void multiply_pairs_rows(const int32_t* a, int64_t a_stride, int64_t rows, const int32_t* b, int64_t b_stride,
                                int64_t depth, int64_t columns, float* c, int64_t c_stride, bool accumulate) {
    if constexpr (kRows > 1) {
        if (rows < kRows) {
            return multiply_pairs_rows<kRows - 1>(a, a_stride, rows, b, b_stride, depth, columns, c, c_stride,
                                                  accumulate);
        }
    }
    int64_t column = 0;
    for (; column + kMultiplyVectors * kLanes <= columns; column += kMultiplyVectors * kLanes) {
        multiply_pairs_block<kRows, kMultiplyVectors>(a, a_stride, b + column, b_stride, depth, c + column, c_stride,
                                                      accumulate);
    }
    for (; column < columns; column += kLanes) {
        multiply_pairs_block<kRows, 1>(a, a_stride, b + column, b_stride, depth, c + column, c_stride, accumulate);
    }
}

inline void multiply_pairs(const int32_t* a, int64_t a_stride, int64_t rows, const int32_t* b, int64_t b_stride,
                           int64_t depth, int64_t columns, float* c, int64_t c_stride, bool accumulate) {
    while (rows > 0) {
        const int64_t count = rows_of_turn(rows, kMultiplyRows);
        multiply_pairs_rows<kMultiplyRows>(a, a_stride, count, b, b_stride, depth, columns, c, c_stride, accumulate);
        rows -= count;
        a += count * a_stride;
        c += count * c_stride;
    }
}

// Tiles of keys and values as BF16; a row of w columns is w / 2 dwords.
class Bf16Tiles {
  public:
    static constexpr int64_t kStep = 2 * kLanes;

    static size_t floats(int rows, int64_t key_columns, int64_t value_columns) {
        const int64_t key_pairs = key_columns / 2, value_pairs = round_to(value_columns, kStep) / 2;
        return static_cast<size_t>((2 * kTile + rows) * key_pairs + kTile * 2 * value_pairs + rows * kTile / 2 +
                                   round_to(key_columns > value_columns ? key_columns : value_columns, kStep));
    }
    Bf16Tiles(float* base, int rows, int64_t key_columns, int64_t value_columns)
        : pairs_(key_columns / 2),
          value_pairs_(round_to(value_columns, kStep) / 2),
          value_stride_(whole_vectors(value_columns)),
          keys_(reinterpret_cast<int32_t*>(base)) {
        turned_ = keys_ + kTile * pairs_;
        values_ = turned_ + kTile * pairs_;
        mixed_ = values_ + kTile * value_pairs_;
        query_ = mixed_ + kTile * value_pairs_;
        probabilities_ = query_ + rows * pairs_;
        line_ = reinterpret_cast<float*>(probabilities_ + rows * kTile / 2);
    }

    void set_query(int row, int64_t column, const float* values, int64_t count) {
        __builtin_memcpy(line_, values, static_cast<size_t>(count) * sizeof(float));
        for (int64_t i = count; i < round_to(count, kStep); ++i) line_[i] = 0;
        round_line(round_to(count, kStep), query_ + row * pairs_ + column / 2);
    }
    void load_keys(const KvRows& rows, int64_t column, int64_t first, int64_t count) {
        RowPointers pointers;
        find_rows(rows, first, count, keys_ + column / 2, pairs_, pointers);
        int32_t* turned = turned_ + column / 2 * kTile;
        for (int64_t t = 0; t < kTile; t += kLanes) {
            for (int64_t pair = 0; pair < round_to(rows.columns, kStep) / 2; pair += kLanes) {
                I lines[kLanes];
                for (int i = 0; i < kLanes; ++i) lines[i] = iload(pointers.row[t + i] + pair);
                transpose(lines);
                for (int i = 0; i < kLanes; ++i) istore(turned + (pair + i) * kTile + t, lines[i]);
            }
        }
        if (column == 0) first_keys_ = pointers;
    }
    void load_values(const KvRows& rows, int64_t first, int64_t count) {
        RowPointers pointers;
        find_rows(rows, first, count, values_, value_pairs_, pointers);
        mix_values(pointers);
    }
    void share_values() { mix_values(first_keys_); }
    // The first `count` tokens of the tile, and what fills the last vector.
    void score(int rows, int64_t count, float* scores) const {
        multiply_pairs(query_, pairs_, rows, turned_, kTile, pairs_, round_to(count, kStep), scores, kTile, false);
    }
    void add_values(int rows, int64_t count, float* probabilities, float* sums) {
        // Scores past the last vector of probabilities are those of zero keys.
        const int64_t end = whole_vectors(count);
        for (int r = 0; r < rows; ++r) {
            float* row = probabilities + r * kTile;
            if (end % kStep != 0) store(row + end, zero());
            for (int64_t i = 0; i < end; i += kStep)
                istore(probabilities_ + (r * kTile + i) / 2, to_bf16_pairs(load(row + i), load(row + i + kLanes)));
        }
        multiply_pairs(probabilities_, kTile / 2, rows, mixed_, 2 * value_pairs_, (count + 1) / 2, value_stride_, sums,
                       value_stride_, true);
    }
    // Scores times unit(scale) are exponents of power().
    static float unit(float scale) { return scale * 1.44269504088896341f; }
    static F power(F exponent) { return power_of_two_to_bf16(exponent); }

  private:
    void round_line(int64_t count, int32_t* out) const {
        for (int64_t i = 0; i < count; i += kStep) {
            istore(out + i / 2, to_bf16_pairs(load(line_ + i), load(line_ + i + kLanes)));
        }
    }
    // Where the BF16 rows of a tile lie: in the cache, if that holds them as they are needed.
    struct RowPointers {
        const int32_t* row[kTile];
    };
    // What the cache does not hold as needed is written to `copies`, rows of `stride` dwords.
    void find_rows(const KvRows& rows, int64_t first, int64_t count, int32_t* copies, int64_t stride,
                   RowPointers& pointers) {
        const int64_t padded = round_to(rows.columns, kStep);
        const bool direct = rows.format == KvFormat::kBF16 && padded == rows.columns;
        for (int64_t i = whole_vectors(rows.columns); i < padded; ++i) line_[i] = 0;
        for (int64_t t = 0; t < kTile; ++t, copies += stride) {
            if (t < count && direct) {
                pointers.row[t] = reinterpret_cast<const int32_t*>(kv_row(rows, first + t));
                continue;
            }
            pointers.row[t] = copies;
            if (t >= count) {
                for (int64_t i = 0; i < padded / 2; i += kLanes) istore(copies + i, izero());
            } else {
                decode_kv(rows, first + t, line_);
                round_line(padded, copies);
            }
        }
    }
    // Rows of tokens 2t and 2t + 1 to pairs of their values.
    void mix_values(const RowPointers& rows) {
        alignas(64) int16_t order[2][2 * kLanes];
        for (int half = 0; half < 2; ++half) {
            for (int i = 0; i < kLanes; ++i) {
                order[half][2 * i] = static_cast<int16_t>(half * kLanes + i);
                order[half][2 * i + 1] = static_cast<int16_t>(half * kLanes + i + 2 * kLanes);
            }
        }
        const I low = iload(order[0]), high = iload(order[1]);
        for (int64_t t = 0; t < kTile; t += 2) {
            int32_t* out = mixed_ + t / 2 * 2 * value_pairs_;
            for (int64_t i = 0; i < value_pairs_; i += kLanes) {
                const I a = iload(rows.row[t] + i), b = iload(rows.row[t + 1] + i);
                istore(out + 2 * i, _mm512_permutex2var_epi16(a, low, b));
                istore(out + 2 * i + kLanes, _mm512_permutex2var_epi16(a, high, b));
            }
        }
    }

    int64_t pairs_, value_pairs_, value_stride_;
    int32_t *keys_, *turned_, *values_, *mixed_, *query_, *probabilities_;
    float* line_;
    RowPointers first_keys_;  // of a key's first part, which may be the value, too
};

}  // namespace
}  // namespace sluice
