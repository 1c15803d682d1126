// Residual streams that are read and written through gates.

#include "tests/backend/op_cases.h"

namespace sluice {

namespace {

void gate(CaseContext& context, bool silu) {
    const Tensor x = context.random(context.pick_of({1, 2, 17}), context.pick_of({1, 5, 64, 320}), 3);
    context.backend().run(
        Gate{.x = x, .factor = context.flip() ? 1.0f : 0.25f, .gain = context.flip() ? 1.0f : 2.0f, .silu = silu});
    context.result(x);
}

void average_gated_streams(CaseContext& context) {
    const int64_t rows = context.pick_of({1, 2, 17}), hidden = context.pick_of({1, 16, 255, 300, 513});
    const int64_t columns = context.pick(1, 4) * hidden;
    const AverageGatedStreams op{.streams = context.random(rows, columns),
                                 .gates = context.random(rows, columns, 3),
                                 .out = context.output(rows, hidden)};
    context.backend().run(op);
    context.result(op.out);
}

// A key that matches nothing has a gate of a half.
void match_streams(CaseContext& context, bool zero) {
    const int64_t rows = context.pick_of({1, 2, 17}), hidden = context.pick_of({1, 16, 300});
    const int64_t columns = context.pick(1, 4) * hidden;
    const MatchStreams op{.keys = context.random(rows, columns, zero ? 0.0f : 1.0f),
                          .queries = context.random(rows, columns),
                          .value = context.random(rows, hidden),
                          .out = context.output(rows, columns)};
    context.backend().run(op);
    context.result(op.out);
}

}  // namespace

std::vector<OpCase> gated_stream_cases() {
    return {{"Gate, sigmoid", Rounding::kNone, [](CaseContext& context) { gate(context, false); }},
            {"Gate, silu", Rounding::kNone, [](CaseContext& context) { gate(context, true); }},
            {"AverageGatedStreams", Rounding::kNone, average_gated_streams},
            {"MatchStreams", Rounding::kNone, [](CaseContext& context) { match_streams(context, false); }},
            {"MatchStreams of nothing", Rounding::kNone, [](CaseContext& context) { match_streams(context, true); }}};
}

}  // namespace sluice
