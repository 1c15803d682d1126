#pragma once

// Elementary functions on vectors. Included after a simd_*.h.

namespace sluice {
namespace {

template <typename T>
constexpr T smaller(T a, T b) {
    return a < b ? a : b;
}

// How many of `rows` rows a kernel takes at once that holds at most `most`. The last two turns share what is left: one
// short turn would leave most registers idle.
inline int64_t rows_of_turn(int64_t rows, int64_t most) {
    if (rows >= 2 * most) return most;
    return rows > most ? (rows + 1) / 2 : rows;
}

// e^x to 1 ulp or so: Cody-Waite reduction to |r| <= ln2 / 2, then the Taylor polynomial of degree 7. Zero under
// 2^-126. The bounds come first in min and max so that a NaN stays one.
inline F exponential(F x) {
    const F bounded = min(set1(88.3f), max(set1(-87.3f), x));
    const F n = round_even(mul(bounded, set1(1.44269504088896341f)));
    F r = fma(n, set1(-0.693145751953125f), bounded);
    r = fma(n, set1(-1.42860682030941723e-6f), r);
    F p = set1(1.0f / 5040.0f);
    p = fma(p, r, set1(1.0f / 720.0f));
    p = fma(p, r, set1(1.0f / 120.0f));
    p = fma(p, r, set1(1.0f / 24.0f));
    p = fma(p, r, set1(1.0f / 6.0f));
    p = fma(p, r, set1(0.5f));
    p = fma(p, r, set1(1.0f));
    p = fma(p, r, set1(1.0f));
    return select_less(x, set1(-87.3f), zero(), mul(p, power_of_two(n)));
}

inline F sigmoid(F x) {
    return div(set1(1.0f), add(set1(1.0f), exponential(sub(zero(), x))));
}

inline F silu(F x) {
    return mul(x, sigmoid(x));
}

// function(i, n) for vectors of n lanes that cover [0, count); n is kLanes but for the last.
template <typename Function>
inline void for_vectors(int64_t count, Function&& function) {
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) function(i, kLanes);
    if (i < count) function(i, static_cast<int>(count - i));
}

// load_n and store_n that cost nothing for whole vectors.
inline F load_some(const float* p, int n) {
    return n == kLanes ? load(p) : load_n(p, n);
}
inline void store_some(float* p, F v, int n) {
    if (n == kLanes) {
        store(p, v);
    } else {
        store_n(p, v, n);
    }
}

}  // namespace
}  // namespace sluice
