// One row of a run of tokens.

#include "tests/backend/op_cases.h"
#include "tests/backend/step_tables.h"

namespace sluice {

namespace {

void pool_tokens(CaseContext& context, bool overlapping, bool gated = true) {
    const auto sequences = context.sequences(60);
    const int64_t ratio = context.pick_of({1, 4, 16}), channels = context.pick_of({1, 6, 64, 130});
    const int64_t width = overlapping ? 2 * channels : channels, rows = total_rows(sequences);
    const int64_t seen = overlapping ? 2 * ratio : ratio, kept = gated ? 2 * width : width;
    std::vector<std::vector<float>> states;
    for (size_t s = 0; s < sequences.size(); ++s) states.push_back(context.normals(seen * kept));
    const PoolTokens op{.values = context.random(rows, width),
                        .gates = gated ? context.random(rows, width, 2) : Tensor{},
                        .offsets = context.random(ratio, width),
                        .overlapping = overlapping,
                        .sequences = sequences_of(context.backend(), sequences),
                        .states = states_of(context.backend(), states, seen, kept),
                        .out = context.output(rows, channels)};
    context.backend().run(op);
    context.result(op.out);
    for (size_t s = 0; s < sequences.size(); ++s) context.result(read_state(context.backend(), op.states, s));
}

}  // namespace

std::vector<OpCase> pooling_cases() {
    return {
        {"PoolTokens", Rounding::kNone, [](CaseContext& context) { pool_tokens(context, false); }},
        {"PoolTokens without gates", Rounding::kNone, [](CaseContext& context) { pool_tokens(context, false, false); }},
        {"PoolTokens, overlapping", Rounding::kNone, [](CaseContext& context) { pool_tokens(context, true); }}};
}

}  // namespace sluice
