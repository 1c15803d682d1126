// One row of a run of tokens.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "backend/host_sequences.h"
#include "backend/reference/math.h"
#include "backend/reference/operations.h"

namespace sluice::reference {

namespace {

// What a channel of an entry mixes.
struct Pooled {
    std::vector<double> values, gates;

    double mean() const {
        const double largest = *std::max_element(gates.begin(), gates.end());
        double sum = 0, total = 0;
        for (size_t i = 0; i < values.size(); ++i) {
            const double weight = std::exp(gates[i] - largest);
            sum += weight * values[i];
            total += weight;
        }
        return sum / total;
    }
};

}  // namespace

void compute(const PoolTokens& op) {
    const auto values = rows_of(op.values), offsets = rows_of(op.offsets);
    const bool gated = op.gates.buffer != nullptr;
    const auto out = writable_rows_of(op.out);
    const int64_t ratio = op.ratio(), width = op.width(), channels = op.out.columns, seen = op.seen();
    for (const StateSegment& segment : state_segments(op.kName, op.sequences, op.states, op.values.rows)) {
        const auto& [first_row, count, start] = segment.rows;
        const auto state = [&](int64_t position) { return segment.state + position % seen * op.state_columns(); };
        const auto value = [&](int64_t position) {
            return position < start ? state(position) : values[first_row + position - start];
        };
        const auto gate = [&](int64_t position, int64_t channel) {
            if (!gated) return 0.0f;
            return (position < start ? state(position) + width
                                     : rows_of(op.gates)[first_row + position - start])[channel];
        };
        for (int64_t position = start; position < start + count; ++position) {
            float* row = out[first_row + position - start];
            std::fill_n(row, channels, 0.0f);
            if ((position + 1) % ratio != 0) continue;
            for (int64_t c = 0; c < channels; ++c) {
                Pooled pooled;
                for (int64_t p = std::max<int64_t>(0, position + 1 - seen); p <= position; ++p) {
                    const bool own = p > position - ratio;
                    const int64_t channel = op.overlapping && own ? channels + c : c;
                    pooled.values.push_back(value(p)[channel]);
                    pooled.gates.push_back(static_cast<double>(gate(p, channel)) + offsets[p % ratio][channel]);
                }
                row[c] = static_cast<float>(pooled.mean());
            }
        }
        for (int64_t position = std::max(start, start + count - seen); position < start + count; ++position) {
            std::copy_n(values[first_row + position - start], width, state(position));
            if (gated) std::copy_n(rows_of(op.gates)[first_row + position - start], width, state(position) + width);
        }
    }
}

}  // namespace sluice::reference
