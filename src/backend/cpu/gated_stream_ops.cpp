// Residual streams that are read and written through gates.

#include <algorithm>
#include <cmath>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/host_tensors.h"

namespace sluice {

namespace {

constexpr int64_t kGatedChannels = 256;  // per task

}  // namespace

void CpuBackend::compute(const Gate& op) {
    float* x = writable_floats(op.x);
    for_rows(op.x.rows, 8 * op.x.columns, [&](int64_t t) {
        float* row = x + t * op.x.row_stride;
        for (int64_t i = 0; i < op.x.columns; ++i) row[i] *= op.factor;
        if (op.silu) {
            kernels_.sigmoid_multiply(row, op.x.columns, row);
        } else {
            kernels_.sigmoid(row, op.x.columns, row);
        }
        for (int64_t i = 0; i < op.x.columns && op.gain != 1; ++i) row[i] *= op.gain;
    });
}

// Channels are parted, since a single row has enough of them for all threads.
void CpuBackend::compute(const AverageGatedStreams& op) {
    const float *streams = floats(op.streams), *gates = floats(op.gates);
    float* out = writable_floats(op.out);
    const int64_t hidden = op.out.columns, count = op.streams.columns / hidden;
    const int64_t parts = (hidden + kGatedChannels - 1) / kGatedChannels;
    const float share = 1.0f / static_cast<float>(count);
    for_rows(op.out.rows * parts, 8 * count * kGatedChannels, [&](int64_t task) {
        const int64_t t = task / parts, first = task % parts * kGatedChannels;
        const int64_t width = std::min(kGatedChannels, hidden - first);
        float products[kGatedChannels];
        float* target = out + t * op.out.row_stride + first;
        std::fill_n(target, width, 0.0f);
        for (int64_t stream = 0; stream < count; ++stream) {
            const int64_t column = stream * hidden + first;
            std::copy_n(streams + t * op.streams.row_stride + column, width, products);
            kernels_.sigmoid_multiply(gates + t * op.gates.row_stride + column, width, products);
            kernels_.add_scaled(products, share, width, target);
        }
    });
}

void CpuBackend::compute(const MatchStreams& op) {
    const float *keys = floats(op.keys), *queries = floats(op.queries), *value = floats(op.value);
    float* out = writable_floats(op.out);
    const int64_t hidden = op.value.columns, count = op.out.columns / hidden;
    const float scale = 1.0f / std::sqrt(static_cast<float>(hidden));
    for_rows(op.out.rows * count, 4 * hidden, [&](int64_t task) {
        const int64_t t = task / count, stream = task % count * hidden;
        const float match = scale * kernels_.dot(keys + t * op.keys.row_stride + stream,
                                                 queries + t * op.queries.row_stride + stream, hidden);
        const float root = std::sqrt(std::max(std::abs(match), MatchStreams::kLeastMagnitude));
        float gate = match == 0 ? 0.0f : std::copysign(root, match);
        kernels_.sigmoid(&gate, 1, &gate);
        const float* source = value + t * op.value.row_stride;
        float* target = out + t * op.out.row_stride + stream;
        for (int64_t i = 0; i < hidden; ++i) target[i] = gate * source[i];
    });
}

}  // namespace sluice
