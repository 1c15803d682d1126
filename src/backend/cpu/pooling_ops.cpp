// One row of a run of tokens.

#include <algorithm>
#include <cmath>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/floats.h"
#include "backend/host_sequences.h"
#include "backend/host_tensors.h"

namespace sluice {

namespace {

constexpr int64_t kPooledChannels = 64;  // of a task

// Values and gates of the tokens of a sequence, the batch's and those before it.
class PoolHistory {
  public:
    PoolHistory(const PoolTokens& op, const StateSegment& segment)
        : width_(op.width()),
          seen_(op.seen()),
          start_(segment.rows.position),
          state_(segment.state),
          columns_(op.state_columns()),
          value_stride_(op.values.row_stride),
          values_(floats(op.values) + segment.rows.first_row * value_stride_) {
        if (op.gates.buffer == nullptr) return;
        gate_stride_ = op.gates.row_stride;
        gates_ = floats(op.gates) + segment.rows.first_row * gate_stride_;
    }

    const float* value(int64_t position) const {
        return position < start_ ? kept(position) : values_ + (position - start_) * value_stride_;
    }
    bool gated() const { return gates_ != nullptr; }
    const float* gate(int64_t position) const {
        return position < start_ ? kept(position) + width_ : gates_ + (position - start_) * gate_stride_;
    }
    // Some channels of a token of the batch, for later batches.
    void keep(int64_t position, int64_t first, int64_t count) const {
        copy_floats(kept(position) + first, value(position) + first, count);
        if (gated()) copy_floats(kept(position) + width_ + first, gate(position) + first, count);
    }

  private:
    float* kept(int64_t position) const { return state_ + position % seen_ * columns_; }

    int64_t width_, seen_, start_;
    float* state_;
    int64_t columns_, value_stride_, gate_stride_ = 0;
    const float* values_;
    const float* gates_ = nullptr;
};

// The channels [first, first + count) of the entry whose last token is at `last`.
void pool(const PoolTokens& op, const PoolHistory& history, int64_t last, int64_t first, int64_t count, float* out) {
    const float* offsets = floats(op.offsets);
    const auto column = [&](int64_t position) {
        return first + (op.overlapping && position > last - op.ratio() ? op.out.columns : 0);
    };
    const auto gate = [&](int64_t position, int64_t c) {
        const float* offset = offsets + position % op.ratio() * op.offsets.row_stride + column(position);
        return (history.gated() ? history.gate(position)[column(position) + c] : 0.0f) + offset[c];
    };
    float largest[kPooledChannels], total[kPooledChannels];
    const int64_t begin = std::max<int64_t>(0, last + 1 - op.seen());
    for (int64_t position = begin; position <= last; ++position) {
        for (int64_t c = 0; c < count; ++c) {
            const float value = gate(position, c);
            largest[c] = position == begin ? value : std::max(largest[c], value);
        }
    }
    std::fill_n(out, count, 0.0f);
    std::fill_n(total, count, 0.0f);
    for (int64_t position = begin; position <= last; ++position) {
        const float* values = history.value(position) + column(position);
        for (int64_t c = 0; c < count; ++c) {
            const float weight = std::exp(gate(position, c) - largest[c]);
            out[c] += weight * values[c];
            total[c] += weight;
        }
    }
    for (int64_t c = 0; c < count; ++c) out[c] /= total[c];
}

}  // namespace

void CpuBackend::compute(const PoolTokens& op) {
    float* out = writable_floats(op.out);
    const int64_t channels = op.out.columns, blocks = (channels + kPooledChannels - 1) / kPooledChannels;
    const std::vector<StateSegment> segments = state_segments(op.kName, op.sequences, op.states, op.values.rows);
    for_tasks(segments.size() * static_cast<size_t>(blocks), [&](size_t task) {
        const StateSegment& segment = segments[task / static_cast<size_t>(blocks)];
        const int64_t first = static_cast<int64_t>(task) % blocks * kPooledChannels;
        const int64_t count = std::min(kPooledChannels, channels - first);
        const PoolHistory history(op, segment);
        const int64_t begin = segment.rows.position, end = begin + segment.rows.count;
        for (int64_t position = begin; position < end; ++position) {
            float* row = out + (segment.rows.first_row + position - begin) * op.out.row_stride + first;
            if ((position + 1) % op.ratio() == 0) {
                pool(op, history, position, first, count, row);
            } else {
                std::fill_n(row, count, 0.0f);
            }
        }
        for (int64_t position = std::max(begin, end - op.seen()); position < end; ++position) {
            for (int64_t column = first; column < op.width(); column += channels) {
                history.keep(position, column, count);
            }
        }
    });
}

}  // namespace sluice
