// Which operations of a step go to a card's kernels together.

#include <gtest/gtest.h>

#include "backend/backend.h"
#include "backend/cuda/fusion.h"

namespace sluice::cuda {
namespace {

const WeightFormat kFourBits = WeightFormat::affine(4, 64, DType::kBF16);
const WeightFormat kEightBits = WeightFormat::affine(8, 64, DType::kBF16);

class Fusion : public ::testing::Test {
  protected:
    static constexpr int64_t kHidden = 128;

    Tensor tensor(int64_t columns = kHidden, int64_t rows = 1) {
        return make_tensor(backend_->allocate(static_cast<uint64_t>(rows * columns) * 4), DType::kF32, rows, columns);
    }
    Weight weight(const WeightFormat& format, int64_t rows, int64_t columns = kHidden) const {
        return {.format = format, .rows = rows, .columns = columns, .data = {weights_, 0}};
    }
    Linear linear(const Tensor& x, const Tensor& out, const WeightFormat& format = kFourBits) {
        return {.x = x, .weight = weight(format, out.columns, x.columns), .out = out};
    }
    RmsNorm norm(const Tensor& x, const Tensor& out) {
        return {.x = x, .weight = tensor(x.columns), .epsilon = 1, .out = out};
    }
    Sequences sequence() { return {.rows = tensor(3), .most_rows = 1, .most_tokens = 1}; }
    StateSlots states() { return {.pool = backend_->allocate(4096), .slot_bytes = 64, .slots = tensor(1)}; }

    // How many operations each group has.
    static std::vector<size_t> sizes(std::vector<Operation> operations, Joining joining = Joining::kSteps) {
        std::vector<size_t> result;
        for (const OperationGroup& group : group_operations(std::move(operations), joining)) {
            result.push_back(group.size());
        }
        return result;
    }

    std::vector<Operation> delta_layer(int64_t rows) {
        const Tensor x = tensor(kHidden, rows), normed = tensor(kHidden, rows), qkv = tensor(kHidden, rows);
        const Tensor z = tensor(kHidden, rows), b = tensor(2, rows), a = tensor(2, rows);
        const Tensor convolved = tensor(kHidden, rows), mixed = tensor(kHidden, rows);
        Linear output = linear(mixed, x), beta = linear(normed, b, kEightBits), decay = linear(normed, a, kEightBits);
        output.accumulate = beta.full_precision = decay.full_precision = true;
        return {
            norm(x, normed),
            linear(normed, qkv),
            linear(normed, z),
            beta,
            decay,
            CausalConvolution{
                .x = qkv, .weight = tensor(4, kHidden), .sequences = sequence(), .states = states(), .out = convolved},
            GatedDeltaRule{.qkv = convolved,
                           .b = b,
                           .a = a,
                           .a_log = {},
                           .dt_bias = {},
                           .sequences = {},
                           .states = states(),
                           .out = mixed},
            GatedRmsNorm{.x = mixed, .z = z, .weight = tensor(64), .out = mixed},
            output};
    }

    std::unique_ptr<Backend> backend_ = make_reference_backend();
    BufferPtr weights_ = backend_->allocate(4096);
};

TEST_F(Fusion, ALayerOfTheDeltaRuleIsThreeGroups) {
    EXPECT_EQ(sizes(delta_layer(1)), (std::vector<size_t>{6, 2, 1}));
    EXPECT_EQ(sizes(delta_layer(1), Joining::kProducts), (std::vector<size_t>{1, 2, 2, 1, 1, 1, 1}));
    EXPECT_EQ(sizes(delta_layer(2)), (std::vector<size_t>{1, 2, 2, 1, 1, 1, 1}));  // a step of one row alone
    EXPECT_EQ(sizes(delta_layer(65)), std::vector<size_t>(9, 1));
}

TEST_F(Fusion, ExpertsAndTheirSumAreOneGroup) {
    const Tensor x = tensor(), normed = tensor(), logits = tensor(8), ids = tensor(2), weights = tensor(2);
    const Tensor parts = tensor(kHidden, 2), shared = tensor(), factor = tensor(1);
    Linear router = linear(normed, logits, kEightBits), gate = linear(normed, factor, kEightBits);
    router.full_precision = gate.full_precision = true;
    const MlpGroup mlp{.gate = weight(kFourBits, 64), .up = weight(kFourBits, 64), .down = weight(kFourBits, 64)};
    const RoutedMlp experts{.x = normed, .ids = ids, .records = {.expert = mlp, .slots = tensor(8)}, .out = parts};
    const CombineExperts combine{.parts = parts, .weights = weights, .out = x};
    const Route route{.logits = logits, .ids = ids, .weights = weights};
    EXPECT_EQ(sizes({norm(x, normed), router, route, GatedMlp{.x = normed, .groups = {mlp}, .out = shared}, gate,
                     experts, combine, AddGated{.x = shared, .gate = factor, .out = x}}),
              (std::vector<size_t>{3, 5}));
    EXPECT_EQ(sizes({norm(x, normed), router, route, experts, combine}), (std::vector<size_t>{2, 3}));
    // The sum is of another row, or something stands between.
    EXPECT_EQ(sizes({route, GatedMlp{.x = normed, .groups = {mlp}, .out = shared}, experts, combine,
                     AddGated{.x = shared, .gate = factor, .out = tensor()}}),
              (std::vector<size_t>{1, 1, 1, 1, 1}));
    EXPECT_EQ(sizes({route, norm(x, shared), experts, combine}), (std::vector<size_t>{1, 1, 1, 1}));
}

TEST_F(Fusion, HeadsAreOneGroupAndAttentionHasItsGate) {
    const Tensor fused = tensor(2 * kHidden), query = tensor(), gate = tensor(), key = tensor(64), mixed = tensor();
    const Tensor positions = tensor(1), frequencies = tensor(8);
    const auto turned = [&](const Tensor& x) {
        return Rotary{.x = x, .positions = positions, .frequencies = frequencies, .head_dim = 32};
    };
    const AppendKeyValue append{.keys = key, .values = tensor(64), .kv_heads = 2, .sequences = sequence(), .cache = {}};
    const Attention attention{
        .query = query, .heads = 4, .kv_heads = 2, .sequences = sequence(), .cache = {}, .out = mixed};
    const std::vector<Operation> heads = {norm(query, query), norm(key, key), turned(query), turned(key), append};
    std::vector<Operation> all = {SplitQueryGate{.fused = fused, .head_dim = 32, .query = query, .gate = gate}};
    all.insert(all.end(), heads.begin(), heads.end());
    all.insert(all.end(), {attention, SigmoidGate{.x = mixed, .gate = gate}});
    EXPECT_EQ(sizes(all), (std::vector<size_t>{6, 2}));
    EXPECT_EQ(sizes(heads), std::vector<size_t>{5});
    EXPECT_EQ(sizes({attention, SigmoidGate{.x = tensor(), .gate = gate}}), (std::vector<size_t>{1, 1}));
}

TEST_F(Fusion, ProductsJoinANormOnlyWhereItsKernelTakesThem) {
    const Tensor x = tensor(), normed = tensor(), a = tensor(), b = tensor();
    EXPECT_EQ(sizes({norm(x, normed), linear(normed, a), linear(normed, b)}), std::vector<size_t>{3});
    EXPECT_EQ(sizes({norm(x, normed), linear(normed, a, WeightFormat::floating(DType::kBF16))}),
              (std::vector<size_t>{1, 1}));
    EXPECT_EQ(sizes({norm(x, x), linear(x, a)}), (std::vector<size_t>{1, 1}));  // in place
    EXPECT_EQ(sizes({norm(x, normed), linear(a, x), linear(normed, b)}), (std::vector<size_t>{2, 1}));
    // What the norm made is another by then.
    EXPECT_EQ(sizes({norm(x, normed), AddGated{.x = a, .gate = {}, .out = normed}, linear(normed, b)}),
              (std::vector<size_t>{1, 1, 1}));
    // Written over what the norm reads.
    EXPECT_EQ(sizes({norm(x, normed), linear(normed, x)}), (std::vector<size_t>{1, 1}));
}

}  // namespace
}  // namespace sluice::cuda
