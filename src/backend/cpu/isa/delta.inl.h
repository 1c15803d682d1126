#pragma once

// The gated delta rule, token by token: S = g S; S += beta (v - S k) k^T; out = S q. Rows of S do not meet,
// so a few rows stay in registers over all tokens.

#include "backend/cpu/isa/math.inl.h"
#include "backend/cpu/kernels.h"

namespace sluice {
namespace {

// Both sums of a token come from one look at the old state: S k = g (S0 k), and S q = g (S0 q) + step (k .
// q).
struct DeltaSums {
    F read, result;
};

inline float delta_step(const DeltaRows& d, int64_t t, int64_t row, const DeltaSums& sums, float key_query) {
    const float decay = d.decay[t * d.gate_stride];
    const float value = d.values[t * d.value_stride + row];
    const float step = d.beta[t * d.gate_stride] * (value - decay * reduce_add(sums.read));
    d.out[t * d.out_stride + row] = decay * reduce_add(sums.result) + step * key_query;
    return step;
}

inline float dot(const float* a, const float* b, int64_t count) {
    F sum = zero();
    for_vectors(count, [&](int64_t i, int n) { sum = fma(load_some(a + i, n), load_some(b + i, n), sum); });
    return reduce_add(sum);
}

template <int kRows, int kVectors>
inline void delta_block(const DeltaRows& d, int64_t row) {
    F s[kRows][kVectors];
    for (int r = 0; r < kRows; ++r) {
        for (int v = 0; v < kVectors; ++v) s[r][v] = load(d.state + (row + r) * d.state_stride + v * kLanes);
    }
    for (int64_t t = 0; t < d.tokens; ++t) {
        const float* key = d.keys + t * d.key_stride;
        const float* query = d.queries + t * d.key_stride;
        DeltaSums sums[kRows];
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) sums[r] = {zero(), zero()};
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) {
            const F k = load(key + v * kLanes), q = load(query + v * kLanes);
#pragma GCC unroll 4
            for (int r = 0; r < kRows; ++r) {
                sums[r].read = fma(s[r][v], k, sums[r].read);
                sums[r].result = fma(s[r][v], q, sums[r].result);
            }
        }
        const F decay = set1(d.decay[t * d.gate_stride]);
        F step[kRows];
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r)
            step[r] = set1(delta_step(d, t, row + r, sums[r], d.key_query[t * d.dot_stride]));
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) {
            const F k = load(key + v * kLanes);
#pragma GCC unroll 4
            for (int r = 0; r < kRows; ++r) s[r][v] = fma(step[r], k, mul(s[r][v], decay));
        }
    }
    for (int r = 0; r < kRows; ++r) {
        for (int v = 0; v < kVectors; ++v) store(d.state + (row + r) * d.state_stride + v * kLanes, s[r][v]);
    }
}

inline void delta_row_any(const DeltaRows& d, int64_t row) {
    float* state = d.state + row * d.state_stride;
    for (int64_t t = 0; t < d.tokens; ++t) {
        const float* key = d.keys + t * d.key_stride;
        const float* query = d.queries + t * d.key_stride;
        DeltaSums sums = {zero(), zero()};
        for_vectors(d.key_dim, [&](int64_t i, int n) {
            const F s = load_some(state + i, n);
            sums.read = fma(s, load_some(key + i, n), sums.read);
            sums.result = fma(s, load_some(query + i, n), sums.result);
        });
        const F decay = set1(d.decay[t * d.gate_stride]);
        const F step = set1(delta_step(d, t, row, sums, d.key_query[t * d.dot_stride]));
        for_vectors(d.key_dim, [&](int64_t i, int n) {
            store_some(state + i, fma(step, load_some(key + i, n), mul(load_some(state + i, n), decay)), n);
        });
    }
}

template <int kRows, int kVectors>
inline void delta_fixed(const DeltaRows& d) {
    int64_t row = 0;
    for (; row + kRows <= d.rows; row += kRows) delta_block<kRows, kVectors>(d, row);
    for (; row < d.rows; ++row) delta_block<1, kVectors>(d, row);
}

inline void delta_rows(const DeltaRows& d) {
    if (d.key_dim == 128) return delta_fixed < kLanes == 16 ? 3 : 2, 128 / kLanes > (d);
    if (d.key_dim == 64) return delta_fixed<4, 64 / kLanes>(d);
    for (int64_t row = 0; row < d.rows; ++row) delta_row_any(d, row);
}

}  // namespace
}  // namespace sluice
