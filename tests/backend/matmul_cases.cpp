// Operations that read weights: every format, from one row to enough of them for a backend's batched path.

#include <algorithm>
#include <numeric>

#include "tensor/codecs.h"
#include "tests/backend/op_cases.h"

namespace sluice {

namespace {

int64_t pick_rows(CaseContext& context) {
    return context.pick_of({1, 1, 2, 3, 7, 8, 19, 33, 70});
}

void embed(CaseContext& context, const WeightFormat& format) {
    const int64_t vocabulary = context.pick(1, 150);
    const int64_t hidden = columns_for(format, context.pick(1, 3));
    std::vector<int32_t> ids(static_cast<size_t>(pick_rows(context)));
    for (int32_t& id : ids) id = static_cast<int32_t>(context.pick(0, vocabulary - 1));
    const Tensor out = context.output(static_cast<int64_t>(ids.size()), hidden);
    const Weight table = context.weight(format, vocabulary, hidden);
    context.backend().run(Embed{.ids = context.integers(ids), .table = table, .out = out});
    context.result(out);
}

void linear(CaseContext& context, const WeightFormat& format) {
    const int64_t rows = pick_rows(context);
    const int64_t columns = columns_for(format, context.pick(1, 5));
    const int64_t outputs = context.pick_of({1, 2, 5, 16, 37, 64, 131, 200});
    const bool accumulate = context.flip();
    const Tensor out = accumulate ? context.random(rows, outputs) : context.output(rows, outputs);
    const Tensor x = context.random(rows, columns);
    context.backend().run(Linear{.x = x,
                                 .weight = context.weight(format, outputs, columns),
                                 .bias = context.flip() ? context.random(1, outputs) : Tensor{},
                                 .out = out,
                                 .accumulate = accumulate});
    context.result(out);
}

void full_precision_linear(CaseContext& context, const WeightFormat& format) {
    const int64_t rows = pick_rows(context);
    const int64_t columns = columns_for(format, context.pick(1, 5));
    const int64_t outputs = context.pick_of({1, 8, 60, 128});
    const Tensor out = context.output(rows, outputs);
    const Tensor x = context.random(rows, columns);
    context.backend().run(
        Linear{.x = x, .weight = context.weight(format, outputs, columns), .out = out, .full_precision = true});
    context.result(out);
}

// Several experts of one shape; every row goes to some of them, some rows to none, one expert gets no rows.
void gated_mlp(CaseContext& context, const WeightFormat& format, const Activation& activation = {}) {
    const int64_t rows = pick_rows(context);
    const int64_t hidden = columns_for(format, context.pick(1, 3));
    const int64_t inner = columns_for(format, context.pick(1, 3));
    const int64_t experts = context.pick(1, 4);
    const Tensor x = context.random(rows, hidden);
    std::vector<int32_t> places(static_cast<size_t>(rows * experts));
    std::iota(places.begin(), places.end(), 0);
    for (size_t i = places.size(); i > 1; --i) {
        std::swap(places[i - 1], places[static_cast<size_t>(context.pick(0, static_cast<int64_t>(i) - 1))]);
    }
    GatedMlp op{.x = x, .groups = {}, .out = context.random(rows * experts, hidden), .activation = activation};
    for (int64_t e = 0; e < experts; ++e) {
        MlpGroup group{.gate = activation.gated() ? context.weight(format, inner, hidden) : Weight{},
                       .up = context.weight(format, inner, hidden),
                       .down = context.weight(format, hidden, inner)};
        if (context.flip()) {
            group.gate_bias = context.random(1, inner, 0.5f);
            group.up_bias = context.random(1, inner, 0.5f);
            group.down_bias = context.random(1, hidden, 0.5f);
        }
        std::vector<int32_t> wanted, targets;
        const bool idle = e > 0 && context.pick(0, 3) == 0;
        for (int64_t row = 0; row < rows && !idle; ++row) {
            if (context.pick(0, 3) == 0) continue;
            wanted.push_back(static_cast<int32_t>(row));
            targets.push_back(places.back());
            places.pop_back();
        }
        group.rows = context.integers(wanted);
        group.out_rows = context.integers(targets);
        op.groups.push_back(std::move(group));
    }
    context.backend().run(op);
    context.result(op.out);
}

// Gate, up and down in formats of their own, as mixed quantizations have them.
void mixed_mlp(CaseContext& context) {
    const int64_t rows = pick_rows(context);
    MlpGroup group{.gate = context.weight(WeightFormat::affine(4, 64, DType::kBF16), 128, 192),
                   .up = context.weight(WeightFormat::affine(6, 32, DType::kF16), 128, 192),
                   .down = context.weight(WeightFormat::floating(DType::kBF16), 192, 128)};
    std::vector<int32_t> backwards;
    for (int64_t row = rows - 1; row >= 0; --row) backwards.push_back(static_cast<int32_t>(row));
    if (context.flip()) group.rows = group.out_rows = context.integers(backwards);
    const Tensor out = context.output(rows, 192);
    context.backend().run(GatedMlp{.x = context.random(rows, 192), .groups = {group}, .out = out});
    context.result(out);
}

// The narrow expert's rows end where the wide one's go on.
void experts_of_two_widths(CaseContext& context) {
    constexpr int64_t kHidden = 70;
    const int64_t rows = pick_rows(context);
    const WeightFormat format = WeightFormat::floating(DType::kBF16);
    GatedMlp op{.x = context.random(rows, kHidden), .groups = {}, .out = context.output(2 * rows, kHidden)};
    for (const int64_t inner : {101, 203}) {
        MlpGroup group{.gate = context.weight(format, inner, kHidden),
                       .up = context.weight(format, inner, kHidden),
                       .down = context.weight(format, kHidden, inner)};
        std::vector<int32_t> wanted, targets;
        for (int32_t row = 0; row < rows; ++row) {
            wanted.push_back(row);
            targets.push_back(row + (inner == 101 ? 0 : static_cast<int32_t>(rows)));
        }
        group.rows = context.integers(wanted);
        group.out_rows = context.integers(targets);
        op.groups.push_back(std::move(group));
    }
    context.backend().run(op);
    context.result(op.out);
}

std::string format_name(const WeightFormat& format) {
    if (format.codec != &kAffineCodec) return format.describe();
    return format.describe() + ", scales " + std::string(dtype_name(format.dtype));
}

}  // namespace

std::vector<OpCase> matmul_cases() {
    std::vector<OpCase> cases;
    for (const WeightFormat& format : all_weight_formats()) {
        const std::string name = format_name(format);
        const Rounding rounding = rounding_of(format);
        cases.push_back(
            {"Embed, " + name, Rounding::kNone, [format](CaseContext& context) { embed(context, format); }});
        cases.push_back({"Linear, " + name, rounding, [format](CaseContext& context) { linear(context, format); }});
        cases.push_back({"Linear in full precision, " + name, Rounding::kNone,
                         [format](CaseContext& context) { full_precision_linear(context, format); }});
        cases.push_back(
            {"GatedMlp, " + name, rounding, [format](CaseContext& context) { gated_mlp(context, format); }});
    }
    const WeightFormat powers = WeightFormat::fp8_block(128, 128, DType::kF8E8M0);
    const Rounding rounding = rounding_of(powers);
    cases.push_back(
        {"Embed, FP8 128x128 with E8M0", Rounding::kNone, [powers](CaseContext& context) { embed(context, powers); }});
    cases.push_back(
        {"Linear, FP8 128x128 with E8M0", rounding, [powers](CaseContext& context) { linear(context, powers); }});
    cases.push_back(
        {"GatedMlp, FP8 128x128 with E8M0", rounding, [powers](CaseContext& context) { gated_mlp(context, powers); }});
    const Activation clamped{.kind = ActivationKind::kClampedSwiglu, .alpha = 1.702f, .limit = 0.8f, .up_offset = 1};
    const Activation cut{.kind = ActivationKind::kCutSilu, .limit = 0.4f};
    for (const Activation& activation : {Activation{.kind = ActivationKind::kGeluTanh}, clamped, cut,
                                         Activation{.kind = ActivationKind::kSquaredRelu}}) {
        const std::string name = "GatedMlp, " + std::string(name_of(activation.kind));
        const WeightFormat floats = WeightFormat::floating(DType::kF32),
                           affine = WeightFormat::affine(4, 64, DType::kBF16);
        for (const WeightFormat& format : {floats, affine}) {
            cases.push_back({name + ", " + format.describe(), rounding_of(format),
                             [=](CaseContext& context) { gated_mlp(context, format, activation); }});
        }
    }
    cases.push_back({"GatedMlp, experts of two widths", Rounding::kBf16, experts_of_two_widths});
    cases.push_back({"GatedMlp, mixed formats", Rounding::kInt8, mixed_mlp});
    return cases;
}

}  // namespace sluice
