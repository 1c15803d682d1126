// Batches of many rows whose weights lie as loaders put them: what backends have fast paths for.

#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "tensor/codecs.h"
#include "tests/backend/op_cases.h"

namespace sluice {

namespace {

// On either side of the sizes of tiles.
int64_t pick_many_rows(CaseContext& context) {
    return context.pick_of({33, 64, 65, 129, 200, 257, 300, 390});
}

struct ProductSizes {
    int64_t rows, columns, outputs;
};

void multiply_many_rows(CaseContext& context, const WeightFormat& format, const ProductSizes& sizes,
                        bool full_precision) {
    const auto [rows, columns, outputs] = sizes;
    const bool accumulate = context.flip();
    const Tensor out = accumulate ? context.random(rows, outputs) : context.output(rows, outputs);
    const Tensor x = context.random(rows, columns);
    context.backend().run(Linear{.x = x,
                                 .weight = context.aligned_weight(format, outputs, columns),
                                 .bias = context.flip() ? context.random(1, outputs) : Tensor{},
                                 .out = out,
                                 .accumulate = accumulate,
                                 .full_precision = full_precision});
    context.result(out);
}

void many_row_linear(CaseContext& context, const WeightFormat& format, bool full_precision) {
    multiply_many_rows(context, format,
                       {.rows = pick_many_rows(context),
                        .columns = context.pick_of({1, 2, 3, 5, 8}) * 128,
                        .outputs = context.pick_of({1, 3, 64, 100, 131, 320})},
                       full_precision);
}

// More sums than small tiles are made for.
void many_sums(CaseContext& context) {
    multiply_many_rows(context, WeightFormat::floating(DType::kF32),
                       {.rows = context.pick_of({1030, 1100}),
                        .columns = context.pick_of({20, 35}),
                        .outputs = context.pick_of({1061, 1100})},
                       true);
}

// Experts that share out all rows unevenly; a row goes to two of them. Few of many experts: a table of more jobs than a
// launch takes.
void many_row_experts(CaseContext& context, const WeightFormat& format, const WeightFormat& down,
                      const Activation& activation) {
    constexpr int64_t kTopK = 2;
    const int64_t rows = context.pick_of({33, 70, 140, 260}), experts = context.pick_of({2, 5, 30});
    const int64_t hidden = 128, inner = 128 * context.pick(1, 2);
    const Tensor x = context.random(rows, hidden);
    std::vector<std::vector<int32_t>> wanted(static_cast<size_t>(experts)), targets(static_cast<size_t>(experts));
    for (int64_t row = 0; row < rows; ++row) {
        const auto first = static_cast<size_t>(std::min(context.pick(0, experts - 1), context.pick(0, experts - 1)));
        const auto second = (first + static_cast<size_t>(context.pick(1, experts - 1))) % static_cast<size_t>(experts);
        for (const size_t expert : {first, second}) {
            targets[expert].push_back(static_cast<int32_t>(kTopK * row + (expert == second ? 1 : 0)));
            wanted[expert].push_back(static_cast<int32_t>(row));
        }
    }
    GatedMlp op{.x = x, .groups = {}, .out = context.output(rows * kTopK, hidden), .activation = activation};
    const bool biased = context.flip();
    for (size_t e = 0; e < wanted.size(); ++e) {
        MlpGroup group{.gate = context.aligned_weight(format, inner, hidden),
                       .up = context.aligned_weight(format, inner, hidden),
                       .down = context.aligned_weight(down, hidden, inner)};
        if (biased) {
            group.gate_bias = context.random(1, inner, 0.5f);
            group.up_bias = context.random(1, inner, 0.5f);
            group.down_bias = context.random(1, hidden, 0.5f);
        }
        group.rows = context.integers(wanted[e]);
        group.out_rows = context.integers(targets[e]);
        op.groups.push_back(std::move(group));
    }
    context.backend().run(op);
    context.result(op.out);
}

// A shared expert: every row.
void many_row_mlp(CaseContext& context, const WeightFormat& format) {
    const int64_t rows = pick_many_rows(context);
    const int64_t hidden = 128 * context.pick(1, 3), inner = context.pick_of({64, 128, 320});
    const MlpGroup group{.gate = context.aligned_weight(format, inner, hidden),
                         .up = context.aligned_weight(format, inner, hidden),
                         .down = context.aligned_weight(format, hidden, inner)};
    const Tensor x = context.random(rows, hidden), out = context.output(rows, hidden);
    context.backend().run(GatedMlp{.x = x, .groups = {group}, .out = out});
    context.result(out);
}

}  // namespace

std::vector<OpCase> many_row_cases() {
    const WeightFormat bf16 = WeightFormat::floating(DType::kBF16), fp8 = WeightFormat::fp8_block(128, 128);
    std::vector<WeightFormat> formats{bf16, fp8, WeightFormat::affine(8, 64, DType::kBF16),
                                      WeightFormat::affine(4, 64, DType::kF16)};
    for (const int group : {32, 64, 128}) formats.push_back(WeightFormat::affine(4, group, DType::kBF16));
    std::vector<OpCase> cases;
    for (const WeightFormat& format : formats) {
        const bool plain = format.codec == &kFloatCodec;
        const std::string name = format.describe() + (plain ? "" : ", scales " + std::string(dtype_name(format.dtype)));
        const Rounding rounding = rounding_of(format);
        cases.push_back({"Linear, many rows, " + name, rounding,
                         [format](CaseContext& context) { many_row_linear(context, format, false); }});
        cases.push_back({"GatedMlp, many rows, " + name, rounding,
                         [format](CaseContext& context) { many_row_experts(context, format, format, {}); }});
    }
    cases.push_back({"Linear in full precision, many rows", Rounding::kNone,
                     [=](CaseContext& context) { many_row_linear(context, bf16, true); }});
    cases.push_back({"Linear in full precision, many rows and outputs", Rounding::kNone, many_sums});
    const WeightFormat affine = WeightFormat::affine(4, 64, DType::kBF16);
    const Activation gelu{.kind = ActivationKind::kGeluTanh},
        clamped{.kind = ActivationKind::kClampedSwiglu, .alpha = 1.702f, .limit = 0.8f, .up_offset = 1};
    for (const Activation& activation : {gelu, clamped, Activation{.kind = ActivationKind::kSquaredRelu}}) {
        cases.push_back({"GatedMlp, many rows, " + std::string(name_of(activation.kind)), rounding_of(affine),
                         [=](CaseContext& context) { many_row_experts(context, affine, affine, activation); }});
    }
    cases.push_back({"GatedMlp, many rows, downs in BF16", rounding_of(affine),
                     [=](CaseContext& context) { many_row_experts(context, affine, bf16, {}); }});
    cases.push_back({"GatedMlp, many rows, downs in FP8", rounding_of(affine),
                     [=](CaseContext& context) { many_row_experts(context, bf16, fp8, {}); }});
    for (const WeightFormat& format : {affine, bf16}) {
        cases.push_back({"GatedMlp, many rows, one group of all, " + format.describe(), rounding_of(format),
                         [format](CaseContext& context) { many_row_mlp(context, format); }});
    }
    return cases;
}

}  // namespace sluice
