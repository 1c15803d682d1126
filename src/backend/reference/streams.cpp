// A residual of several streams: how blocks read it and what it becomes behind them.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "backend/reference/math.h"
#include "backend/reference/operations.h"

namespace sluice::reference {

namespace {

// A square matrix of weights that Sinkhorn's rounds bring to sums of 1.
class Mix {
  public:
    Mix(std::vector<double> values, int64_t count) : values_(std::move(values)), count_(count) {}

    void softmax_of_rows() {
        for (int64_t row = 0; row < count_; ++row) {
            double largest = at(row, 0), sum = 0;
            for (int64_t column = 0; column < count_; ++column) largest = std::max(largest, at(row, column));
            for (int64_t column = 0; column < count_; ++column)
                sum += at(row, column) = std::exp(at(row, column) - largest);
            for (int64_t column = 0; column < count_; ++column) at(row, column) /= sum;
        }
    }
    void add(double epsilon) {
        for (double& value : values_) value += epsilon;
    }
    void divide_rows(double epsilon) {
        for (int64_t row = 0; row < count_; ++row) {
            double sum = epsilon;
            for (int64_t column = 0; column < count_; ++column) sum += at(row, column);
            for (int64_t column = 0; column < count_; ++column) at(row, column) /= sum;
        }
    }
    void divide_columns(double epsilon) {
        for (int64_t column = 0; column < count_; ++column) {
            double sum = epsilon;
            for (int64_t row = 0; row < count_; ++row) sum += at(row, column);
            for (int64_t row = 0; row < count_; ++row) at(row, column) /= sum;
        }
    }
    const std::vector<double>& values() const { return values_; }

  private:
    double& at(int64_t row, int64_t column) { return values_[static_cast<size_t>(row * count_ + column)]; }

    std::vector<double> values_;
    int64_t count_;
};

}  // namespace

void compute(const ConnectStreams& op) {
    const auto coefficients = writable_rows_of(op.coefficients);
    const auto streams = rows_of(op.streams);
    const float *base = rows_of(op.base)[0], *scale = rows_of(op.scale)[0];
    const int64_t n = op.count;
    for (int64_t t = 0; t < op.coefficients.rows; ++t) {
        float* row = coefficients[t];
        const double norm = inverse_rms(streams[t], op.streams.columns, op.norm_epsilon);
        std::vector<double> y;
        for (int64_t i = 0; i < op.coefficients.columns; ++i) {
            y.push_back(row[i] * norm * scale[std::min<int64_t>(i / n, 2)] + base[i]);
        }
        for (int64_t k = 0; k < n; ++k) row[k] = static_cast<float>(sigmoid(y[static_cast<size_t>(k)]) + op.epsilon);
        if (op.reads_alone()) continue;
        for (int64_t k = n; k < 2 * n; ++k) row[k] = static_cast<float>(2 * sigmoid(y[static_cast<size_t>(k)]));
        Mix mix({y.begin() + 2 * n, y.end()}, n);
        mix.softmax_of_rows();
        mix.add(op.epsilon);
        mix.divide_columns(op.epsilon);
        for (int64_t round = 1; round < op.rounds; ++round) {
            mix.divide_rows(op.epsilon);
            mix.divide_columns(op.epsilon);
        }
        for (int64_t i = 0; i < n * n; ++i) row[2 * n + i] = static_cast<float>(mix.values()[static_cast<size_t>(i)]);
    }
}

void compute(const WeighStreams& op) {
    const auto streams = rows_of(op.streams);
    const auto out = writable_rows_of(op.out);
    const int64_t hidden = op.out.columns, n = op.streams.columns / hidden;
    for (int64_t t = 0; t < op.out.rows; ++t) {
        for (int64_t i = 0; i < hidden; ++i) {
            double sum = 0;
            for (int64_t k = 0; k < n; ++k) {
                const double weight =
                    op.weights.buffer == nullptr ? 1.0 / static_cast<double>(n) : rows_of(op.weights)[t][k];
                sum += weight * streams[t][k * hidden + i];
            }
            out[t][i] = static_cast<float>(sum);
        }
    }
}

void compute(const MixStreams& op) {
    const auto x = rows_of(op.x);
    const auto weights = rows_of(op.weights);
    const auto streams = writable_rows_of(op.streams);
    const int64_t hidden = op.x.columns, n = op.weights.columns;
    std::vector<double> before(static_cast<size_t>(n));
    for (int64_t t = 0; t < op.x.rows; ++t) {
        for (int64_t i = 0; i < hidden; ++i) {
            for (int64_t k = 0; k < n; ++k) before[static_cast<size_t>(k)] = streams[t][k * hidden + i];
            for (int64_t k = 0; k < n; ++k) {
                double sum = static_cast<double>(weights[t][k]) * x[t][i];
                for (int64_t j = 0; j < n; ++j) {
                    const double share =
                        op.mix.buffer == nullptr ? (j == k ? 1.0 : 0.0) : rows_of(op.mix)[t][j * n + k];
                    sum += share * before[static_cast<size_t>(j)];
                }
                streams[t][k * hidden + i] = static_cast<float>(sum);
            }
        }
    }
}

}  // namespace sluice::reference
