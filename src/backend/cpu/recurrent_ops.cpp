// Gated DeltaNet: projections, convolution and the recurrent state.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/host_sequences.h"
#include "backend/host_tensors.h"

namespace sluice {

namespace {

constexpr float kL2Epsilon = 1e-6f;
// Channels per task of the convolution; rows of a head's state per task of the delta rule.
constexpr int64_t kTaskChannels = 512;
constexpr int64_t kTaskRows = 64;

void copy_floats(float* target, const float* source, int64_t count) {
    std::memcpy(target, source, static_cast<size_t>(count) * sizeof(float));
}

float softplus(float x) {
    return x > 20.0f ? x : std::log1p(std::exp(x));
}

}  // namespace

void CpuBackend::compute(const SplitLinearProjections& op) {
    const float *qkvz = floats(op.qkvz), *ba = floats(op.ba);
    float *qkv = writable_floats(op.qkv), *z = writable_floats(op.z);
    float *b = writable_floats(op.b), *a = writable_floats(op.a);
    const int64_t share = op.value_heads / op.key_heads, values = share * op.value_dim;
    const int64_t keys = op.key_heads * op.key_dim;
    for_rows(op.qkvz.rows, op.qkvz.columns, [&](int64_t t) {
        const float* source = qkvz + t * op.qkvz.row_stride;
        const float* gates = ba + t * op.ba.row_stride;
        float* target = qkv + t * op.qkv.row_stride;
        for (int64_t head = 0; head < op.key_heads; ++head) {
            copy_floats(target + head * op.key_dim, source, op.key_dim);
            copy_floats(target + keys + head * op.key_dim, source + op.key_dim, op.key_dim);
            copy_floats(target + 2 * keys + head * values, source + 2 * op.key_dim, values);
            copy_floats(z + t * op.z.row_stride + head * values, source + 2 * op.key_dim + values, values);
            copy_floats(b + t * op.b.row_stride + head * share, gates, share);
            copy_floats(a + t * op.a.row_stride + head * share, gates + share, share);
            source += 2 * op.key_dim + 2 * values;
            gates += 2 * share;
        }
    });
}

void CpuBackend::compute(const CausalConvolution& op) {
    const float *x = floats(op.x), *weight = floats(op.weight);
    float* out = writable_floats(op.out);
    const int64_t kernel = op.weight.columns, history = kernel - 1, channels = op.x.columns;
    const int64_t blocks = (channels + kTaskChannels - 1) / kTaskChannels;
    const std::vector<StateSegment> segments = state_segments(op.kName, op.sequences, op.states, op.x.rows);
    for_tasks(segments.size() * static_cast<size_t>(blocks), [&](size_t task) {
        const StateSegment& segment = segments[task / static_cast<size_t>(blocks)];
        const int64_t first = static_cast<int64_t>(task) % blocks * kTaskChannels;
        const int64_t count = std::min(kTaskChannels, channels - first);
        const int64_t tokens = segment.rows.count;
        float* state = segment.state + first;
        const int64_t state_stride = op.states.columns;
        const float* inputs = x + segment.rows.first_row * op.x.row_stride + first;
        // The input of token t; those before the segment are in the state.
        const auto input = [&](int64_t t) {
            return t < 0 ? state + (history + t) * state_stride : inputs + t * op.x.row_stride;
        };
        Scratch& scratch = thread_scratch();
        scratch.reset(Scratch::padded<float>(static_cast<size_t>(kernel * count)) +
                      Scratch::padded<const float*>(static_cast<size_t>(kernel)));
        auto* taps = scratch.take<float>(static_cast<size_t>(kernel * count));
        auto* sources = scratch.take<const float*>(static_cast<size_t>(kernel));
        for (int64_t c = 0; c < count; ++c) {
            const float* source = weight + (first + c) * op.weight.row_stride;
            for (int64_t tap = 0; tap < kernel; ++tap) taps[tap * count + c] = source[tap];
        }
        for (int64_t t = 0; t < tokens; ++t) {
            for (int64_t tap = 0; tap < kernel; ++tap) sources[tap] = input(t - history + tap);
            kernels_.convolve_silu(sources, taps, kernel, count,
                                   out + (segment.rows.first_row + t) * op.out.row_stride + first);
        }
        // Ascending, so that a short segment shifts the state before it is overwritten.
        for (int64_t i = 0; i < history; ++i) {
            std::memmove(state + i * state_stride, input(tokens - history + i),
                         static_cast<size_t>(count) * sizeof(float));
        }
    });
}

void CpuBackend::compute(const GatedDeltaRule& op) {
    const float *qkv = floats(op.qkv), *b = floats(op.b), *a = floats(op.a);
    const float *a_log = floats(op.a_log), *dt_bias = floats(op.dt_bias);
    float* out = writable_floats(op.out);
    const int64_t tokens = op.qkv.rows, heads = op.value_heads;
    const int64_t keys = op.key_heads * op.key_dim;
    const auto key_floats = static_cast<size_t>(tokens * keys), gate_floats = static_cast<size_t>(tokens * heads);
    const auto dot_floats = static_cast<size_t>(tokens * op.key_heads);
    scratch_.reset(2 * Scratch::padded<float>(key_floats) + 2 * Scratch::padded<float>(gate_floats) +
                   Scratch::padded<float>(dot_floats));
    auto* normed_queries = scratch_.take<float>(key_floats);
    auto* normed_keys = scratch_.take<float>(key_floats);
    auto* decay = scratch_.take<float>(gate_floats);
    auto* beta = scratch_.take<float>(gate_floats);
    auto* key_query = scratch_.take<float>(dot_floats);
    const float query_scale = 1.0f / std::sqrt(static_cast<float>(op.key_dim));
    for_rows(tokens, 2 * keys + 256 * heads, [&](int64_t t) {
        const float* source = qkv + t * op.qkv.row_stride;
        for (int64_t head = 0; head < op.key_heads; ++head) {
            const float* query = source + head * op.key_dim;
            float* normed_query = normed_queries + t * keys + head * op.key_dim;
            float* normed_key = normed_keys + t * keys + head * op.key_dim;
            kernels_.normalize_l2(query, op.key_dim, kL2Epsilon, query_scale, normed_query);
            kernels_.normalize_l2(query + keys, op.key_dim, kL2Epsilon, 1.0f, normed_key);
            key_query[t * op.key_heads + head] = kernels_.dot(normed_key, normed_query, op.key_dim);
        }
        for (int64_t head = 0; head < heads; ++head) {
            const float step = softplus(a[t * op.a.row_stride + head] + dt_bias[head]);
            decay[t * heads + head] = std::exp(-std::exp(a_log[head]) * step);
        }
        kernels_.sigmoid(b + t * op.b.row_stride, heads, beta + t * heads);
    });

    const int64_t blocks = (op.value_dim + kTaskRows - 1) / kTaskRows;
    const std::vector<StateSegment> segments = state_segments(op.kName, op.sequences, op.states, tokens);
    for_tasks(segments.size() * static_cast<size_t>(heads * blocks), [&](size_t task) {
        const StateSegment& segment = segments[task / static_cast<size_t>(heads * blocks)];
        const int64_t head = static_cast<int64_t>(task) / blocks % heads;
        const int64_t first = static_cast<int64_t>(task) % blocks * kTaskRows;
        const int64_t row = segment.rows.first_row, key_head = op.key_head_of(head);
        const int64_t value_column = head * op.value_dim + first;
        DeltaRows d{};
        d.state = segment.state + value_column * op.states.columns;
        d.state_stride = op.states.columns;
        d.rows = std::min(kTaskRows, op.value_dim - first);
        d.key_dim = op.key_dim;
        d.tokens = segment.rows.count;
        d.keys = normed_keys + row * keys + key_head * op.key_dim;
        d.queries = normed_queries + row * keys + key_head * op.key_dim;
        d.key_stride = keys;
        d.values = qkv + row * op.qkv.row_stride + 2 * keys + value_column;
        d.value_stride = op.qkv.row_stride;
        d.decay = decay + row * heads + head;
        d.beta = beta + row * heads + head;
        d.gate_stride = heads;
        d.key_query = key_query + row * op.key_heads + key_head;
        d.dot_stride = op.key_heads;
        d.out = out + row * op.out.row_stride + value_column;
        d.out_stride = op.out.row_stride;
        Scratch& scratch = thread_scratch();
        const auto turned_floats = static_cast<size_t>(2 * kernels_.lanes * op.key_dim);
        scratch.reset(Scratch::padded<float>(turned_floats));
        d.turned = scratch.take<float>(turned_floats);
        kernels_.delta_rows(d);
    });
}

}  // namespace sluice
