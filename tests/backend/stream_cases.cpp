// A residual of several streams.

#include "tests/backend/op_cases.h"

namespace sluice {

namespace {

struct StreamSizes {
    int64_t rows, count, hidden;
};

StreamSizes pick_sizes(CaseContext& context) {
    return {.rows = context.pick(1, 5), .count = context.pick_of({1, 2, 3, 4, 6}), .hidden = context.pick(1, 200)};
}

void connect_streams(CaseContext& context, bool reads_alone) {
    const auto [rows, count, hidden] = pick_sizes(context);
    const int64_t columns = reads_alone ? count : (2 + count) * count;
    const Tensor coefficients = context.random(rows, columns, 2);
    context.backend().run(ConnectStreams{.coefficients = coefficients,
                                         .streams = context.random(rows, count * hidden, 3),
                                         .base = context.random(1, columns),
                                         .scale = context.random(1, reads_alone ? 1 : 3),
                                         .count = count,
                                         .rounds = context.pick_of({1, 2, 20}),
                                         .norm_epsilon = 1e-5f,
                                         .epsilon = context.flip() ? 1e-6f : 0.01f});
    context.result(coefficients);
}

void weigh_streams(CaseContext& context) {
    const auto [rows, count, hidden] = pick_sizes(context);
    const Tensor out = context.output(rows, hidden);
    context.backend().run(WeighStreams{.streams = context.random(rows, count * hidden),
                                       .weights = context.flip() ? context.random(rows, count) : Tensor{},
                                       .out = out});
    context.result(out);
}

void mix_streams(CaseContext& context) {
    const auto [rows, count, hidden] = pick_sizes(context);
    const Tensor streams = context.random(rows, count * hidden);
    context.backend().run(MixStreams{.x = context.random(rows, hidden),
                                     .weights = context.random(rows, count),
                                     .mix = context.flip() ? context.random(rows, count * count) : Tensor{},
                                     .streams = streams});
    context.result(streams);
}

}  // namespace

std::vector<OpCase> stream_cases() {
    return {
        {"ConnectStreams", Rounding::kNone, [](CaseContext& context) { connect_streams(context, false); }},
        {"ConnectStreams, read alone", Rounding::kNone, [](CaseContext& context) { connect_streams(context, true); }},
        {"WeighStreams", Rounding::kNone, weigh_streams},
        {"MixStreams", Rounding::kNone, mix_streams}};
}

}  // namespace sluice
