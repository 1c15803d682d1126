#pragma once

// Rows of floats: norms, gates, softmax, convolution, rotation.

#include "backend/cpu/isa/math.inl.h"

namespace sluice {
namespace {

inline float sum_of_squares(const float* x, int64_t count) {
    F sum = zero();
    for_vectors(count, [&](int64_t i, int n) {
        const F v = load_some(x + i, n);
        sum = fma(v, v, sum);
    });
    return reduce_add(sum);
}

inline float rms_factor(const float* x, int64_t count, float epsilon) {
    return 1.0f / __builtin_sqrtf(sum_of_squares(x, count) / static_cast<float>(count) + epsilon);
}

inline void rms_norm(const float* x, const float* weight, int64_t count, float epsilon, float* out) {
    const F factor = set1(rms_factor(x, count, epsilon));
    for_vectors(count, [&](int64_t i, int n) {
        store_some(out + i, mul(mul(load_some(x + i, n), factor), load_some(weight + i, n)), n);
    });
}

template <bool kSigmoid>
inline void gated_rms_norm(const float* x, const float* z, const float* weight, int64_t count, float epsilon,
                           float* out) {
    const F factor = set1(rms_factor(x, count, epsilon));
    for_vectors(count, [&](int64_t i, int n) {
        const F normed = mul(mul(load_some(x + i, n), factor), load_some(weight + i, n));
        const F gate = load_some(z + i, n);
        store_some(out + i, mul(normed, kSigmoid ? sigmoid(gate) : silu(gate)), n);
    });
}

inline void normalize_l2(const float* x, int64_t count, float epsilon, float scale, float* out) {
    const F factor = set1(scale / __builtin_sqrtf(sum_of_squares(x, count) + epsilon));
    for_vectors(count, [&](int64_t i, int n) { store_some(out + i, mul(load_some(x + i, n), factor), n); });
}

inline void silu_multiply(const float* gate, const float* up, int64_t count, float* out) {
    for_vectors(count, [&](int64_t i, int n) {
        store_some(out + i, mul(silu(load_some(gate + i, n)), load_some(up + i, n)), n);
    });
}

inline void sigmoid_multiply(const float* gate, int64_t count, float* x) {
    for_vectors(count, [&](int64_t i, int n) {
        store_some(x + i, mul(load_some(x + i, n), sigmoid(load_some(gate + i, n))), n);
    });
}

inline void sigmoid_row(const float* x, int64_t count, float* out) {
    for_vectors(count, [&](int64_t i, int n) { store_some(out + i, sigmoid(load_some(x + i, n)), n); });
}

inline void softmax(const float* x, int64_t count, float* out) {
    float largest = x[0];
    for (int64_t i = 1; i < count; ++i) largest = x[i] > largest ? x[i] : largest;
    float sum = 0;
    for_vectors(
        count, [&](int64_t i, int n) { store_some(out + i, exponential(sub(load_some(x + i, n), set1(largest))), n); });
    for (int64_t i = 0; i < count; ++i) sum += out[i];
    const F total = set1(sum);
    for_vectors(count, [&](int64_t i, int n) { store_some(out + i, div(load_some(out + i, n), total), n); });
}

inline void add_scaled(const float* x, float factor, int64_t count, float* out) {
    const F f = set1(factor);
    for_vectors(count,
                [&](int64_t i, int n) { store_some(out + i, fma(load_some(x + i, n), f, load_some(out + i, n)), n); });
}

// weights: [kernel, channels], the taps side by side in vectors.
inline void convolve_silu(const float* const* taps, const float* weights, int64_t kernel, int64_t channels,
                          float* out) {
    for_vectors(channels, [&](int64_t i, int n) {
        F sum = zero();
        for (int64_t tap = 0; tap < kernel; ++tap) {
            sum = fma(load_some(taps[tap] + i, n), load_some(weights + tap * channels + i, n), sum);
        }
        store_some(out + i, silu(sum), n);
    });
}

inline void rotate_halves(float* first, float* second, const float* cosine, const float* sine, int64_t count) {
    for_vectors(count, [&](int64_t i, int n) {
        const F a = load_some(first + i, n), b = load_some(second + i, n);
        const F c = load_some(cosine + i, n), s = load_some(sine + i, n);
        store_some(first + i, sub(mul(a, c), mul(b, s)), n);
        store_some(second + i, add(mul(b, c), mul(a, s)), n);
    });
}

}  // namespace
}  // namespace sluice
