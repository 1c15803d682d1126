#include <cstring>

#include "tests/backend/op_cases.h"
#include "tests/backend/step_tables.h"

namespace sluice {

namespace {

StateSlots random_states(CaseContext& context, size_t count, int64_t rows, int64_t columns, float scale,
                         uint64_t numbers_between = 3) {
    std::vector<std::vector<float>> states;
    for (size_t s = 0; s < count; ++s) states.push_back(context.normals(rows * columns, scale));
    return states_of(context.backend(), states, rows, columns, numbers_between, context.flip());
}

// As a model has it: alone in its memory, so that wide loads may be used.
Tensor alone(CaseContext& context, int64_t rows, int64_t columns, const std::vector<float>& values) {
    std::vector<std::byte> content(values.size() * sizeof(float));
    std::memcpy(content.data(), values.data(), content.size());
    return make_tensor(context.bytes(content), DType::kF32, rows, columns);
}
Tensor random_alone(CaseContext& context, int64_t rows, int64_t columns, float scale = 1) {
    return alone(context, rows, columns, context.normals(rows * columns, scale));
}
Tensor output_alone(CaseContext& context, int64_t rows, int64_t columns) {
    return make_tensor(context.bytes(std::vector<std::byte>(static_cast<size_t>(rows * columns) * 4, std::byte{0xff})),
                       DType::kF32, rows, columns);
}

void aligned_convolution(CaseContext& context) {
    auto sequences = context.sequences(0);
    if (context.flip()) sequences.back().count = context.pick_of({31, 32, 64, 100});
    const int64_t channels = context.pick_of({4, 48, 200}), kernel = 4, rows = total_rows(sequences);
    const CausalConvolution op{.x = random_alone(context, rows, channels),
                               .weight = random_alone(context, channels, kernel, 0.5f),
                               .sequences = sequences_of(context.backend(), sequences),
                               .states = random_states(context, sequences.size(), kernel - 1, channels, 1, 4),
                               .out = output_alone(context, rows, channels)};
    context.backend().run(op);
    context.result(op.out);
    for (size_t s = 0; s < sequences.size(); ++s) context.result(read_state(context.backend(), op.states, s));
}

void causal_convolution(CaseContext& context, bool biased, int64_t distance) {
    const auto sequences = context.sequences(0);
    const int64_t channels = context.pick_of({1, 5, 48, 200});
    const int64_t kernel = context.pick_of({2, 3, 4, 4, 7});
    const int64_t rows = total_rows(sequences);
    const CausalConvolution op{.x = context.random(rows, channels),
                               .weight = context.random(channels, kernel, 0.5f),
                               .bias = biased ? context.random(1, channels) : Tensor{},
                               .distance = distance,
                               .sequences = sequences_of(context.backend(), sequences),
                               .states = random_states(context, sequences.size(), (kernel - 1) * distance, channels, 1),
                               .out = context.output(rows, channels)};
    context.backend().run(op);
    context.result(op.out);
    for (size_t s = 0; s < sequences.size(); ++s) context.result(read_state(context.backend(), op.states, s));
}

void selective_scan(CaseContext& context, bool long_batch) {
    auto sequences = context.sequences(0);
    if (long_batch) sequences.back().count = context.pick_of({63, 64, 65, 130});
    const int64_t groups = context.pick(1, 3), heads = groups * context.pick(1, 3);
    const int64_t head_dim = context.pick_of({3, 16, 40, 64}), state_dim = context.pick_of({4, 16, 33, 128});
    const int64_t inner = heads * head_dim, rows = total_rows(sequences);
    const auto inputs = context.columns_of_one(rows, {inner + 2 * groups * state_dim, heads});
    const SelectiveScan op{.xbc = inputs[0],
                           .dt = inputs[1],
                           .a_log = context.random(1, heads),
                           .dt_bias = context.random(1, heads, 2),
                           .skip = context.random(1, heads),
                           .heads = heads,
                           .head_dim = head_dim,
                           .groups = groups,
                           .state_dim = state_dim,
                           .sequences = sequences_of(context.backend(), sequences),
                           .states = random_states(context, sequences.size(), inner, state_dim, 0.3f),
                           .out = context.output(rows, inner)};
    context.backend().run(op);
    context.result(op.out);
    for (size_t s = 0; s < sequences.size(); ++s) context.result(read_state(context.backend(), op.states, s));
}

struct DeltaCase {
    float decays = 1;  // scales a_log: small ones keep the state for hundreds of tokens, large ones forget in one
    bool long_batch = false;
    bool tiled = false;
    bool by_channel = false;
    float bound = 0;
    bool aligned = false;  // and as wide as models have it
};

void gated_delta_rule(CaseContext& context, const DeltaCase& wanted) {
    auto sequences = context.sequences(0);
    if (wanted.long_batch) sequences.back().count = context.pick_of({63, 64, 65, 130, 257});
    const int64_t key_heads = context.pick(1, 3);
    const int64_t value_heads = key_heads * context.pick(1, 3);
    const int64_t key_dim = wanted.aligned ? 128 : context.pick_of({4, 16, 33, 64, 128});
    const int64_t value_dim = wanted.aligned ? 128 : context.pick_of({3, 16, 40, 64, 130});
    const int64_t values = value_heads * value_dim;
    const int64_t rows = total_rows(sequences);
    const int64_t decays = wanted.by_channel ? value_heads * key_dim : value_heads;
    auto inputs = context.columns_of_one(rows, {2 * key_heads * key_dim + values, value_heads, decays});
    if (wanted.aligned) {
        inputs[0] = random_alone(context, rows, 2 * key_heads * key_dim + values);
        inputs[2] = random_alone(context, rows, decays);
    }
    const GatedDeltaRule op{
        .qkv = inputs[0],
        .b = inputs[1],
        .a = inputs[2],
        .a_log = context.random(1, value_heads, wanted.decays),
        .dt_bias = context.random(1, decays, 2),
        .key_heads = key_heads,
        .value_heads = value_heads,
        .key_dim = key_dim,
        .value_dim = value_dim,
        .tiled = wanted.tiled,
        .decay_bound = wanted.bound,
        .sequences = sequences_of(context.backend(), sequences),
        .states = random_states(context, sequences.size(), values, key_dim, 0.3f, wanted.aligned ? 4 : 3),
        .out = context.output(rows, values)};
    context.backend().run(op);
    context.result(op.out);
    for (size_t s = 0; s < sequences.size(); ++s) context.result(read_state(context.backend(), op.states, s));
}

}  // namespace

std::vector<OpCase> linear_attention_cases() {
    const auto delta = [](const char* name, const DeltaCase& wanted) {
        return OpCase{name, Rounding::kNone, [wanted](CaseContext& context) { gated_delta_rule(context, wanted); }};
    };
    const auto convolution = [](bool biased, int64_t distance = 1) {
        return [=](CaseContext& context) { causal_convolution(context, biased, distance); };
    };
    const auto scan = [](bool long_batch) {
        return [long_batch](CaseContext& context) { selective_scan(context, long_batch); };
    };
    return {{"CausalConvolution", Rounding::kNone, convolution(false)},
            {"CausalConvolution, aligned", Rounding::kNone, aligned_convolution},
            {"CausalConvolution, biased", Rounding::kNone, convolution(true)},
            {"CausalConvolution, taps apart", Rounding::kNone, convolution(false, 3)},
            {"SelectiveScan", Rounding::kNone, scan(false)},
            {"SelectiveScan, many rows", Rounding::kNone, scan(true)},
            delta("GatedDeltaRule", {}),
            delta("GatedDeltaRule, many rows", {.long_batch = true}),
            delta("GatedDeltaRule, tiled heads", {.tiled = true}),
            delta("GatedDeltaRule, aligned", {.long_batch = true, .aligned = true}),
            delta("GatedDeltaRule, extreme decay", {.decays = 4, .long_batch = true}),
            delta("GatedDeltaRule, decay by channel", {.long_batch = true, .by_channel = true}),
            delta("GatedDeltaRule, decay by channel, aligned", {.by_channel = true, .aligned = true}),
            delta("GatedDeltaRule, bounded decay", {.long_batch = true, .bound = -5}),
            delta("GatedDeltaRule, bounded decay by channel", {.tiled = true, .by_channel = true, .bound = -5})};
}

}  // namespace sluice
