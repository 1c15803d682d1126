#pragma once

// Products in float. A dot product keeps one vector of partial sums, lane j over the columns j, j + kLanes, ...,
// however many rows and activations are worked on at once.

#include "backend/cpu/isa/codes.inl.h"
#include "backend/cpu/isa/decode.inl.h"

namespace sluice {
namespace {

constexpr int kDotRows = 4;
constexpr int kDotTokens = kLanes == 16 ? 6 : 2;  // what the registers hold
constexpr int64_t kDotChunk = 512;                // columns decoded at a time, so that they stay in the first cache

// acc[r][t] += weight row r times x[t], over `columns` columns.
template <int kRows, int kTokens>
inline void add_products(const float* weight, int64_t stride, const float* const* x, int64_t first, int64_t columns,
                         F (&acc)[kRows][kTokens]) {
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

// Factors of runs [first, first + count) of a row, as floats: those of FP8 blocks, of E4M3 and of E8M0.
struct BlockFactors {
    static void load(const WeightView& w, int64_t row, int64_t runs, int64_t first, int64_t count, float* out) {
        const int64_t block_row = (w.block_row_offset + row) / w.format.group_rows;
        for (int64_t i = 0; i < count; ++i) out[i] = load_scale(w.scales, w.format.dtype, block_row * runs + first + i);
    }
};

struct E4m3Factors {
    static void load(const WeightView& w, int64_t row, int64_t runs, int64_t first, int64_t count, float* out) {
        alignas(64) std::byte bytes[kFactorRuns + kVectorBytes];
        __builtin_memcpy(bytes, w.scales + row * runs + first, static_cast<size_t>(count));
        for (int64_t i = 0; i < count; i += kLanes) store(out + i, load_e4m3(bytes + i));
    }
};

struct E8m0Factors {
    static void load(const WeightView& w, int64_t row, int64_t runs, int64_t first, int64_t count, float* out) {
        alignas(64) std::byte bytes[kFactorRuns + kVectorBytes];
        __builtin_memcpy(bytes, w.scales + row * runs + first, static_cast<size_t>(count));
        for (int64_t i = 0; i < count; ++i) out[i] = e8m0_factor(bytes[i]);
    }
};

// The rows after those at hand, to the second cache: they end before the processor has noticed the pattern.
inline void prefetch_rows(const std::byte* p) {
    __builtin_prefetch(p, 0, 2);
}

// Four rows straight from memory to products: what decoding and add_products() would do, without the detour.
template <typename Load>
inline void add_floats(const WeightView& w, int64_t row, int bits, const float* x, F (&acc)[kDotRows][1],
                       Load&& load_values) {
    const int64_t row_bytes = w.columns * bits / 8;
    const std::byte* rows[kDotRows];
    for (int r = 0; r < kDotRows; ++r) rows[r] = w.data + smaller(row + r, w.rows - 1) * row_bytes;
    F sums[kDotRows];
#pragma GCC unroll 4
    for (int r = 0; r < kDotRows; ++r) sums[r] = acc[r][0];
    for (int64_t i = 0; i < w.columns; i += kLanes) {
        const F v = load(x + i);
#pragma GCC unroll 4
        for (int r = 0; r < kDotRows; ++r) {
            const std::byte* p = rows[r] + i * bits / 8;
            if (i * bits / 8 % 64 == 0) prefetch_rows(p + kDotRows * row_bytes);
            sums[r] = fma(load_values(p), v, sums[r]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < kDotRows; ++r) acc[r][0] = sums[r];
}

// The same for codes with one factor per kRun columns, or per `run` columns, whole units, where kRun is 0.
template <typename Unit, typename Factors, int kRun>
inline void add_codes(const WeightView& w, int64_t row, int64_t run, const float* x, F (&acc)[kDotRows][1]) {
    constexpr int64_t kUnit = Unit::kVectors * kLanes;
    const int64_t width = kRun == 0 ? run : kRun;
    const int64_t runs = (w.columns + width - 1) / width;
    const int64_t bits = w.format.bits, row_bytes = w.columns * bits / 8;
    const std::byte* rows[kDotRows];
    for (int r = 0; r < kDotRows; ++r) rows[r] = w.data + smaller(row + r, w.rows - 1) * row_bytes;
    const Unit unit;
    alignas(64) float factors[kDotRows][kFactorRuns + kLanes];
    // By name and value: an array of sums would be stored at every step.
    static_assert(kDotRows == 4);
    F sum0 = acc[0][0], sum1 = acc[1][0], sum2 = acc[2][0], sum3 = acc[3][0];
    for (int64_t first = 0; first < runs; first += kFactorRuns) {
        const int64_t count = smaller(kFactorRuns, runs - first);
        for (int r = 0; r < kDotRows; ++r) {
            Factors::load(w, smaller(row + r, w.rows - 1), runs, first, count, factors[r]);
        }
        const int64_t begin = first * width, end = smaller((first + count) * width, w.columns);
        for (int64_t i = begin; i < end; i += kUnit) {
            const int64_t of_unit = (i - begin) / width, offset = i * bits / 8;
            F xs[Unit::kVectors];
#pragma GCC unroll 8
            for (int v = 0; v < Unit::kVectors; ++v) xs[v] = unit.arrange(load(x + i + v * kLanes));
            const auto added = [&](int r, F sum) {
                prefetch_rows(rows[r] + offset + kDotRows * row_bytes);
                const auto codes = unit.read(rows[r] + offset);
#pragma GCC unroll 8
                for (int v = 0; v < Unit::kVectors; ++v) {
                    const int inside = kRun == 0 ? 0 : v * kLanes / (kRun == 0 ? 1 : kRun);
                    const F factor = set1(factors[r][of_unit + inside]);
                    sum = fma(unit.scaled(codes, v, factor), xs[v], sum);
                }
                return sum;
            };
            sum0 = added(0, sum0);
            sum1 = added(1, sum1);
            sum2 = added(2, sum2);
            sum3 = added(3, sum3);
        }
    }
    acc[0][0] = Unit::restore(sum0);
    acc[1][0] = Unit::restore(sum1);
    acc[2][0] = Unit::restore(sum2);
    acc[3][0] = Unit::restore(sum3);
}

// Whether it did.
template <typename Unit, typename Factors, int kRun>
inline bool add_codes_if_whole(const WeightView& w, int64_t row, const float* x, F (&acc)[kDotRows][1]) {
    constexpr int64_t kUnit = Unit::kVectors * kLanes;
    const int64_t run = w.format.group_size;
    const bool runs_are_units = kRun == 0 ? run % kUnit == 0 : kRun % kLanes == 0;
    if (w.columns % kUnit != 0 || !runs_are_units) return false;
    add_codes<Unit, Factors, kRun>(w, row, run, x, acc);
    return true;
}

// Factors of groups [first, first + count) of a row, scales or zero points.
inline void load_group_factors(const WeightView& w, const std::byte* factors, int64_t row, int64_t first, int64_t count,
                               float* out) {
    const int bits = w.format.dtype == DType::kF32 ? 32 : 16;
    const std::byte* p = factors + (row * (w.columns / w.format.group_size) + first) * bits / 8;
    decode_values(w.format.dtype, p, count, out);
}

template <int kBits>
inline void add_affine_bits(const WeightView& w, int64_t row, const float* x, F (&acc)[kDotRows][1]) {
    const int64_t groups = w.columns / w.format.group_size, row_bytes = w.columns * kBits / 8;
    const std::byte* rows[kDotRows];
    for (int r = 0; r < kDotRows; ++r) rows[r] = w.data + smaller(row + r, w.rows - 1) * row_bytes;
    alignas(64) float scales[kDotRows][kFactorRuns], zero_points[kDotRows][kFactorRuns];
    alignas(64) uint8_t values[kDotRows][kVectorBytes];
    static_assert(kDotRows == 4);
    F sum0 = acc[0][0], sum1 = acc[1][0], sum2 = acc[2][0], sum3 = acc[3][0];
    for (int64_t first = 0; first < groups; first += kFactorRuns) {
        const int64_t count = smaller(kFactorRuns, groups - first);
        for (int r = 0; r < kDotRows; ++r) {
            load_group_factors(w, w.scales, smaller(row + r, w.rows - 1), first, count, scales[r]);
            load_group_factors(w, w.zero_points, smaller(row + r, w.rows - 1), first, count, zero_points[r]);
        }
        const int64_t begin = first * w.format.group_size, end = begin + count * w.format.group_size;
        for (int64_t column = begin; column < end; column += kVectorBytes) {
            const int64_t group = column / w.format.group_size - first, offset = column * kBits / 8;
#pragma GCC unroll 4
            for (int r = 0; r < kDotRows; ++r) {
                prefetch_rows(rows[r] + offset + kDotRows * row_bytes);
                istore(values[r], unpack<kBits>(rows[r] + offset));
            }
#pragma GCC unroll 4
            for (int i = 0; i < kVectorBytes; i += kLanes) {
                const F v = load(x + column + i);
                const auto added = [&](int r, F sum) {
                    const F scaled = mul(load_u8(values[r] + i), set1(scales[r][group]));
                    return fma(add(scaled, set1(zero_points[r][group])), v, sum);
                };
                sum0 = added(0, sum0);
                sum1 = added(1, sum1);
                sum2 = added(2, sum2);
                sum3 = added(3, sum3);
            }
        }
    }
    acc[0][0] = sum0;
    acc[1][0] = sum1;
    acc[2][0] = sum2;
    acc[3][0] = sum3;
}

inline bool add_affine(const WeightView& w, int64_t row, const float* x, F (&acc)[kDotRows][1]) {
    if (w.format.group_size % kVectorBytes != 0) return false;
    with_bits(w.format.bits, [&]<int kBits>() { add_affine_bits<kBits>(w, row, x, acc); });
    return true;
}

inline bool add_plain(const WeightView& w, int64_t row, const float* x, F (&acc)[kDotRows][1]) {
    if (w.columns % kLanes != 0) return false;
    if (w.format.dtype == DType::kBF16) {
        add_floats(w, row, 16, x, acc, [](const std::byte* p) { return load_bf16(p); });
    } else if (w.format.dtype == DType::kF16) {
        add_floats(w, row, 16, x, acc, [](const std::byte* p) { return load_f16(p); });
    } else {
        add_floats(w, row, 32, x, acc, [](const std::byte* p) { return load_f32(p); });
    }
    return true;
}

using AddRows = bool (*)(const WeightView& w, int64_t row, const float* x, F (&acc)[kDotRows][1]);

template <DecodeColumns kDecode>
inline void add_decoded(const WeightView& w, int64_t row, const float* x, F (&acc)[kDotRows][1]) {
    alignas(64) float rows[kDotRows][kDotChunk];
    for (int64_t first = 0; first < w.columns; first += kDotChunk) {
        const int64_t count = smaller(kDotChunk, w.columns - first);
        for (int r = 0; r < kDotRows; ++r) kDecode(w, smaller(row + r, w.rows - 1), first, count, rows[r]);
        add_products<kDotRows, 1>(rows[0], kDotChunk, &x, first, count, acc);
    }
}

// kAdd says whether it could; where not, or without it, rows are decoded first.
template <DecodeColumns kDecode, AddRows kAdd>
inline void float_vector(const WeightView& w, const float* x, float* out, bool accumulate) {
    for (int64_t row = 0; row < w.rows; row += kDotRows) {
        F acc[kDotRows][1];
        clear(acc);
        bool added = false;
        if constexpr (kAdd != nullptr) added = kAdd(w, row, x, acc);
        if (!added) add_decoded<kDecode>(w, row, x, acc);
        for (int64_t r = 0; r < smaller<int64_t>(kDotRows, w.rows - row); ++r) {
            const float sum = reduce_add(acc[r][0]);
            out[row + r] = accumulate ? out[row + r] + sum : sum;
        }
    }
}

template <int kRows, int kTokens>
inline void float_block(const float* weight, int64_t stride, int64_t columns, const float* const* x, float* const* out,
                        int64_t row, int64_t first, bool accumulate) {
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
inline void float_tokens(const float* weight, int64_t stride, int64_t rows, int64_t columns, const float* const* x,
                         int64_t tokens, float* const* out, int64_t first, bool accumulate) {
    if constexpr (kTokens > 1) {
        if (tokens < kTokens) {
            return float_tokens<kTokens - 1>(weight, stride, rows, columns, x, tokens, out, first, accumulate);
        }
    }
    int64_t row = 0;
    for (; row + kDotRows <= rows; row += kDotRows) {
        float_block<kDotRows, kTokens>(weight, stride, columns, x, out, row, first, accumulate);
    }
    for (; row < rows; ++row) float_block<1, kTokens>(weight, stride, columns, x, out, row, first, accumulate);
}

inline void float_matrix(const float* weight, int64_t stride, int64_t rows, int64_t columns, const float* const* x,
                         int64_t tokens, float* const* out, int64_t first, bool accumulate) {
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
inline void multiply_block(const float* a, int64_t a_stride, const float* b, int64_t b_stride, int64_t depth, float* c,
                           int64_t c_stride, bool accumulate) {
    F acc[kRows][kVectors];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) acc[r][v] = accumulate ? load(c + r * c_stride + v * kLanes) : zero();
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
            return multiply_rows<kRows - 1>(a, a_stride, rows, b, b_stride, depth, columns, c, c_stride, accumulate);
        }
    }
    int64_t column = 0;
    for (; column + kMultiplyVectors * kLanes <= columns; column += kMultiplyVectors * kLanes) {
        multiply_block<kRows, kMultiplyVectors>(a, a_stride, b + column, b_stride, depth, c + column, c_stride,
                                                accumulate);
    }
    for (; column < columns; column += kLanes) {
        multiply_block<kRows, 1>(a, a_stride, b + column, b_stride, depth, c + column, c_stride, accumulate);
    }
}

inline void multiply(const float* a, int64_t a_stride, int64_t rows, const float* b, int64_t b_stride, int64_t depth,
                     int64_t columns, float* c, int64_t c_stride, bool accumulate) {
    while (rows > 0) {
        const int64_t count = rows_of_turn(rows, kMultiplyRows);
        multiply_rows<kMultiplyRows>(a, a_stride, count, b, b_stride, depth, columns, c, c_stride, accumulate);
        rows -= count;
        a += count * a_stride;
        c += count * c_stride;
    }
}

}  // namespace
}  // namespace sluice
