#include "tests/backend/op_cases.h"
#include "tests/backend/step_tables.h"

namespace sluice {

namespace {

StateSlots random_states(CaseContext& context, size_t count, int64_t rows, int64_t columns, float scale) {
    std::vector<std::vector<float>> states;
    for (size_t s = 0; s < count; ++s) states.push_back(context.normals(rows * columns, scale));
    return states_of(context.backend(), states, rows, columns);
}

void causal_convolution(CaseContext& context) {
    const auto sequences = context.sequences(0);
    const int64_t channels = context.pick_of({1, 5, 48, 200});
    const int64_t kernel = context.pick_of({2, 3, 4, 4, 7});
    const int64_t rows = total_rows(sequences);
    const CausalConvolution op{.x = context.random(rows, channels),
                               .weight = context.random(channels, kernel, 0.5f),
                               .sequences = sequences_of(context.backend(), sequences),
                               .states = random_states(context, sequences.size(), kernel - 1, channels, 1),
                               .out = context.output(rows, channels)};
    context.backend().run(op);
    context.result(op.out);
    for (size_t s = 0; s < sequences.size(); ++s) context.result(read_state(context.backend(), op.states, s));
}

// `decays` scales a_log: small ones keep the state for hundreds of tokens, large ones forget within a token.
void gated_delta_rule(CaseContext& context, float decays, bool long_batch, bool tiled = false) {
    auto sequences = context.sequences(0);
    if (long_batch) sequences.back().count = context.pick_of({63, 64, 65, 130, 257});
    const int64_t key_heads = context.pick(1, 3);
    const int64_t value_heads = key_heads * context.pick(1, 3);
    const int64_t key_dim = context.pick_of({4, 16, 33, 64, 128});
    const int64_t value_dim = context.pick_of({3, 16, 40, 64, 130});
    const int64_t values = value_heads * value_dim;
    const int64_t rows = total_rows(sequences);
    const auto inputs = context.columns_of_one(rows, {2 * key_heads * key_dim + values, value_heads, value_heads});
    const GatedDeltaRule op{.qkv = inputs[0],
                            .b = inputs[1],
                            .a = inputs[2],
                            .a_log = context.random(1, value_heads, decays),
                            .dt_bias = context.random(1, value_heads, 2),
                            .key_heads = key_heads,
                            .value_heads = value_heads,
                            .key_dim = key_dim,
                            .value_dim = value_dim,
                            .tiled = tiled,
                            .sequences = sequences_of(context.backend(), sequences),
                            .states = random_states(context, sequences.size(), values, key_dim, 0.3f),
                            .out = context.output(rows, values)};
    context.backend().run(op);
    context.result(op.out);
    for (size_t s = 0; s < sequences.size(); ++s) context.result(read_state(context.backend(), op.states, s));
}

}  // namespace

std::vector<OpCase> linear_attention_cases() {
    return {{"CausalConvolution", Rounding::kNone, causal_convolution},
            {"GatedDeltaRule", Rounding::kNone, [](CaseContext& context) { gated_delta_rule(context, 1, false); }},
            {"GatedDeltaRule, many rows", Rounding::kNone,
             [](CaseContext& context) { gated_delta_rule(context, 1, true); }},
            {"GatedDeltaRule, tiled heads", Rounding::kNone,
             [](CaseContext& context) { gated_delta_rule(context, 1, false, true); }},
            {"GatedDeltaRule, extreme decay", Rounding::kNone,
             [](CaseContext& context) { gated_delta_rule(context, 4, true); }}};
}

}  // namespace sluice
