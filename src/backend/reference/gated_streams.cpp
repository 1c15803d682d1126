#include <algorithm>
#include <cmath>

#include "backend/reference/math.h"
#include "backend/reference/operations.h"

namespace sluice::reference {

void compute(const Gate& op) {
    const auto x = writable_rows_of(op.x);
    for (int64_t t = 0; t < op.x.rows; ++t) {
        for (int64_t i = 0; i < op.x.columns; ++i) {
            const double scaled = static_cast<double>(op.factor) * x[t][i];
            x[t][i] = static_cast<float>(op.gain * (op.silu ? silu(scaled) : sigmoid(scaled)));
        }
    }
}

void compute(const AverageGatedStreams& op) {
    const auto streams = rows_of(op.streams), gates = rows_of(op.gates);
    const auto out = writable_rows_of(op.out);
    const int64_t hidden = op.out.columns;
    for (int64_t t = 0; t < op.out.rows; ++t) {
        for (int64_t i = 0; i < hidden; ++i) {
            double sum = 0;
            for (int64_t j = i; j < op.streams.columns; j += hidden) sum += sigmoid(gates[t][j]) * streams[t][j];
            out[t][i] = static_cast<float>(sum * static_cast<double>(hidden) / static_cast<double>(op.streams.columns));
        }
    }
}

void compute(const MatchStreams& op) {
    const auto keys = rows_of(op.keys), queries = rows_of(op.queries), value = rows_of(op.value);
    const auto out = writable_rows_of(op.out);
    const int64_t hidden = op.value.columns;
    for (int64_t t = 0; t < op.out.rows; ++t) {
        for (int64_t stream = 0; stream < op.out.columns; stream += hidden) {
            const double match =
                dot(keys[t] + stream, queries[t] + stream, hidden) / std::sqrt(static_cast<double>(hidden));
            const double root = std::sqrt(std::max<double>(std::abs(match), MatchStreams::kLeastMagnitude));
            const double gate = sigmoid(match == 0 ? 0 : std::copysign(root, match));
            for (int64_t i = 0; i < hidden; ++i) out[t][stream + i] = static_cast<float>(gate * value[t][i]);
        }
    }
}

}  // namespace sluice::reference
