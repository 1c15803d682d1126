// Gated DeltaNet: projections, convolution and the recurrent state.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/floats.h"
#include "backend/host_sequences.h"
#include "backend/host_tensors.h"

namespace sluice {

namespace {

constexpr float kL2Epsilon = 1e-6f;
// Channels per task of the convolution; rows of a head's state per task of the delta rule.
constexpr int64_t kTaskChannels = 512;
constexpr int64_t kStateRows = 64;

// g of the delta rule, from exp(a_log) and a + dt_bias.
float decay_of(float rate, float step, float bound) {
    if (bound != 0) return std::exp(bound / (1.0f + std::exp(-rate * step)));
    return std::exp(-rate * softplus(step));
}

// What all tokens bring to the delta rule, made of its projections once for all rows of the state.
struct DeltaInputs {
    int64_t keys = 0, asked = 0;  // floats of a token
    float *normed_keys = nullptr, *normed_queries = nullptr, *key_query = nullptr;
    // Of each value head, where decays go by channel.
    float *asked_keys = nullptr, *asked_queries = nullptr;
    float *decay = nullptr, *beta = nullptr;

    DeltaInputs(const GatedDeltaRule& op, Scratch& scratch)
        : keys(op.key_heads * op.key_dim), asked(op.decays_by_channel() ? op.value_heads * op.key_dim : 0) {
        const auto of = [&](int64_t columns) { return static_cast<size_t>(op.qkv.rows * columns); };
        scratch.reset(2 * Scratch::padded<float>(of(keys)) + Scratch::padded<float>(of(op.key_heads)) +
                      2 * Scratch::padded<float>(of(asked)) + Scratch::padded<float>(of(op.a.columns)) +
                      Scratch::padded<float>(of(op.value_heads)));
        normed_keys = scratch.take<float>(of(keys));
        normed_queries = scratch.take<float>(of(keys));
        key_query = scratch.take<float>(of(op.key_heads));
        asked_keys = scratch.take<float>(of(asked));
        asked_queries = scratch.take<float>(of(asked));
        decay = scratch.take<float>(of(op.a.columns));
        beta = scratch.take<float>(of(op.value_heads));
    }

    void prepare_keys(const GatedDeltaRule& op, const KernelTable& kernels, int64_t t) const {
        const float query_scale = 1.0f / std::sqrt(static_cast<float>(op.key_dim));
        const float* source = floats(op.qkv) + t * op.qkv.row_stride;
        for (int64_t head = 0; head < op.key_heads; ++head) {
            const float* query = source + head * op.key_dim;
            float* normed_query = normed_queries + t * keys + head * op.key_dim;
            float* normed_key = normed_keys + t * keys + head * op.key_dim;
            kernels.normalize_l2(query, op.key_dim, kL2Epsilon, query_scale, normed_query);
            kernels.normalize_l2(query + keys, op.key_dim, kL2Epsilon, 1.0f, normed_key);
            key_query[t * op.key_heads + head] = kernels.dot(normed_key, normed_query, op.key_dim);
        }
    }

    void prepare_decays(const GatedDeltaRule& op, int64_t t) const {
        const int64_t columns = op.a.columns, share = columns / op.value_heads;
        const float *a = floats(op.a) + t * op.a.row_stride, *a_log = floats(op.a_log), *dt_bias = floats(op.dt_bias);
        float* of_token = decay + t * columns;
        for (int64_t head = 0; head < op.value_heads; ++head) {
            const float rate = std::exp(a_log[head]);
            for (int64_t i = head * share; i < (head + 1) * share; ++i) {
                of_token[i] = decay_of(rate, a[i] + dt_bias[i], op.decay_bound);
            }
        }
        if (!op.decays_by_channel()) return;
        for (int64_t head = 0; head < op.value_heads; ++head) {
            const int64_t key = t * keys + op.key_head_of(head) * op.key_dim, first = head * op.key_dim;
            for (int64_t i = 0; i < op.key_dim; ++i) {
                asked_keys[t * asked + first + i] = of_token[first + i] * normed_keys[key + i];
                asked_queries[t * asked + first + i] = of_token[first + i] * normed_queries[key + i];
            }
        }
    }

    // What a head reads, from batch row `row` on.
    void place(const GatedDeltaRule& op, int64_t head, int64_t row, DeltaRows& d) const {
        const int64_t key_head = op.key_head_of(head);
        d.key_dim = op.key_dim;
        d.keys = normed_keys + row * keys + key_head * op.key_dim;
        d.key_stride = keys;
        d.key_query = key_query + row * op.key_heads + key_head;
        d.dot_stride = op.key_heads;
        d.beta = beta + row * op.value_heads + head;
        d.gate_stride = op.value_heads;
        if (op.decays_by_channel()) {
            const int64_t first = row * asked + head * op.key_dim;
            d.asked_keys = asked_keys + first;
            d.asked_queries = asked_queries + first;
            d.decays = decay + first;
            d.asked_stride = asked;
        } else {
            d.asked_keys = d.keys;
            d.asked_queries = normed_queries + row * keys + key_head * op.key_dim;
            d.asked_stride = keys;
            d.decay = decay + row * op.value_heads + head;
        }
    }
};

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
    const int64_t kernel = op.weight.columns, history = op.history(), channels = op.x.columns;
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
        // A bias is one more tap, whose inputs are all one.
        const int64_t all_taps = kernel + (op.bias.buffer == nullptr ? 0 : 1);
        Scratch& scratch = thread_scratch();
        scratch.reset(Scratch::padded<float>(static_cast<size_t>(all_taps * count)) +
                      Scratch::padded<float>(static_cast<size_t>(count)) +
                      Scratch::padded<const float*>(static_cast<size_t>(all_taps)));
        auto* taps = scratch.take<float>(static_cast<size_t>(all_taps * count));
        auto* ones = scratch.take<float>(static_cast<size_t>(count));
        auto* sources = scratch.take<const float*>(static_cast<size_t>(all_taps));
        if (all_taps > kernel) {
            copy_floats(taps + kernel * count, floats(op.bias) + first, count);
            std::fill_n(ones, count, 1.0f);
            sources[kernel] = ones;
        }
        for (int64_t c = 0; c < count; ++c) {
            const float* source = weight + (first + c) * op.weight.row_stride;
            for (int64_t tap = 0; tap < kernel; ++tap) taps[tap * count + c] = source[tap];
        }
        for (int64_t t = 0; t < tokens; ++t) {
            for (int64_t tap = 0; tap < kernel; ++tap) sources[tap] = input(t - history + tap * op.distance);
            kernels_.convolve_silu(sources, taps, all_taps, count,
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
    const int64_t tokens = op.qkv.rows, heads = op.value_heads;
    const DeltaInputs inputs(op, scratch_);
    for_rows(tokens, 2 * inputs.keys + 256 * op.a.columns, [&](int64_t t) {
        inputs.prepare_keys(op, kernels_, t);
        inputs.prepare_decays(op, t);
        kernels_.sigmoid(floats(op.b) + t * op.b.row_stride, heads, inputs.beta + t * heads);
    });

    const float* values = floats(op.qkv) + 2 * inputs.keys;
    float* out = writable_floats(op.out);
    const int64_t blocks = (op.value_dim + kStateRows - 1) / kStateRows;
    const std::vector<StateSegment> segments = state_segments(op.kName, op.sequences, op.states, tokens);
    for_tasks(segments.size() * static_cast<size_t>(heads * blocks), [&](size_t task) {
        const StateSegment& segment = segments[task / static_cast<size_t>(heads * blocks)];
        const int64_t head = static_cast<int64_t>(task) / blocks % heads;
        const int64_t first = static_cast<int64_t>(task) % blocks * kStateRows;
        const int64_t row = segment.rows.first_row, value_column = head * op.value_dim + first;
        DeltaRows d{};
        inputs.place(op, head, row, d);
        d.state = segment.state + value_column * op.states.columns;
        d.state_stride = op.states.columns;
        d.rows = std::min(kStateRows, op.value_dim - first);
        d.tokens = segment.rows.count;
        d.values = values + row * op.qkv.row_stride + value_column;
        d.value_stride = op.qkv.row_stride;
        d.out = out + row * op.out.row_stride + value_column;
        d.out_stride = op.out.row_stride;
        Scratch& scratch = thread_scratch();
        const auto turned_floats = static_cast<size_t>(2 * kernels_.lanes * op.key_dim);
        scratch.reset(Scratch::padded<float>(turned_floats));
        d.turned = scratch.take<float>(turned_floats);
        kernels_.delta_rows(d);
    });
}

// The delta rule whose old state is not asked: every read is with a key of zeros.
void CpuBackend::compute(const SelectiveScan& op) {
    const int64_t tokens = op.xbc.rows, inner = op.inner(), keys = op.groups * op.state_dim;
    const auto of = [&](int64_t columns) { return static_cast<size_t>(tokens * columns); };
    scratch_.reset(2 * Scratch::padded<float>(of(keys)) + Scratch::padded<float>(of(inner)) +
                   2 * Scratch::padded<float>(of(op.heads)) + Scratch::padded<float>(of(op.groups)));
    auto *queries = scratch_.take<float>(of(keys)), *zeros = scratch_.take<float>(of(keys));
    auto* values = scratch_.take<float>(of(inner));
    auto *decay = scratch_.take<float>(of(op.heads)), *rate = scratch_.take<float>(of(op.heads));
    auto* key_query = scratch_.take<float>(of(op.groups));
    std::fill_n(zeros, of(keys), 0.0f);
    std::fill_n(rate, of(op.heads), 1.0f);
    const float *xbc = floats(op.xbc), *dt = floats(op.dt), *skip = floats(op.skip);
    const float *a_log = floats(op.a_log), *dt_bias = floats(op.dt_bias);
    for_rows(tokens, 2 * keys + inner + 64 * op.heads, [&](int64_t t) {
        const float* x = xbc + t * op.xbc.row_stride;
        copy_floats(queries + t * keys, x + inner + keys, keys);
        for (int64_t group = 0; group < op.groups; ++group) {
            const float* key = x + inner + group * op.state_dim;
            key_query[t * op.groups + group] = kernels_.dot(key, key + keys, op.state_dim);
        }
        for (int64_t head = 0; head < op.heads; ++head) {
            const float step = softplus(dt[t * op.dt.row_stride + head] + dt_bias[head]);
            decay[t * op.heads + head] = std::exp(-std::exp(a_log[head]) * step);
            for (int64_t i = head * op.head_dim; i < (head + 1) * op.head_dim; ++i) values[t * inner + i] = step * x[i];
        }
    });

    float* out = writable_floats(op.out);
    const std::vector<StateSegment> segments = state_segments(op.kName, op.sequences, op.states, tokens);
    for_tasks(segments.size() * static_cast<size_t>(op.heads), [&](size_t task) {
        const StateSegment& segment = segments[task / static_cast<size_t>(op.heads)];
        const int64_t head = static_cast<int64_t>(task) % op.heads, group = op.group_of(head);
        const int64_t row = segment.rows.first_row, first = head * op.head_dim, key = group * op.state_dim;
        DeltaRows d{};
        d.state = segment.state + first * op.states.columns;
        d.state_stride = op.states.columns;
        d.rows = op.head_dim;
        d.key_dim = op.state_dim;
        d.tokens = segment.rows.count;
        d.keys = xbc + row * op.xbc.row_stride + inner + key;
        d.key_stride = op.xbc.row_stride;
        d.asked_keys = zeros + row * keys + key;
        d.asked_queries = queries + row * keys + key;
        d.asked_stride = keys;
        d.values = values + row * inner + first;
        d.value_stride = inner;
        d.decay = decay + row * op.heads + head;
        d.beta = rate + row * op.heads + head;
        d.gate_stride = op.heads;
        d.key_query = key_query + row * op.groups + group;
        d.dot_stride = op.groups;
        d.out = out + row * op.out.row_stride + first;
        d.out_stride = op.out.row_stride;
        Scratch& scratch = thread_scratch();
        const auto turned_floats = static_cast<size_t>(2 * kernels_.lanes * op.state_dim);
        scratch.reset(Scratch::padded<float>(turned_floats));
        d.turned = scratch.take<float>(turned_floats);
        kernels_.delta_rows(d);
        for (int64_t t = row; t < row + segment.rows.count; ++t) {
            for (int64_t i = first; i < first + op.head_dim; ++i) {
                out[t * op.out.row_stride + i] += skip[head] * xbc[t * op.xbc.row_stride + i];
            }
        }
    });
}

}  // namespace sluice
