#pragma once

#include <cmath>
#include <cstdint>

#include "backend/host_tensors.h"

namespace sluice::reference {

// The rows of a tensor in host memory.
template <typename Element>
struct Rows {
    Element* first;
    int64_t stride;
    Element* operator[](int64_t row) const { return first + row * stride; }
};

inline Rows<const float> rows_of(const Tensor& tensor) {
    return {floats(tensor), tensor.row_stride};
}
inline Rows<float> writable_rows_of(const Tensor& tensor) {
    return {writable_floats(tensor), tensor.row_stride};
}

inline double sigmoid(double x) {
    return 1.0 / (1.0 + std::exp(-x));
}
inline double silu(double x) {
    return x * sigmoid(x);
}
inline double gelu_tanh(double x) {
    constexpr double kRootOfTwoOverPi = 0.79788456080286535588;
    return 0.5 * x * (1.0 + std::tanh(kRootOfTwoOverPi * (x + 0.044715 * x * x * x)));
}
// exp(x) overflows where log(1 + exp(x)) is x anyway.
inline double softplus(double x) {
    return x > 30.0 ? x : std::log1p(std::exp(x));
}

inline double dot(const float* a, const float* b, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(a[i]) * b[i];
    return sum;
}

// 1 / sqrt(mean(x^2) + epsilon).
inline double inverse_rms(const float* x, int64_t count, double epsilon) {
    return 1.0 / std::sqrt(dot(x, x, count) / static_cast<double>(count) + epsilon);
}

}  // namespace sluice::reference
