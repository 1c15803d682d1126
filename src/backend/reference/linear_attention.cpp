#include <algorithm>
#include <vector>

#include "backend/host_sequences.h"
#include "backend/reference/math.h"
#include "backend/reference/operations.h"

namespace sluice::reference {

void compute(const SplitLinearProjections& op) {
    const auto qkvz = rows_of(op.qkvz);
    const auto ba = rows_of(op.ba);
    const auto qkv = writable_rows_of(op.qkv);
    const auto z = writable_rows_of(op.z);
    const auto b = writable_rows_of(op.b);
    const auto a = writable_rows_of(op.a);
    const int64_t per_key_head = op.value_heads / op.key_heads;
    const int64_t keys = op.key_heads * op.key_dim;
    const int64_t values = per_key_head * op.value_dim;
    for (int64_t t = 0; t < op.qkvz.rows; ++t) {
        for (int64_t h = 0; h < op.key_heads; ++h) {
            const float* head = qkvz[t] + h * 2 * (op.key_dim + values);
            std::copy_n(head, op.key_dim, qkv[t] + h * op.key_dim);
            std::copy_n(head + op.key_dim, op.key_dim, qkv[t] + keys + h * op.key_dim);
            std::copy_n(head + 2 * op.key_dim, values, qkv[t] + 2 * keys + h * values);
            std::copy_n(head + 2 * op.key_dim + values, values, z[t] + h * values);
            const float* gates = ba[t] + h * 2 * per_key_head;
            std::copy_n(gates, per_key_head, b[t] + h * per_key_head);
            std::copy_n(gates + per_key_head, per_key_head, a[t] + h * per_key_head);
        }
    }
}

void compute(const CausalConvolution& op) {
    const auto x = rows_of(op.x);
    const auto weight = rows_of(op.weight);
    const auto out = writable_rows_of(op.out);
    const int64_t kernel = op.weight.columns;
    const int64_t past = op.history();
    for (const StateSegment& segment : state_segments(op.kName, op.sequences, op.states, op.x.rows)) {
        const Rows<float> state{segment.state, op.states.columns};
        std::vector<float> inputs(static_cast<size_t>(past + segment.rows.count));
        for (int64_t c = 0; c < op.x.columns; ++c) {
            for (int64_t i = 0; i < past; ++i) inputs[static_cast<size_t>(i)] = state[i][c];
            for (int64_t i = 0; i < segment.rows.count; ++i) {
                inputs[static_cast<size_t>(past + i)] = x[segment.rows.first_row + i][c];
            }
            for (int64_t i = 0; i < segment.rows.count; ++i) {
                double sum = op.bias.buffer == nullptr ? 0.0 : floats(op.bias)[c];
                for (int64_t tap = 0; tap < kernel; ++tap) {
                    sum += static_cast<double>(inputs[static_cast<size_t>(i + tap * op.distance)]) * weight[c][tap];
                }
                out[segment.rows.first_row + i][c] = static_cast<float>(silu(sum));
            }
            for (int64_t i = 0; i < past; ++i) state[i][c] = inputs[static_cast<size_t>(segment.rows.count + i)];
        }
    }
}

namespace {

// x / sqrt(sum(x^2) + 1e-6) * scale.
std::vector<double> l2_normalized(const float* x, int64_t count, double scale) {
    const double factor = scale / std::sqrt(dot(x, x, count) + 1e-6);
    std::vector<double> result(x, x + count);
    for (double& value : result) value *= factor;
    return result;
}

// g of one value head and token, for each channel of its key.
std::vector<double> decays_of(const GatedDeltaRule& op, const float* a, int64_t head) {
    const double rate = std::exp(static_cast<double>(floats(op.a_log)[head]));
    std::vector<double> decays;
    for (int64_t channel = 0; channel < op.key_dim; ++channel) {
        const int64_t column = op.decays_by_channel() ? head * op.key_dim + channel : head;
        const double step = static_cast<double>(a[column]) + floats(op.dt_bias)[column];
        const bool bounded = op.decay_bound != 0;
        decays.push_back(std::exp(bounded ? op.decay_bound * sigmoid(rate * step) : -rate * softplus(step)));
    }
    return decays;
}

// One token of one value head: S = S diag(g); S += beta (v - S k) k^T; out = S q. S stays float32 between tokens.
void step(const Rows<float>& state, int64_t first_row, const std::vector<double>& q, const std::vector<double>& k,
          const float* v, const std::vector<double>& decay, double beta, int64_t value_dim, float* out) {
    for (int64_t i = 0; i < value_dim; ++i) {
        float* row = state[first_row + i];
        double memory = 0;
        for (size_t j = 0; j < k.size(); ++j) memory += decay[j] * row[j] * k[j];
        const double delta = beta * (v[i] - memory);
        double result = 0;
        for (size_t j = 0; j < k.size(); ++j) {
            const double value = decay[j] * row[j] + delta * k[j];
            result += value * q[j];
            row[j] = static_cast<float>(value);
        }
        out[i] = static_cast<float>(result);
    }
}

}  // namespace

void compute(const GatedDeltaRule& op) {
    const auto qkv = rows_of(op.qkv);
    const auto b = rows_of(op.b);
    const auto a = rows_of(op.a);
    const auto out = writable_rows_of(op.out);
    const int64_t keys = op.key_heads * op.key_dim;
    const double query_scale = 1.0 / std::sqrt(static_cast<double>(op.key_dim));
    for (const StateSegment& segment : state_segments(op.kName, op.sequences, op.states, op.qkv.rows)) {
        const Rows<float> state{segment.state, op.states.columns};
        for (int64_t i = 0; i < segment.rows.count; ++i) {
            const int64_t t = segment.rows.first_row + i;
            for (int64_t h = 0; h < op.value_heads; ++h) {
                const int64_t key_head = op.key_head_of(h);
                const auto q = l2_normalized(qkv[t] + key_head * op.key_dim, op.key_dim, query_scale);
                const auto k = l2_normalized(qkv[t] + keys + key_head * op.key_dim, op.key_dim, 1.0);
                step(state, h * op.value_dim, q, k, qkv[t] + 2 * keys + h * op.value_dim, decays_of(op, a[t], h),
                     sigmoid(b[t][h]), op.value_dim, out[t] + h * op.value_dim);
            }
        }
    }
}

void compute(const SelectiveScan& op) {
    const auto xbc = rows_of(op.xbc);
    const auto dt = rows_of(op.dt);
    const auto out = writable_rows_of(op.out);
    for (const StateSegment& segment : state_segments(op.kName, op.sequences, op.states, op.xbc.rows)) {
        const Rows<float> state{segment.state, op.states.columns};
        for (int64_t t = segment.rows.first_row; t < segment.rows.first_row + segment.rows.count; ++t) {
            for (int64_t i = 0; i < op.inner(); ++i) {
                const int64_t head = i / op.head_dim;
                const float* b = xbc[t] + op.inner() + op.group_of(head) * op.state_dim;
                const float* c = b + op.groups * op.state_dim;
                const double step = softplus(static_cast<double>(dt[t][head]) + floats(op.dt_bias)[head]);
                const double decay = std::exp(-std::exp(static_cast<double>(floats(op.a_log)[head])) * step);
                double sum = static_cast<double>(floats(op.skip)[head]) * xbc[t][i];
                for (int64_t j = 0; j < op.state_dim; ++j) {
                    const double value = decay * state[i][j] + step * xbc[t][i] * b[j];
                    state[i][j] = static_cast<float>(value);
                    sum += value * c[j];
                }
                out[t][i] = static_cast<float>(sum);
            }
        }
    }
}

}  // namespace sluice::reference
