#include <algorithm>

// Operations on single rows, and the routers.

#include <cmath>
#include <limits>
#include <numeric>

#include "tests/backend/op_cases.h"
#include "tests/backend/step_tables.h"

namespace sluice {

namespace {

int64_t pick_rows(CaseContext& context) {
    return context.pick_of({1, 2, 3, 17, 64});
}

void rms_norm(CaseContext& context) {
    const int64_t rows = pick_rows(context);
    const int64_t width = context.pick_of({1, 5, 16, 64, 127, 256});
    const int64_t runs = context.pick(1, 5);
    const Tensor x = context.random(rows, runs * width, context.flip() ? 0.01f : 1.0f);
    const Tensor weight = context.random(1, width);
    const Tensor out = context.flip() ? x : context.output(rows, runs * width);
    context.backend().run(RmsNorm{.x = x, .weight = weight, .epsilon = 1e-5f, .out = out});
    context.result(out);
}

// A weight of several runs, once or twice in a row.
void rms_norm_of_runs(CaseContext& context) {
    const int64_t rows = pick_rows(context), width = context.pick_of({1, 7, 32, 128});
    const int64_t weighed = context.pick(2, 4) * width, columns = context.pick(1, 2) * weighed;
    const Tensor x = context.random(rows, columns), weight = context.random(1, weighed);
    const Tensor out = context.flip() ? x : context.output(rows, columns);
    context.backend().run(RmsNorm{.x = x, .weight = weight, .width = width, .epsilon = 1e-5f, .out = out});
    context.result(out);
}

void layer_norm(CaseContext& context) {
    const int64_t rows = pick_rows(context);
    const int64_t width = context.pick_of({2, 7, 32, 128});
    const int64_t runs = context.pick(1, 3);
    const Tensor x = context.random(rows, runs * width, context.flip() ? 0.01f : 1.0f);
    const Tensor weight = context.random(1, width), bias = context.random(1, width);
    const Tensor out = context.flip() ? x : context.output(rows, runs * width);
    context.backend().run(LayerNorm{.x = x, .weight = weight, .bias = bias, .epsilon = 1e-6f, .out = out});
    context.result(out);
}

void gated_rms_norm(CaseContext& context, bool sigmoid) {
    const int64_t rows = pick_rows(context);
    const int64_t width = context.pick_of({1, 7, 32, 128});
    const int64_t heads = context.pick(1, 6);
    const Tensor x = context.random(rows, heads * width, context.flip() ? 1e-3f : 1.0f);
    const Tensor z = context.random(rows, heads * width, 2);
    const Tensor weight = context.random(1, width);
    const Tensor out = context.flip() ? x : context.output(rows, heads * width);
    context.backend().run(
        GatedRmsNorm{.x = x, .z = z, .weight = weight, .epsilon = 1e-6f, .sigmoid = sigmoid, .out = out});
    context.result(out);
}

void rotary(CaseContext& context) {
    const int64_t rows = pick_rows(context);
    const int64_t half = context.pick_of({1, 3, 8, 32});
    const int64_t first = context.pick_of({0, 0, 5, 16});
    const int64_t head_dim = first + 2 * half + context.pick_of({0, 0, 1, 24});
    const int64_t heads = context.pick(1, 5);
    const Tensor x = context.random(rows, heads * head_dim);
    std::vector<int32_t> positions(static_cast<size_t>(rows));
    for (int32_t& position : positions) position = static_cast<int32_t>(context.pick(0, context.flip() ? 20 : 100000));
    std::vector<float> frequencies(static_cast<size_t>(half));
    for (size_t i = 0; i < frequencies.size(); ++i) {
        frequencies[i] = static_cast<float>(std::pow(1e4, -static_cast<double>(i) / static_cast<double>(half)));
    }
    context.backend().run(Rotary{.x = x,
                                 .positions = context.integers(positions),
                                 .frequencies = context.filled(frequencies, 1, half),
                                 .head_dim = head_dim,
                                 .first = first,
                                 .interleaved = context.flip(),
                                 .magnitude = context.flip() ? 1.0f : 1.25f});
    context.result(x);
}

void split_query_gate(CaseContext& context) {
    const int64_t rows = pick_rows(context);
    const int64_t head_dim = context.pick_of({1, 3, 16, 64});
    const int64_t heads = context.pick(1, 5);
    const Tensor query = context.output(rows, heads * head_dim);
    const Tensor gate = context.output(rows, heads * head_dim);
    context.backend().run(SplitQueryGate{
        .fused = context.random(rows, 2 * heads * head_dim), .head_dim = head_dim, .query = query, .gate = gate});
    context.result(query);
    context.result(gate);
}

void sigmoid_gate(CaseContext& context, bool silu, bool of_runs = false) {
    const int64_t rows = pick_rows(context);
    const int64_t columns = context.pick_of({1, 31, 64, 300});
    const int64_t run = of_runs ? context.pick_of({2, 8, 17}) : 1;
    const Tensor gate = context.random(rows, columns, context.flip() ? 2 : 60.0f);
    const Tensor x = context.random(rows, columns * run);
    context.backend().run(SigmoidGate{.x = x, .gate = gate, .silu = silu});
    context.result(x);
}

void add(CaseContext& context, bool gated) {
    const int64_t rows = pick_rows(context);
    const int64_t columns = context.pick_of({1, 31, 64, 300});
    const Tensor out = context.random(rows, columns);
    context.backend().run(AddGated{
        .x = context.random(rows, columns), .gate = gated ? context.random(rows, 1, 3) : Tensor{}, .out = out});
    context.result(out);
}

void gather_rows(CaseContext& context) {
    const int64_t rows = pick_rows(context);
    const int64_t columns = context.pick_of({1, 31, 64, 300});
    std::vector<int32_t> wanted(static_cast<size_t>(context.pick(0, 40)));
    for (int32_t& row : wanted) row = static_cast<int32_t>(context.pick(0, rows - 1));
    const Tensor out = context.output(static_cast<int64_t>(wanted.size()), columns);
    context.backend().run(GatherRows{.x = context.random(rows, columns), .rows = context.integers(wanted), .out = out});
    context.result(out);
}

// Often with equals, and now and then with a number that is none.
void arg_max(CaseContext& context) {
    const int64_t rows = pick_rows(context);
    const int64_t columns = context.pick_of({1, 31, 64, 300, 5000});
    std::vector<float> numbers = context.normals(rows * columns);
    if (context.flip()) {
        for (float& number : numbers) number = std::round(number);
    }
    if (context.flip())
        numbers[static_cast<size_t>(context.pick(0, rows * columns - 1))] = std::numeric_limits<float>::infinity();
    const Tensor out = context.output(rows, 1, DType::kI32);
    context.backend().run(ArgMax{.x = context.filled(numbers, rows, columns), .out = out});
    context.result(out);
}

// Every way to cut, and now and then a row that cannot be drawn from.
void draw_token(CaseContext& context) {
    const int64_t rows = context.pick(1, 20), columns = context.pick_of({1, 31, 300, 5000, 9000});
    std::vector<float> numbers = context.normals(rows * columns, context.flip() ? 1.0f : 6.0f);
    if (context.flip()) {
        for (float& number : numbers) number = std::round(number);
    }
    if (context.pick(0, 3) == 0)
        numbers[static_cast<size_t>(context.pick(0, rows * columns - 1))] = std::numeric_limits<float>::quiet_NaN();
    std::vector<int32_t> settings;
    for (int64_t row = 0; row < rows; ++row) {
        append_row(settings, {.temperature = 0.1 * static_cast<double>(context.pick_of({1, 7, 10, 15, 300})),
                              .top_p = 0.01 * static_cast<double>(context.pick_of({1, 50, 95, 100, 100})),
                              .min_p = 0.01 * static_cast<double>(context.pick_of({0, 0, 2, 60, 100})),
                              .uniform = static_cast<double>(context.pick(0, 999)) / 1000 + 0.0003,
                              .top_k = context.pick_of({0, 0, 0, 1, 20, 3000})});
    }
    const Tensor table = int_table(context.backend(), settings, kDrawColumns);
    context.keep(table.buffer);
    const Tensor out = context.output(rows, 1, DType::kI32);
    context.backend().run(DrawToken{.x = context.filled(numbers, rows, columns), .settings = table, .out = out});
    context.result(out);
}

void combine_experts(CaseContext& context, bool weighed) {
    const int64_t rows = pick_rows(context);
    const int64_t top_k = context.pick(1, 10);
    const int64_t columns = context.pick_of({1, 31, 64, 300});
    const bool accumulate = context.flip();
    const Tensor out = accumulate ? context.random(rows, columns) : context.output(rows, columns);
    context.backend().run(CombineExperts{.parts = context.random(rows * top_k, columns),
                                         .weights = weighed ? context.random(rows, top_k) : Tensor{},
                                         .out = out,
                                         .accumulate = accumulate});
    context.result(out);
}

void weigh_rows(CaseContext& context) {
    const int64_t rows = pick_rows(context);
    const int64_t top_k = context.pick(1, 4);
    const int64_t columns = context.pick_of({1, 31, 64, 300});
    const Tensor out = context.output(rows * top_k, columns);
    context.backend().run(
        WeighRows{.x = context.random(rows, columns), .weights = context.random(rows, top_k), .out = out});
    context.result(out);
}

void scale(CaseContext& context) {
    const Tensor x = context.random(pick_rows(context), context.pick_of({1, 31, 64, 300}), context.flip() ? 1 : 40.0f);
    Scale op{.x = x, .factor = context.flip() ? 1.0f : 0.707f};
    if (context.flip()) (context.flip() ? op.limit : op.cap) = 30.0f;
    context.backend().run(op);
    context.result(x);
}

void scale_by_position(CaseContext& context) {
    const int64_t rows = pick_rows(context);
    const Tensor x = context.random(rows, context.pick_of({1, 31, 64, 300}));
    std::vector<int32_t> positions(static_cast<size_t>(rows));
    for (int32_t& position : positions) position = static_cast<int32_t>(context.pick(0, context.flip() ? 40 : 100000));
    context.backend().run(ScaleByPosition{.x = x,
                                          .positions = context.integers(positions),
                                          .factor = 0.1f,
                                          .interval = context.flip() ? 16.0f : 8192.0f});
    context.result(x);
}

void split_linear_projections(CaseContext& context) {
    const int64_t rows = pick_rows(context);
    const int64_t key_heads = context.pick(1, 4);
    const int64_t value_heads = key_heads * context.pick(1, 4);
    const int64_t key_dim = context.pick_of({1, 5, 16});
    const int64_t value_dim = context.pick_of({2, 7, 16});
    const int64_t keys = key_heads * key_dim, values = value_heads * value_dim;
    const SplitLinearProjections op{.qkvz = context.random(rows, 2 * keys + 2 * values),
                                    .ba = context.random(rows, 2 * value_heads),
                                    .key_heads = key_heads,
                                    .value_heads = value_heads,
                                    .key_dim = key_dim,
                                    .value_dim = value_dim,
                                    .qkv = context.output(rows, 2 * keys + values),
                                    .z = context.output(rows, values),
                                    .b = context.output(rows, value_heads),
                                    .a = context.output(rows, value_heads)};
    context.backend().run(op);
    for (const Tensor& tensor : {op.qkv, op.z, op.b, op.a}) context.result(tensor);
}

// Logits, some of them equal, so that ties are broken the same way everywhere.
Tensor logits_with_ties(CaseContext& context, int64_t rows, int64_t experts) {
    std::vector<float> logits = context.normals(rows * experts, 2);
    if (context.flip()) {
        for (float& logit : logits) logit = std::round(logit);
    }
    return context.filled(logits, rows, experts);
}

void route_softmax(CaseContext& context) {
    const int64_t rows = pick_rows(context);
    const int64_t experts = context.pick_of({1, 4, 60, 128, 512});
    const int64_t top_k = std::min<int64_t>(experts, context.pick(1, 10));
    const Tensor ids = context.output(rows, top_k, DType::kI32);
    const Tensor weights = context.output(rows, top_k);
    context.backend().run(Route{.logits = logits_with_ties(context, rows, experts),
                                .expert_scale = context.flip() ? context.random(1, experts) : Tensor{},
                                .normalize = context.flip(),
                                .ids = ids,
                                .weights = weights});
    context.result(ids);
    context.result(weights);
}

void route_by_token(CaseContext& context) {
    const int64_t rows = context.pick(1, 9), experts = context.pick_of({4, 16, 100}), top_k = context.pick(1, 4);
    const int64_t vocabulary = context.pick(1, 30);
    std::vector<int32_t> tokens, table;
    for (int64_t t = 0; t < rows; ++t) tokens.push_back(static_cast<int32_t>(context.pick(0, vocabulary - 1)));
    for (int64_t token = 0; token < vocabulary; ++token) {
        std::vector<int32_t> named;
        for (int64_t j = 0; j < top_k; ++j) named.push_back(static_cast<int32_t>(context.pick(0, experts - 1)));
        std::ranges::sort(named);
        table.insert(table.end(), named.begin(), named.end());
    }
    const Tensor ids = context.output(rows, top_k, DType::kI32), weights = context.output(rows, top_k);
    context.backend().run(Route{.logits = context.random(rows, experts, 2),
                                .tokens = int_table(context.backend(), tokens, 1),
                                .table = int_table(context.backend(), table, top_k),
                                .score = RouterScore::kSqrtSoftplus,
                                .normalize = context.flip(),
                                .scale = 1.5f,
                                .ids = ids,
                                .weights = weights});
    context.result(ids);
    context.result(weights);
}

void route_biased(CaseContext& context, RouterScore score, bool in_groups) {
    const int64_t rows = pick_rows(context);
    const int64_t groups = in_groups ? context.pick_of({1, 2, 8}) : 1;
    const int64_t group_size = context.pick_of({2, 5, 32});
    const int64_t groups_kept = context.pick(1, groups);
    const int64_t top_k = std::min<int64_t>(groups_kept * group_size, context.pick(1, 8));
    // Biases of either sign; some cases with all choices below zero.
    std::vector<float> bias = context.normals(groups * group_size, 0.3f);
    const float shift = context.flip() ? 0.0f : -3.0f;
    for (float& value : bias) value = std::round((value + shift) * 64) / 64;
    const Tensor ids = context.output(rows, top_k, DType::kI32);
    const Tensor weights = context.output(rows, top_k);
    context.backend().run(Route{.logits = logits_with_ties(context, rows, groups * group_size),
                                .bias = context.filled(bias, 1, groups * group_size),
                                .score = score,
                                .groups = groups,
                                .groups_kept = groups_kept,
                                .normalize = context.flip(),
                                .scale = 2.5f,
                                .ids = ids,
                                .weights = weights});
    context.result(ids);
    context.result(weights);
}

void copy_bytes(CaseContext& context) {
    std::vector<std::byte> content(static_cast<size_t>(context.pick(1, 9000)));
    for (std::byte& byte : content) byte = static_cast<std::byte>(context.pick(0, 200));
    const BufferPtr source = context.bytes(content);
    const BufferPtr target = context.backend().allocate(content.size() + 5);
    const uint64_t from = static_cast<uint64_t>(context.pick(0, static_cast<int64_t>(content.size()) - 1));
    context.backend().copy(source, from, target, 3, content.size() - from);
    std::vector<float> values;
    for (const std::byte byte : context.download(target)) values.push_back(static_cast<float>(byte));
    context.result(values);
}

}  // namespace

std::vector<OpCase> basic_cases() {
    return {{"RmsNorm", Rounding::kNone, rms_norm},
            {"RmsNorm of runs", Rounding::kNone, rms_norm_of_runs},
            {"LayerNorm", Rounding::kNone, layer_norm},
            {"GatedRmsNorm", Rounding::kNone, [](CaseContext& context) { gated_rms_norm(context, false); }},
            {"GatedRmsNorm, sigmoid", Rounding::kNone, [](CaseContext& context) { gated_rms_norm(context, true); }},
            {"Rotary", Rounding::kNone, rotary},
            {"SplitQueryGate", Rounding::kNone, split_query_gate},
            {"SigmoidGate", Rounding::kNone, [](CaseContext& context) { sigmoid_gate(context, false); }},
            {"SigmoidGate, silu", Rounding::kNone, [](CaseContext& context) { sigmoid_gate(context, true); }},
            {"SigmoidGate of runs", Rounding::kNone,
             [](CaseContext& context) { sigmoid_gate(context, context.flip(), true); }},
            {"AddGated with gate", Rounding::kNone, [](CaseContext& context) { add(context, true); }},
            {"AddGated without gate", Rounding::kNone, [](CaseContext& context) { add(context, false); }},
            {"GatherRows", Rounding::kNone, gather_rows},
            {"ArgMax", Rounding::kNone, arg_max},
            {"DrawToken", Rounding::kNone, draw_token},
            {"CombineExperts", Rounding::kNone, [](CaseContext& context) { combine_experts(context, true); }},
            {"CombineExperts without weights", Rounding::kNone,
             [](CaseContext& context) { combine_experts(context, false); }},
            {"WeighRows", Rounding::kNone, weigh_rows},
            {"Route by token", Rounding::kNone, route_by_token},
            {"Scale", Rounding::kNone, scale},
            {"ScaleByPosition", Rounding::kNone, scale_by_position},
            {"SplitLinearProjections", Rounding::kNone, split_linear_projections},
            {"Route by softmax", Rounding::kNone, route_softmax},
            {"Route by sigmoid in groups", Rounding::kNone,
             [](CaseContext& context) { route_biased(context, RouterScore::kSigmoid, true); }},
            {"Route by sigmoid", Rounding::kNone,
             [](CaseContext& context) { route_biased(context, RouterScore::kSigmoid, false); }},
            {"Route by sqrt-softplus", Rounding::kNone,
             [](CaseContext& context) { route_biased(context, RouterScore::kSqrtSoftplus, false); }},
            {"copy", Rounding::kNone, copy_bytes}};
}

}  // namespace sluice
