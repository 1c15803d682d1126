// Operations of a step of one row in the order that models have them, which a card's kernels take together.

#include <cstring>

#include "backend/kv_layout.h"
#include "tests/backend/op_cases.h"
#include "tests/backend/step_tables.h"

namespace sluice {

namespace {

// Places as models have them: alone in memory.
Tensor step_tensor(CaseContext& context, int64_t columns, float scale = 1, int64_t rows = 1) {
    const std::vector<float> values = context.normals(rows * columns, scale);
    std::vector<std::byte> content(values.size() * sizeof(float));
    std::memcpy(content.data(), values.data(), content.size());
    return make_tensor(context.bytes(content), DType::kF32, rows, columns);
}
Tensor step_output(CaseContext& context, int64_t columns, int64_t rows = 1) {
    return make_tensor(context.bytes(std::vector<std::byte>(static_cast<size_t>(rows * columns) * 4, std::byte{0xff})),
                       DType::kF32, rows, columns);
}
StateSlots step_states(CaseContext& context, int64_t sequences, int64_t rows, int64_t columns, float scale) {
    std::vector<std::vector<float>> states;
    for (int64_t s = 0; s < sequences; ++s) states.push_back(context.normals(rows * columns, scale));
    return states_of(context.backend(), states, rows, columns, 4, context.flip());
}
void step_result(CaseContext& context, const StateSlots& states) {
    for (int64_t s = 0; s < states.slots.rows; ++s) {
        context.result(read_state(context.backend(), states, static_cast<size_t>(s)));
    }
}

// A new token of each, behind tokens whose numbers are drawn from `positions`.
std::vector<SequenceRows> step_sequences(CaseContext& context, int64_t count, const std::vector<int64_t>& positions) {
    std::vector<SequenceRows> sequences;
    for (int64_t s = 0; s < count; ++s) {
        sequences.push_back({.first_row = s, .count = 1, .position = context.pick_of(positions)});
    }
    return sequences;
}

void norm_and_products(CaseContext& context, bool recorded) {
    const int64_t hidden = context.pick_of({128, 384, 2048, 4096}), channels = context.pick_of({16, 124, 272});
    const WeightFormat four = WeightFormat::affine(4, context.flip() ? 64 : 128, DType::kBF16);
    const WeightFormat eight = WeightFormat::affine(8, 64, DType::kBF16);
    Backend& backend = context.backend();
    const int64_t rows = context.pick_of({1, 1, 1, 7, 18});
    const Tensor x = step_tensor(context, hidden, 1, rows), normed = step_output(context, hidden, rows);
    const Tensor inputs = step_output(context, channels, rows), convolved = step_output(context, channels, rows);
    const Tensor gate = step_output(context, 40, rows), few = step_output(context, 9, rows);
    const Tensor one = step_output(context, 1, rows);
    // Now and then at places that no kernel reads in whole words.
    const bool aligned = context.pick(0, 3) > 0;
    const auto weight = [&](const WeightFormat& format, int64_t outputs) {
        return aligned ? context.aligned_weight(format, outputs, hidden) : context.weight(format, outputs, hidden);
    };
    const auto product = [&](const Weight& of, const Tensor& out, bool full_precision) {
        return Linear{.x = normed, .weight = of, .out = out, .full_precision = full_precision};
    };
    const StateSlots states = step_states(context, rows, 3, channels, 1);
    run_step(backend,
             {RmsNorm{.x = x, .weight = step_tensor(context, hidden), .epsilon = 1e-6f, .out = normed},
              product(weight(four, channels), inputs, false), product(weight(four, 40), gate, false),
              product(weight(eight, 9), few, true), product(weight(eight, 1), one, true),
              CausalConvolution{.x = inputs,
                                .weight = step_tensor(context, 4, 0.5f, channels),
                                .sequences = sequences_of(backend, step_sequences(context, rows, {7})),
                                .states = states,
                                .out = convolved}},
             recorded);
    for (const Tensor& each : {normed, inputs, gate, few, one, convolved}) context.result(each);
    step_result(context, states);
}

void product_of_rows(CaseContext& context, bool recorded) {
    const int64_t columns = context.pick_of({128, 640, 4096}), outputs = context.pick_of({16, 100, 304});
    const int64_t rows = context.pick_of({1, 1, 3, 6, 16, 40, 64});
    const Tensor x = step_tensor(context, columns, 1, rows), out = step_tensor(context, outputs, 1, rows);
    const Weight weight = context.aligned_weight(WeightFormat::affine(4, 64, DType::kBF16), outputs, columns);
    run_step(context.backend(), {Linear{.x = x, .weight = weight, .out = out, .accumulate = context.flip()}}, recorded);
    context.result(out);
}

void delta_rule_and_norm(CaseContext& context, bool recorded) {
    const int64_t key_heads = context.pick(1, 2), value_heads = key_heads * context.pick(1, 2);
    const int64_t key_dim = context.pick_of({64, 128}), value_dim = 128, values = value_heads * value_dim;
    const int64_t rows = context.pick_of({1, 1, 2, 17});
    const Tensor out = step_output(context, values, rows);
    const StateSlots states = step_states(context, rows, values, key_dim, 0.3f);
    Backend& backend = context.backend();
    run_step(backend,
             {GatedDeltaRule{.qkv = step_tensor(context, 2 * key_heads * key_dim + values, 1, rows),
                             .b = step_tensor(context, value_heads, 1, rows),
                             .a = step_tensor(context, value_heads, 1, rows),
                             .a_log = step_tensor(context, value_heads),
                             .dt_bias = step_tensor(context, value_heads),
                             .key_heads = key_heads,
                             .value_heads = value_heads,
                             .key_dim = key_dim,
                             .value_dim = value_dim,
                             .tiled = context.flip(),
                             .sequences = sequences_of(backend, step_sequences(context, rows, {0})),
                             .states = states,
                             .out = out},
              GatedRmsNorm{.x = out,
                           .z = step_tensor(context, values, 1, rows),
                           .weight = step_tensor(context, value_dim),
                           .epsilon = 1e-6f,
                           .out = out}},
             recorded);
    context.result(out);
    step_result(context, states);
}

void heads_and_attention(CaseContext& context, bool recorded, KvFormat format) {
    const int64_t head_dim = context.pick_of({64, 128, 256}), kv_heads = 2, heads = kv_heads * context.pick(1, 4);
    const int64_t rows = context.pick_of({1, 1, 2, 9}), page_tokens = 16;
    const std::vector<SequenceRows> sequences = step_sequences(context, rows, {0, 5, 63, 200});
    const GroupedKvLayout layout(format, page_tokens, kv_heads, head_dim, head_dim);
    CacheBuilder builder(format, page_tokens, layout.page_bytes());
    for (const SequenceRows& each : sequences) builder.add_empty(each.position + 1);
    Backend& backend = context.backend();
    const PagedCache cache = builder.build(backend);
    const Sequences table = sequences_of(backend, sequences);
    const auto of_heads = [&](int64_t count) { return step_tensor(context, count * head_dim, 1, rows); };
    const Tensor query = of_heads(heads), gate = of_heads(heads), key = of_heads(kv_heads), value = of_heads(kv_heads);
    const Tensor out = step_output(context, heads * head_dim, rows);
    std::vector<int32_t> numbers;
    for (const SequenceRows& each : sequences) numbers.push_back(static_cast<int32_t>(each.position));
    const Tensor positions = int_table(backend, numbers, 1);
    const Tensor frequencies = step_tensor(context, head_dim / 4);
    const int64_t first = context.pick_of({0, head_dim / 2});
    const bool interleaved = context.flip(), fused = context.flip();
    const auto norm = [&](const Tensor& x) {
        return RmsNorm{.x = x, .weight = step_tensor(context, head_dim), .epsilon = 1e-6f, .out = x};
    };
    const auto turn = [&](const Tensor& x) {
        return Rotary{.x = x,
                      .positions = positions,
                      .frequencies = frequencies,
                      .head_dim = head_dim,
                      .first = first,
                      .interleaved = interleaved,
                      .magnitude = 0.9f};
    };
    std::vector<Operation> operations;
    if (fused) {
        operations.push_back(
            SplitQueryGate{.fused = of_heads(2 * heads), .head_dim = head_dim, .query = query, .gate = gate});
    }
    operations.insert(operations.end(), {norm(query), norm(key), turn(query), turn(key)});
    operations.push_back(
        AppendKeyValue{.keys = key, .values = value, .kv_heads = kv_heads, .sequences = table, .cache = cache});
    operations.push_back(Attention{.query = query,
                                   .heads = heads,
                                   .kv_heads = kv_heads,
                                   .scale = 0.1f,
                                   .sequences = table,
                                   .cache = cache,
                                   .out = out});
    operations.push_back(SigmoidGate{.x = out, .gate = gate});
    run_step(backend, operations, recorded);
    for (const Tensor& each : {query, key, gate, out}) context.result(each);
}

}  // namespace

std::vector<OpCase> step_cases(bool recorded) {
    const auto of = [&](auto compute) { return [=](CaseContext& context) { compute(context, recorded); }; };
    std::vector<OpCase> cases = {{"Step, norm and products", Rounding::kInt8, of(norm_and_products)},
                                 {"Step, product of rows", Rounding::kInt8, of(product_of_rows)},
                                 {"Step, delta rule and norm", Rounding::kNone, of(delta_rule_and_norm)},
                                 {"Step, heads and attention", Rounding::kBf16, [=](CaseContext& context) {
                                      heads_and_attention(context, recorded, KvFormat::kF32);
                                  }}};
    for (OpCase& each : step_expert_cases(recorded)) cases.push_back(std::move(each));
    return cases;
}

std::vector<OpCase> rounded_step_cases(bool recorded) {
    std::vector<OpCase> cases;
    for (const KvFormat format : {KvFormat::kBF16, KvFormat::kInt8}) {
        cases.push_back({"Step, heads and attention over a rounded cache", Rounding::kInt8,
                         [=](CaseContext& context) { heads_and_attention(context, recorded, format); }});
    }
    return cases;
}

}  // namespace sluice
