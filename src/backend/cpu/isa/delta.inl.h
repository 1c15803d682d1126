#pragma once

// The gated delta rule, token by token: S = g S; S += beta (v - S k) k^T; out = S q. Lanes are rows of S, which do not
// meet: a block of rows is turned to [key_dim, rows] once, stays in the first cache over all tokens, and no sum crosses
// lanes. A decay for each channel meets the key and the query that the old state is asked with instead of its answers.

#include "backend/cpu/isa/math.inl.h"
#include "backend/cpu/kernels.h"

namespace sluice {
namespace {

inline float dot(const float* a, const float* b, int64_t count) {
    F sum = zero();
    for_vectors(count, [&](int64_t i, int n) { sum = fma(load_some(a + i, n), load_some(b + i, n), sum); });
    return reduce_add(sum);
}

// Rows [first, first + count) of the state, kVectors vectors of them. Every sum runs over ascending columns, so how
// many tokens come at once changes no bit.
template <int kVectors, bool kByChannel>
struct DeltaBlock {
    const DeltaRows& d;
    int64_t first, count;
    F read[kVectors], result[kVectors];  // S k and S q of the coming token, S as the token before left it
    F step[kVectors];                    // what the token adds, times its key

    static constexpr int64_t kWidth = kVectors * kLanes;

    int lanes(int v) const {
        return static_cast<int>(smaller<int64_t>(kLanes, count - static_cast<int64_t>(v) * kLanes));
    }
    float* turned(int64_t column) const { return d.turned + column * kWidth; }
    float* state(int64_t row, int64_t column) const { return d.state + (first + row) * d.state_stride + column; }
    const float* key(int64_t t) const { return d.keys + t * d.key_stride; }
    const float* asked_key(int64_t t) const { return d.asked_keys + t * d.asked_stride; }
    const float* asked_query(int64_t t) const { return d.asked_queries + t * d.asked_stride; }
    // Of one channel, the same for all unless each has its own.
    struct Decay {
        F of_all;
        const float* each;
        F at(int64_t column) const { return kByChannel ? set1(each[column]) : of_all; }
        F of_answer(F x) const { return kByChannel ? x : mul(of_all, x); }
    };
    Decay decay(int64_t t) const {
        if constexpr (kByChannel) return {zero(), d.decays + t * d.asked_stride};
        return {set1(d.decay[t * d.gate_stride]), nullptr};
    }

    void clear() {
        for (int v = 0; v < kVectors; ++v) read[v] = result[v] = zero();
    }
    void add(int v, F s, F k, F q) {
        read[v] = fma(s, k, read[v]);
        result[v] = fma(s, q, result[v]);
    }

    void enter() {
        clear();
        for_vectors(d.key_dim, [&](int64_t column, int n) {
            for (int v = 0; v < kVectors; ++v) {
                I lines[kLanes];
                for (int i = 0; i < kLanes; ++i) {
                    lines[i] = i < lanes(v) ? as_int(load_some(state(v * kLanes + i, column), n)) : izero();
                }
                transpose(lines);
                for (int i = 0; i < n; ++i) {
                    store(turned(column + i) + v * kLanes, as_float(lines[i]));
                    add(v, as_float(lines[i]), set1(asked_key(0)[column + i]), set1(asked_query(0)[column + i]));
                }
            }
        });
    }
    void answer(int64_t t) {
        const Decay g = decay(t);
        const F rate = set1(d.beta[t * d.gate_stride]);
        const F key_query = set1(d.key_query[t * d.dot_stride]);
        for (int v = 0; v < kVectors; ++v) {
            const int64_t row = first + v * kLanes;
            const F value = load_some(d.values + t * d.value_stride + row, lanes(v));
            step[v] = mul(rate, sub(value, g.of_answer(read[v])));
            // S q after the update, from the state before it: g (S0 q) + step (k . q).
            store_some(d.out + t * d.out_stride + row, fma(step[v], key_query, g.of_answer(result[v])), lanes(v));
        }
    }
    // Token t enters the state while token t + 1 reads it.
    void advance(int64_t t) {
        const Decay g = decay(t);
        const float *before = key(t), *next = asked_key(t + 1), *asked = asked_query(t + 1);
        const int64_t columns = d.key_dim;
        float* place = d.turned;
        F added[kVectors], reads[kVectors], results[kVectors];
        for (int v = 0; v < kVectors; ++v) {
            added[v] = step[v];
            reads[v] = results[v] = zero();
        }
#pragma GCC unroll 4
        for (int64_t column = 0; column < columns; ++column, place += kWidth) {
            const F b = set1(before[column]), k = set1(next[column]), q = set1(asked[column]), kept = g.at(column);
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; ++v) {
                const F s = fma(added[v], b, mul(load(place + v * kLanes), kept));
                store(place + v * kLanes, s);
                reads[v] = fma(s, k, reads[v]);
                results[v] = fma(s, q, results[v]);
            }
        }
        for (int v = 0; v < kVectors; ++v) {
            read[v] = reads[v];
            result[v] = results[v];
        }
    }
    void leave() {
        const int64_t t = d.tokens - 1;
        const Decay g = decay(t);
        for_vectors(d.key_dim, [&](int64_t column, int n) {
            for (int v = 0; v < kVectors; ++v) {
                I lines[kLanes];
                for (int i = 0; i < kLanes; ++i) lines[i] = izero();
                for (int i = 0; i < n; ++i) {
                    const F s = load(turned(column + i) + v * kLanes);
                    lines[i] = as_int(fma(step[v], set1(key(t)[column + i]), mul(s, g.at(column + i))));
                }
                transpose(lines);
                for (int i = 0; i < lanes(v); ++i) store_some(state(v * kLanes + i, column), as_float(lines[i]), n);
            }
        });
    }
    void run() {
        enter();
        for (int64_t t = 0; t + 1 < d.tokens; ++t) {
            answer(t);
            advance(t);
        }
        answer(d.tokens - 1);
        leave();
    }
};

template <bool kByChannel>
inline void run_delta_blocks(const DeltaRows& d) {
    for (int64_t row = 0; row < d.rows;) {
        const int64_t count = smaller<int64_t>(2 * kLanes, d.rows - row);
        if (count > kLanes) {
            DeltaBlock<2, kByChannel>{d, row, count, {}, {}, {}}.run();
        } else {
            DeltaBlock<1, kByChannel>{d, row, count, {}, {}, {}}.run();
        }
        row += count;
    }
}

inline void delta_rows(const DeltaRows& d) {
    if (d.decays != nullptr) return run_delta_blocks<true>(d);
    run_delta_blocks<false>(d);
}

}  // namespace
}  // namespace sluice
