// Operations of a residual of several streams.

#include <algorithm>
#include <cmath>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/floats.h"
#include "backend/host_tensors.h"

namespace sluice {

namespace {

constexpr int64_t kMixedColumns = 64;  // of all streams that are copied before they are written

double logistic(double x) {
    return 1.0 / (1.0 + std::exp(-x));
}

// Divides `count` values, `stride` apart, by their sum.
void divide_by_sum(double* values, int64_t count, int64_t stride, double epsilon) {
    double sum = epsilon;
    for (int64_t i = 0; i < count; ++i) sum += values[i * stride];
    for (int64_t i = 0; i < count; ++i) values[i * stride] /= sum;
}

void divide_rows(double* mix, int64_t n, double epsilon) {
    for (int64_t i = 0; i < n; ++i) divide_by_sum(mix + i * n, n, 1, epsilon);
}

void divide_columns(double* mix, int64_t n, double epsilon) {
    for (int64_t i = 0; i < n; ++i) divide_by_sum(mix + i, n, n, epsilon);
}

void make_mix(double* mix, int64_t n, int64_t rounds, double epsilon) {
    for (int64_t row = 0; row < n; ++row) {
        double* values = mix + row * n;
        const double largest = *std::max_element(values, values + n);
        for (int64_t i = 0; i < n; ++i) values[i] = std::exp(values[i] - largest);
    }
    divide_rows(mix, n, 0);
    for (int64_t i = 0; i < n * n; ++i) mix[i] += epsilon;
    divide_columns(mix, n, epsilon);
    for (int64_t round = 1; round < rounds; ++round) {
        divide_rows(mix, n, epsilon);
        divide_columns(mix, n, epsilon);
    }
}

}  // namespace

void CpuBackend::compute(const ConnectStreams& op) {
    float* coefficients = writable_floats(op.coefficients);
    const float *streams = floats(op.streams), *base = floats(op.base), *scale = floats(op.scale);
    const int64_t n = op.count, width = op.streams.columns;
    for_rows(op.coefficients.rows, width + 64 * op.coefficients.columns, [&](int64_t t) {
        float* row = coefficients + t * op.coefficients.row_stride;
        const float* all = streams + t * op.streams.row_stride;
        const double square = kernels_.dot(all, all, width) / static_cast<double>(width);
        const double norm = 1.0 / std::sqrt(square + op.norm_epsilon);
        std::vector<double> y(static_cast<size_t>(op.coefficients.columns));
        for (int64_t i = 0; i < op.coefficients.columns; ++i) {
            y[static_cast<size_t>(i)] = row[i] * norm * scale[std::min<int64_t>(i / n, 2)] + base[i];
        }
        for (int64_t k = 0; k < n; ++k) y[static_cast<size_t>(k)] = logistic(y[static_cast<size_t>(k)]) + op.epsilon;
        if (!op.reads_alone()) {
            for (int64_t k = n; k < 2 * n; ++k) y[static_cast<size_t>(k)] = 2 * logistic(y[static_cast<size_t>(k)]);
            make_mix(y.data() + 2 * n, n, op.rounds, op.epsilon);
        }
        std::ranges::transform(y, row, [](double value) { return static_cast<float>(value); });
    });
}

void CpuBackend::compute(const WeighStreams& op) {
    const float* streams = floats(op.streams);
    const float* weights = op.weights.buffer == nullptr ? nullptr : floats(op.weights);
    float* out = writable_floats(op.out);
    const int64_t hidden = op.out.columns, n = op.streams.columns / hidden;
    for_rows(op.out.rows, op.streams.columns, [&](int64_t t) {
        float* row = out + t * op.out.row_stride;
        std::fill_n(row, hidden, 0.0f);
        for (int64_t k = 0; k < n; ++k) {
            const float weight =
                weights == nullptr ? 1 / static_cast<float>(n) : weights[t * op.weights.row_stride + k];
            kernels_.add_scaled(streams + t * op.streams.row_stride + k * hidden, weight, hidden, row);
        }
    });
}

void CpuBackend::compute(const MixStreams& op) {
    const float *x = floats(op.x), *weights = floats(op.weights);
    const float* mix = op.mix.buffer == nullptr ? nullptr : floats(op.mix);
    float* streams = writable_floats(op.streams);
    const int64_t hidden = op.x.columns, n = op.weights.columns;
    for_rows(op.x.rows, n * op.streams.columns, [&](int64_t t) {
        const float* shares = weights + t * op.weights.row_stride;
        float* row = streams + t * op.streams.row_stride;
        std::vector<float> before(static_cast<size_t>(mix == nullptr ? 0 : n * kMixedColumns));
        for (int64_t first = 0; first < hidden; first += kMixedColumns) {
            const int64_t count = std::min(kMixedColumns, hidden - first);
            for (int64_t j = 0; j < n && mix != nullptr; ++j) {
                copy_floats(before.data() + j * kMixedColumns, row + j * hidden + first, count);
                std::fill_n(row + j * hidden + first, count, 0.0f);
            }
            for (int64_t k = 0; k < n; ++k) {
                float* target = row + k * hidden + first;
                for (int64_t j = 0; j < n && mix != nullptr; ++j) {
                    const float share = mix[t * op.mix.row_stride + j * n + k];
                    kernels_.add_scaled(before.data() + j * kMixedColumns, share, count, target);
                }
                kernels_.add_scaled(x + t * op.x.row_stride + first, shares[k], count, target);
            }
        }
    });
}

}  // namespace sluice
