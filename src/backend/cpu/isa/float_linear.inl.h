#pragma once

// Products in float. A dot product keeps one vector of partial sums, lane j over the columns j, j + kLanes,
// ..., however many rows and activations are worked on at once.

#include "backend/cpu/isa/decode.inl.h"

namespace sluice {
namespace {

constexpr int kDotRows = 4;
constexpr int kDotTokens = kLanes == 16 ? 6 : 2;  // what the registers hold
constexpr int64_t kDotChunk = 512;  // columns decoded at a time, so that they stay in the first cache

// acc[r][t] += weight row r times x[t], over `columns` columns.
template <int kRows, int kTokens>
inline void add_products(const float* weight, int64_t stride, const float* const* x, int64_t first,
                         int64_t columns, F (&acc)[kRows][kTokens]) {
    for_vectors(columns, [&](int64_t i, int n) {
        F w[kRows];
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) w[r] = load_some(weight + r * stride + i, n);
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) {
            const F v = load_some(x[t] + first + i, n);
#pragma GCC unroll 4
            for (int r = 0; r < kRows; ++r) acc[r][t] = fma(w[r], v, acc[r][t]);
        }
    });
}

template <int kRows, int kTokens>
inline void clear(F (&acc)[kRows][kTokens]) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) acc[r][t] = zero();
    }
}

constexpr int64_t kFactorRuns = 256;

// Factors of runs [first, first + count) of a row, as floats.
inline void load_run_factors(const WeightView& w, int64_t row, int64_t runs, int64_t first, int64_t count,
                             float* out) {
    if (w.format.kind == WeightKind::kFp8Block) {
        const int64_t block_row = (w.block_row_offset + row) / w.format.block_rows;
        __builtin_memcpy(out, w.scales + 4 * (block_row * runs + first), static_cast<size_t>(4 * count));
        return;
    }
    alignas(64) std::byte bytes[kFactorRuns + kVectorBytes];
    __builtin_memcpy(bytes, w.scales + row * runs + first, static_cast<size_t>(count));
    if (w.format.kind == WeightKind::kNvfp4) {
        for (int64_t i = 0; i < count; i += kLanes) store(out + i, load_e4m3(bytes + i));
        return;
    }
    for (int64_t i = 0; i < count; ++i) {
        const auto exponent = static_cast<uint32_t>(bytes[i]);
        const uint32_t bits = exponent == 0 ? 0x00400000u : exponent == 255 ? 0x7fc00000u : exponent << 23;
        __builtin_memcpy(out + i, &bits, sizeof bits);
    }
}

// kDotRows rows, `bits` per value and one factor per `run` columns, straight from memory to products: what
// decode() and add_products() would do, without the detour. Runs and columns are whole vectors.
template <bool kScaled, typename Load>
inline void add_direct(const WeightView& w, int64_t row, int bits, int64_t run, const float* x,
                       F (&acc)[kDotRows][1], Load&& load_values) {
    const int64_t runs = (w.columns + run - 1) / run;
    const std::byte* rows[kDotRows];
    for (int r = 0; r < kDotRows; ++r) rows[r] = w.data + smaller(row + r, w.rows - 1) * w.columns * bits / 8;
    alignas(64) float factors[kDotRows][kFactorRuns + kLanes];
    for (int64_t first = 0; first < runs; first += kFactorRuns) {
        const int64_t count = smaller(kFactorRuns, runs - first);
        for (int r = 0; kScaled && r < kDotRows; ++r) {
            load_run_factors(w, smaller(row + r, w.rows - 1), runs, first, count, factors[r]);
        }
        for (int64_t k = 0; k < count; ++k) {
            const int64_t begin = (first + k) * run, end = smaller(begin + run, w.columns);
            F factor[kDotRows];
#pragma GCC unroll 4
            for (int r = 0; kScaled && r < kDotRows; ++r) factor[r] = set1(factors[r][k]);
            for (int64_t i = begin; i < end; i += kLanes) {
                const F v = load(x + i);
#pragma GCC unroll 4
                for (int r = 0; r < kDotRows; ++r) {
                    const F values = load_values(rows[r] + i * bits / 8);
                    acc[r][0] = fma(kScaled ? mul(values, factor[r]) : values, v, acc[r][0]);
                }
            }
        }
    }
}

// Whether it did.
inline bool add_direct_any(const WeightView& w, int64_t row, const float* x, F (&acc)[kDotRows][1]) {
    const WeightFormat& format = w.format;
    const int64_t run = format.kind == WeightKind::kFloat      ? w.columns
                        : format.kind == WeightKind::kFp8Block ? format.block_columns
                                                               : format.group_size;
    if (w.columns % kLanes != 0 || run % kLanes != 0) return false;
    const auto e4m3 = [](const std::byte* p) { return load_e4m3(p); };
    const auto e2m1 = [](const std::byte* p) { return load_e2m1(p); };
    switch (format.kind) {
        case WeightKind::kAffine:
            return false;
        case WeightKind::kFloat:
            if (format.dtype == DType::kBF16) {
                add_direct<false>(w, row, 16, run, x, acc, [](const std::byte* p) { return load_bf16(p); });
            } else if (format.dtype == DType::kF16) {
                add_direct<false>(w, row, 16, run, x, acc, [](const std::byte* p) { return load_f16(p); });
            } else {
                add_direct<false>(w, row, 32, run, x, acc, [](const std::byte* p) { return load_f32(p); });
            }
            return true;
        case WeightKind::kFp8Block:
        case WeightKind::kMxfp8:
            add_direct<true>(w, row, 8, run, x, acc, e4m3);
            return true;
        default:
            add_direct<true>(w, row, 4, run, x, acc, e2m1);
            return true;
    }
}

inline void add_decoded(const WeightView& w, int64_t row, const float* x, F (&acc)[kDotRows][1]) {
    alignas(64) float rows[kDotRows][kDotChunk];
    for (int64_t first = 0; first < w.columns; first += kDotChunk) {
        const int64_t count = smaller(kDotChunk, w.columns - first);
        for (int r = 0; r < kDotRows; ++r) decode(w, smaller(row + r, w.rows - 1), first, count, rows[r]);
        add_products<kDotRows, 1>(rows[0], kDotChunk, &x, first, count, acc);
    }
}

inline void float_vector(const WeightView& w, const float* x, float* out, bool accumulate) {
    for (int64_t row = 0; row < w.rows; row += kDotRows) {
        F acc[kDotRows][1];
        clear(acc);
        if (!add_direct_any(w, row, x, acc)) add_decoded(w, row, x, acc);
        for (int64_t r = 0; r < smaller<int64_t>(kDotRows, w.rows - row); ++r) {
            const float sum = reduce_add(acc[r][0]);
            out[row + r] = accumulate ? out[row + r] + sum : sum;
        }
    }
}

template <int kRows, int kTokens>
inline void float_block(const float* weight, int64_t stride, int64_t columns, const float* const* x,
                        float* const* out, int64_t row, int64_t first, bool accumulate) {
    F acc[kRows][kTokens];
    clear(acc);
    add_products<kRows, kTokens>(weight + row * stride, stride, x, 0, columns, acc);
    for (int t = 0; t < kTokens; ++t) {
        for (int r = 0; r < kRows; ++r) {
            const float sum = reduce_add(acc[r][t]);
            float& to = out[t][first + row + r];
            to = accumulate ? to + sum : sum;
        }
    }
}

template <int kTokens>
inline void float_tokens(const float* weight, int64_t stride, int64_t rows, int64_t columns,
                         const float* const* x, int64_t tokens, float* const* out, int64_t first,
                         bool accumulate) {
    if constexpr (kTokens > 1) {
        if (tokens < kTokens) {
            return float_tokens<kTokens - 1>(weight, stride, rows, columns, x, tokens, out, first,
                                             accumulate);
        }
    }
    int64_t row = 0;
    for (; row + kDotRows <= rows; row += kDotRows) {
        float_block<kDotRows, kTokens>(weight, stride, columns, x, out, row, first, accumulate);
    }
    for (; row < rows; ++row)
        float_block<1, kTokens>(weight, stride, columns, x, out, row, first, accumulate);
}

inline void float_matrix(const float* weight, int64_t stride, int64_t rows, int64_t columns,
                         const float* const* x, int64_t tokens, float* const* out, int64_t first,
                         bool accumulate) {
    while (tokens > 0) {
        const int64_t count = rows_of_turn(tokens, kDotTokens);
        float_tokens<kDotTokens>(weight, stride, rows, columns, x, count, out, first, accumulate);
        tokens -= count;
        x += count;
        out += count;
    }
}

constexpr int kMultiplyRows = kLanes == 16 ? 6 : 4;
constexpr int kMultiplyVectors = kLanes == 16 ? 4 : 2;

template <int kRows, int kVectors>
inline void multiply_block(const float* a, int64_t a_stride, const float* b, int64_t b_stride, int64_t depth,
                           float* c, int64_t c_stride, bool accumulate) {
    F acc[kRows][kVectors];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v)
            acc[r][v] = accumulate ? load(c + r * c_stride + v * kLanes) : zero();
    }
    for (int64_t k = 0; k < depth; ++k) {
        F line[kVectors];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) line[v] = load(b + k * b_stride + v * kLanes);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
            const F factor = set1(a[r * a_stride + k]);
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; ++v) acc[r][v] = fma(factor, line[v], acc[r][v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) store(c + r * c_stride + v * kLanes, acc[r][v]);
    }
}

template <int kRows>
inline void multiply_rows(const float* a, int64_t a_stride, int64_t rows, const float* b, int64_t b_stride,
                          int64_t depth, int64_t columns, float* c, int64_t c_stride, bool accumulate) {
    if constexpr (kRows > 1) {
        if (rows < kRows) {
            return multiply_rows<kRows - 1>(a, a_stride, rows, b, b_stride, depth, columns, c, c_stride,
                                            accumulate);
        }
    }
    int64_t column = 0;
    for (; column + kMultiplyVectors * kLanes <= columns; column += kMultiplyVectors * kLanes) {
        multiply_block<kRows, kMultiplyVectors>(a, a_stride, b + column, b_stride, depth, c + column,
                                                c_stride, accumulate);
    }
    for (; column < columns; column += kLanes) {
        multiply_block<kRows, 1>(a, a_stride, b + column, b_stride, depth, c + column, c_stride, accumulate);
    }
}

inline void multiply(const float* a, int64_t a_stride, int64_t rows, const float* b, int64_t b_stride,
                     int64_t depth, int64_t columns, float* c, int64_t c_stride, bool accumulate) {
    while (rows > 0) {
        const int64_t count = rows_of_turn(rows, kMultiplyRows);
        multiply_rows<kMultiplyRows>(a, a_stride, count, b, b_stride, depth, columns, c, c_stride,
                                     accumulate);
        rows -= count;
        a += count * a_stride;
        c += count * c_stride;
    }
}

}  // namespace
}  // namespace sluice
