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
Tensor step_output(CaseContext& context, int64_t columns) {
    return make_tensor(context.bytes(std::vector<std::byte>(static_cast<size_t>(columns) * 4, std::byte{0xff})),
                       DType::kF32, 1, columns);
}
StateSlots step_states(CaseContext& context, int64_t rows, int64_t columns, float scale) {
    return states_of(context.backend(), {context.normals(rows * columns, scale)}, rows, columns, 4);
}

void norm_and_products(CaseContext& context, bool recorded) {
    const int64_t hidden = context.pick_of({128, 384, 2048, 4096}), channels = context.pick_of({16, 124, 272});
    const WeightFormat four = WeightFormat::affine(4, context.flip() ? 64 : 128, DType::kBF16);
    const WeightFormat eight = WeightFormat::affine(8, 64, DType::kBF16);
    Backend& backend = context.backend();
    const Tensor x = step_tensor(context, hidden), normed = step_output(context, hidden);
    const Tensor inputs = step_output(context, channels), convolved = step_output(context, channels);
    const Tensor gate = step_output(context, 40), few = step_output(context, 9), one = step_output(context, 1);
    // Now and then at places that no kernel reads in whole words.
    const bool aligned = context.pick(0, 3) > 0;
    const auto weight = [&](const WeightFormat& format, int64_t rows) {
        return aligned ? context.aligned_weight(format, rows, hidden) : context.weight(format, rows, hidden);
    };
    const auto product = [&](const Weight& of, const Tensor& out, bool full_precision) {
        return Linear{.x = normed, .weight = of, .out = out, .full_precision = full_precision};
    };
    const StateSlots states = step_states(context, 3, channels, 1);
    run_step(backend,
             {RmsNorm{.x = x, .weight = step_tensor(context, hidden), .epsilon = 1e-6f, .out = normed},
              product(weight(four, channels), inputs, false), product(weight(four, 40), gate, false),
              product(weight(eight, 9), few, true), product(weight(eight, 1), one, true),
              CausalConvolution{.x = inputs,
                                .weight = step_tensor(context, 4, 0.5f, channels),
                                .sequences = sequences_of(backend, {{.first_row = 0, .count = 1, .position = 7}}),
                                .states = states,
                                .out = convolved}},
             recorded);
    for (const Tensor& each : {normed, inputs, gate, few, one, convolved}) context.result(each);
    context.result(read_state(backend, states, 0));
}

void product_of_a_row(CaseContext& context, bool recorded) {
    const int64_t columns = context.pick_of({128, 640, 4096}), outputs = context.pick_of({16, 100, 304});
    const Tensor x = step_tensor(context, columns), out = step_tensor(context, outputs);
    const Weight weight = context.aligned_weight(WeightFormat::affine(4, 64, DType::kBF16), outputs, columns);
    run_step(context.backend(), {Linear{.x = x, .weight = weight, .out = out, .accumulate = context.flip()}}, recorded);
    context.result(out);
}

void delta_rule_and_norm(CaseContext& context, bool recorded) {
    const int64_t key_heads = context.pick(1, 2), value_heads = key_heads * context.pick(1, 2);
    const int64_t key_dim = context.pick_of({64, 128}), value_dim = 128, values = value_heads * value_dim;
    const Tensor out = step_output(context, values);
    const StateSlots states = step_states(context, values, key_dim, 0.3f);
    Backend& backend = context.backend();
    run_step(backend,
             {GatedDeltaRule{.qkv = step_tensor(context, 2 * key_heads * key_dim + values),
                             .b = step_tensor(context, value_heads),
                             .a = step_tensor(context, value_heads),
                             .a_log = step_tensor(context, value_heads),
                             .dt_bias = step_tensor(context, value_heads),
                             .key_heads = key_heads,
                             .value_heads = value_heads,
                             .key_dim = key_dim,
                             .value_dim = value_dim,
                             .tiled = context.flip(),
                             .sequences = sequences_of(backend, {{.first_row = 0, .count = 1, .position = 0}}),
                             .states = states,
                             .out = out},
              GatedRmsNorm{.x = out,
                           .z = step_tensor(context, values),
                           .weight = step_tensor(context, value_dim),
                           .epsilon = 1e-6f,
                           .out = out}},
             recorded);
    context.result(out);
    context.result(read_state(backend, states, 0));
}

void heads_and_attention(CaseContext& context, bool recorded, KvFormat format) {
    const int64_t head_dim = context.pick_of({64, 128, 256}), kv_heads = 2, heads = kv_heads * context.pick(1, 4);
    const int64_t position = context.pick_of({0, 5, 63, 200}), page_tokens = 16;
    const GroupedKvLayout layout(format, page_tokens, kv_heads, head_dim, head_dim);
    CacheBuilder builder(format, page_tokens, layout.page_bytes());
    builder.add_empty(position + 1);
    Backend& backend = context.backend();
    const PagedCache cache = builder.build(backend);
    const Sequences sequence = sequences_of(backend, {{.first_row = 0, .count = 1, .position = position}});
    const Tensor query = step_tensor(context, heads * head_dim), gate = step_tensor(context, heads * head_dim);
    const Tensor key = step_tensor(context, kv_heads * head_dim), value = step_tensor(context, kv_heads * head_dim);
    const Tensor out = step_output(context, heads * head_dim);
    const Tensor positions = int_table(backend, {static_cast<int32_t>(position)}, 1);
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
        operations.push_back(SplitQueryGate{
            .fused = step_tensor(context, 2 * heads * head_dim), .head_dim = head_dim, .query = query, .gate = gate});
    }
    operations.insert(operations.end(), {norm(query), norm(key), turn(query), turn(key)});
    operations.push_back(
        AppendKeyValue{.keys = key, .values = value, .kv_heads = kv_heads, .sequences = sequence, .cache = cache});
    operations.push_back(Attention{.query = query,
                                   .heads = heads,
                                   .kv_heads = kv_heads,
                                   .scale = 0.1f,
                                   .sequences = sequence,
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
                                 {"Step, product of a row", Rounding::kInt8, of(product_of_a_row)},
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
