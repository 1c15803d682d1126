#include <algorithm>
#include <vector>

#include "backend/host_routes.h"
#include "backend/host_sequences.h"
#include "backend/reference/math.h"
#include "backend/reference/operations.h"

namespace sluice::reference {

namespace {

double bias_at(const Tensor& bias, int64_t column) {
    return bias.buffer == nullptr ? 0.0 : floats(bias)[column];
}

}  // namespace

void compute(const Linear& op) {
    const auto x = rows_of(op.x);
    const auto out = writable_rows_of(op.out);
    const WeightView weight = view(op.weight);
    std::vector<float> row(static_cast<size_t>(weight.columns));
    for (int64_t o = 0; o < weight.rows; ++o) {
        decode_row(weight, o, row.data());
        for (int64_t t = 0; t < op.x.rows; ++t) {
            const double value = dot(row.data(), x[t], weight.columns) + bias_at(op.bias, o);
            out[t][o] = static_cast<float>(op.accumulate ? out[t][o] + value : value);
        }
    }
}

namespace {

double activate(const Activation& activation, double gate, double up) {
    switch (activation.kind) {
        case ActivationKind::kSilu:
            return silu(gate) * up;
        case ActivationKind::kGeluTanh:
            return gelu_tanh(gate) * up;
        case ActivationKind::kSquaredRelu:
            return std::max(up, 0.0) * std::max(up, 0.0);
        case ActivationKind::kCutSilu: {
            const double limit = activation.limit;
            return std::min<double>(silu(gate), limit) * std::clamp(up, -limit, limit);
        }
        case ActivationKind::kClampedSwiglu: {
            const double limit = activation.limit, g = std::min(gate, limit);
            return g * sigmoid(activation.alpha * g) * (std::clamp(up, -limit, limit) + activation.up_offset);
        }
    }
    return 0;
}

void apply(const MlpGroup& group, const MlpRows& rows, const Activation& activation, const Rows<const float>& x,
           const Rows<float>& out) {
    const WeightView up = view(group.up);
    const WeightView gate = activation.gated() ? view(group.gate) : up;
    const WeightView down = view(group.down);
    const int64_t hidden = up.columns;
    const int64_t inner = up.rows;
    const int64_t count = rows.rows.size();
    std::vector<float> gate_row(static_cast<size_t>(hidden));
    std::vector<float> up_row(static_cast<size_t>(hidden));
    std::vector<float> activated(static_cast<size_t>(count * inner));
    for (int64_t i = 0; i < inner; ++i) {
        decode_row(gate, i, gate_row.data());
        decode_row(up, i, up_row.data());
        for (int64_t r = 0; r < count; ++r) {
            const float* input = x[rows.rows[r]];
            activated[static_cast<size_t>(r * inner + i)] = static_cast<float>(
                activate(activation, dot(gate_row.data(), input, hidden) + bias_at(group.gate_bias, i),
                         dot(up_row.data(), input, hidden) + bias_at(group.up_bias, i)));
        }
    }
    std::vector<float> down_row(static_cast<size_t>(inner));
    for (int64_t o = 0; o < hidden; ++o) {
        decode_row(down, o, down_row.data());
        for (int64_t r = 0; r < count; ++r) {
            const float* input = activated.data() + r * inner;
            out[rows.out_rows[r]][o] =
                static_cast<float>(dot(down_row.data(), input, inner) + bias_at(group.down_bias, o));
        }
    }
}

}  // namespace

void compute(const GatedMlp& op) {
    const std::vector<MlpRows> rows = mlp_rows(op);
    for (size_t g = 0; g < op.groups.size(); ++g) {
        apply(op.groups[g], rows[g], op.activation, rows_of(op.x), writable_rows_of(op.out));
    }
}

void compute(const RoutedMlp& op) {
    compute(grouped(op));
}

void compute(const FetchExperts& op) {
    fetch(op);
}

}  // namespace sluice::reference
