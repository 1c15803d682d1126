// The reference backend against values computed by hand.

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "tests/backend/op_cases.h"
#include "tests/backend/step_tables.h"
#include "tests/backend/test_tensors.h"

namespace sluice {
namespace {

class ReferenceTest : public ::testing::Test {
  protected:
    Tensor values(int64_t rows, int64_t columns, const std::vector<float>& content) {
        return tensor_of(*backend_, rows, columns, content);
    }
    Tensor empty(int64_t rows, int64_t columns) { return zeros(*backend_, rows, columns); }
    std::vector<float> get(const Tensor& tensor) { return read(*backend_, tensor); }

    std::unique_ptr<Backend> backend_ = make_reference_backend();
};

float sigmoid_of(float x) {
    return 1 / (1 + std::exp(-x));
}

TEST_F(ReferenceTest, EveryCaseIsFiniteAndWritesOnlyItsOutputs) {
    for (const OpCase& op_case : all_op_cases()) {
        for (uint64_t seed = 0; seed < 2; ++seed) {
            EXPECT_EQ(run_case(op_case, *backend_, *backend_, seed).max_abs, 0) << op_case.name << ", seed " << seed;
        }
    }
}

TEST_F(ReferenceTest, EmbedTakesRows) {
    const Tensor out = empty(2, 2);
    backend_->run(
        Embed{.ids = ints_of(*backend_, {2, 0}), .table = weight_of(*backend_, 3, 2, {1, 2, 3, 4, 5, 6}), .out = out});
    EXPECT_EQ(get(out), (std::vector<float>{5, 6, 1, 2}));
}

TEST_F(ReferenceTest, EmbedReportsAnIdOutsideOfTheTableAtWait) {
    for (const int32_t id : {-1, 3}) {
        const Embed op{.ids = ints_of(*backend_, {0, id}),
                       .table = weight_of(*backend_, 3, 2, {1, 2, 3, 4, 5, 6}),
                       .out = empty(2, 2)};
        backend_->run(op);
        expect_usage_error([&] { backend_->wait(); }, {"Embed", "ids[1]", std::to_string(id), "3 rows"});
        backend_->wait();
    }
}

TEST_F(ReferenceTest, RmsNormNormalizesEveryRun) {
    const Tensor out = empty(1, 4);
    backend_->run(RmsNorm{.x = values(1, 4, {3, 4, 0, 2}), .weight = values(1, 2, {1, 2}), .epsilon = 0, .out = out});
    expect_near(get(out), {3 / std::sqrt(12.5f), 8 / std::sqrt(12.5f), 0, 4 / std::sqrt(2.0f)}, 1e-6f);
}

TEST_F(ReferenceTest, RmsNormAddsEpsilonToTheMean) {
    const Tensor x = values(1, 1, {1});
    backend_->run(RmsNorm{.x = x, .weight = values(1, 1, {1}), .epsilon = 3, .out = x});
    EXPECT_EQ(get(x), (std::vector<float>{0.5f}));
}

TEST_F(ReferenceTest, LinearMultipliesByTheTransposedWeight) {
    const Tensor out = values(2, 3, {10, 10, 10, 10, 10, 10});
    Linear op{.x = values(2, 2, {1, 2, 3, 4}), .weight = weight_of(*backend_, 3, 2, {1, 0, 0, 1, 1, -1}), .out = out};
    backend_->run(op);
    EXPECT_EQ(get(out), (std::vector<float>{1, 2, -1, 3, 4, -1}));
    op.accumulate = true;
    backend_->run(op);
    EXPECT_EQ(get(out), (std::vector<float>{2, 4, -2, 6, 8, -2}));
}

TEST_F(ReferenceTest, RotaryTurnsHalvesOrPairs) {
    const float quarter = std::numbers::pi_v<float> / 2;
    Rotary op{.x = values(1, 5, {9, 1, 2, 3, 4}),
              .positions = ints_of(*backend_, {1}),
              .frequencies = values(1, 2, {quarter, 0}),
              .head_dim = 5,
              .first = 1};
    backend_->run(op);
    expect_near(get(op.x), {9, -3, 2, 1, 4}, 1e-6f);
    op.x = values(1, 5, {9, 1, 2, 3, 4});
    op.interleaved = true;
    op.magnitude = 2;
    backend_->run(op);
    expect_near(get(op.x), {9, -4, 2, 6, 8}, 1e-6f);
}

TEST_F(ReferenceTest, SplitQueryGateSplitsPerHead) {
    const Tensor query = empty(1, 4);
    const Tensor gate = empty(1, 4);
    backend_->run(
        SplitQueryGate{.fused = values(1, 8, {1, 2, 3, 4, 5, 6, 7, 8}), .head_dim = 2, .query = query, .gate = gate});
    EXPECT_EQ(get(query), (std::vector<float>{1, 2, 5, 6}));
    EXPECT_EQ(get(gate), (std::vector<float>{3, 4, 7, 8}));
}

TEST_F(ReferenceTest, SplitLinearProjectionsGathersEveryPart) {
    SplitLinearProjections op{.qkvz = values(1, 12, {1, 2, 10, 11, 20, 21, 3, 4, 12, 13, 22, 23}),
                              .ba = values(1, 8, {1, 2, 5, 6, 3, 4, 7, 8}),
                              .key_heads = 2,
                              .value_heads = 4,
                              .key_dim = 1,
                              .value_dim = 1,
                              .qkv = empty(1, 8),
                              .z = empty(1, 4),
                              .b = empty(1, 4),
                              .a = empty(1, 4)};
    backend_->run(op);
    EXPECT_EQ(get(op.qkv), (std::vector<float>{1, 3, 2, 4, 10, 11, 12, 13}));
    EXPECT_EQ(get(op.z), (std::vector<float>{20, 21, 22, 23}));
    EXPECT_EQ(get(op.b), (std::vector<float>{1, 2, 3, 4}));
    EXPECT_EQ(get(op.a), (std::vector<float>{5, 6, 7, 8}));
}

TEST_F(ReferenceTest, GatesScaleBySigmoid) {
    const Tensor x = values(1, 3, {2, 2, 2});
    backend_->run(SigmoidGate{.x = x, .gate = values(1, 3, {0, -100, 100})});
    expect_near(get(x), {1, 0, 2}, 1e-6f);

    const Tensor out = values(2, 2, {1, 2, 3, 4});
    backend_->run(AddGated{.x = values(2, 2, {10, 20, 30, 40}), .gate = values(2, 1, {0, -100}), .out = out});
    expect_near(get(out), {6, 12, 3, 4}, 1e-6f);
    backend_->run(AddGated{.x = values(2, 2, {10, 20, 30, 40}), .gate = {}, .out = out});
    expect_near(get(out), {16, 32, 33, 44}, 1e-6f);
}

TEST_F(ReferenceTest, GatedRmsNormGatesAfterTheNorm) {
    const Tensor x = values(1, 2, {3, 4});
    backend_->run(
        GatedRmsNorm{.x = x, .z = values(1, 2, {1, -2}), .weight = values(1, 2, {2, 1}), .epsilon = 0, .out = x});
    const float rms = std::sqrt(12.5f);
    expect_near(get(x), {6 / rms * sigmoid_of(1), 4 / rms * -2 * sigmoid_of(-2)}, 1e-6f);
}

TEST_F(ReferenceTest, GatedMlpHasItsActivation) {
    const auto run = [&](const Activation& activation, float gate, float up) {
        const Tensor out = zeros(*backend_, 1, 1);
        const auto weight = [&](float value) { return weight_of(*backend_, 1, 1, {value}); };
        backend_->run(GatedMlp{.x = values(1, 1, {1}),
                               .groups = {{.gate = weight(gate), .up = weight(up), .down = weight(1)}},
                               .out = out,
                               .activation = activation});
        return read(*backend_, out)[0];
    };
    EXPECT_NEAR(run({}, 2, 3), 2 / (1 + std::exp(-2.0)) * 3, 1e-6);
    EXPECT_NEAR(run({.kind = ActivationKind::kGeluTanh}, 2, 3), 1.9545977 * 3, 1e-6);
    EXPECT_NEAR(run({.kind = ActivationKind::kGeluTanh}, -1, 1), -0.1588080, 1e-6);
    const Activation clamped{.kind = ActivationKind::kClampedSwiglu, .alpha = 1.702f, .limit = 7, .up_offset = 1};
    EXPECT_NEAR(run(clamped, 2, 3), 2 / (1 + std::exp(-1.702 * 2)) * 4, 1e-5);
    EXPECT_NEAR(run(clamped, 9, 8), 7 / (1 + std::exp(-1.702 * 7)) * 8, 1e-4);
    EXPECT_NEAR(run(clamped, -9, -8), -9 / (1 + std::exp(1.702 * 9)) * -6, 1e-9);  // the gate has no lower limit
    const Activation cut{.kind = ActivationKind::kCutSilu, .limit = 7};
    EXPECT_NEAR(run(cut, 2, 3), 2 / (1 + std::exp(-2.0)) * 3, 1e-6);
    EXPECT_NEAR(run(cut, 7.003f, 8), 7.003 / (1 + std::exp(-7.003)) * 7, 1e-4) << "silu of it is below 7";
    EXPECT_NEAR(run(cut, 9, -8), 7 * -7, 1e-4);
}

TEST_F(ReferenceTest, GatedMlpAppliesEveryGroupToItsRows) {
    const auto mlp = [&](float gate, const std::vector<int32_t>& rows, const std::vector<int32_t>& out_rows) {
        return MlpGroup{.gate = weight_of(*backend_, 1, 2, {gate, 0}),
                        .up = weight_of(*backend_, 1, 2, {0, 1}),
                        .down = weight_of(*backend_, 2, 1, {1, -1}),
                        .rows = ints_of(*backend_, rows),
                        .out_rows = ints_of(*backend_, out_rows)};
    };
    const Tensor out = values(3, 2, {7, 7, 7, 7, 7, 7});
    backend_->run(
        GatedMlp{.x = values(2, 2, {1, 2, 3, 4}), .groups = {mlp(1, {1, 0}, {0, 2}), mlp(5, {}, {})}, .out = out});
    const float row1 = 3 * sigmoid_of(3) * 4;
    const float row0 = 1 * sigmoid_of(1) * 2;
    expect_near(get(out), {row1, -row1, 7, 7, row0, -row0}, 1e-5f);
}

TEST_F(ReferenceTest, CombineAddsWeightedParts) {
    const Tensor out = values(2, 1, {100, 200});
    backend_->run(
        CombineExperts{.parts = values(4, 1, {1, 2, 3, 4}), .weights = values(2, 2, {1, 10, 0.5, 2}), .out = out});
    EXPECT_EQ(get(out), (std::vector<float>{121, 209.5f}));
}

TEST_F(ReferenceTest, GatherRowsTakesRowsInTheGivenOrder) {
    const Tensor out = empty(3, 2);
    backend_->run(GatherRows{.x = values(2, 2, {1, 2, 3, 4}), .rows = ints_of(*backend_, {1, 1, 0}), .out = out});
    EXPECT_EQ(get(out), (std::vector<float>{3, 4, 3, 4, 1, 2}));
}

TEST_F(ReferenceTest, ConvolutionReadsAndReplacesItsState) {
    const StateSlots states = states_of(*backend_, {{1, 2}}, 2, 1);
    const Tensor out = empty(3, 1);
    backend_->run(CausalConvolution{.x = values(3, 1, {3, 4, 5}),
                                    .weight = values(1, 3, {100, 10, 1}),
                                    .sequences = sequences_of(*backend_, {{.first_row = 0, .count = 3}}),
                                    .states = states,
                                    .out = out});
    expect_near(get(out), {123, 234, 345}, 1e-4f);  // silu(x) is x here
    EXPECT_EQ(read_state(*backend_, states, 0), (std::vector<float>{4, 5}));
}

TEST_F(ReferenceTest, ConvolutionOfFewerRowsThanTheStateKeepsOldInputs) {
    const StateSlots states = states_of(*backend_, {{1, 2, 3}}, 3, 1);
    backend_->run(CausalConvolution{.x = values(1, 1, {4}),
                                    .weight = values(1, 4, {0, 0, 0, 0}),
                                    .sequences = sequences_of(*backend_, {{.first_row = 0, .count = 1}}),
                                    .states = states,
                                    .out = empty(1, 1)});
    EXPECT_EQ(read_state(*backend_, states, 0), (std::vector<float>{2, 3, 4}));
}

}  // namespace
}  // namespace sluice
