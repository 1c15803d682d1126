// Residuals of several streams and runs of tokens, by hand.

#include <gtest/gtest.h>

#include <cmath>

#include "tests/backend/step_tables.h"
#include "tests/backend/test_tensors.h"

namespace sluice {
namespace {

constexpr int64_t kStreams = 3, kHidden = 2, kCoefficients = (2 + kStreams) * kStreams;

std::vector<float> connect(const std::vector<float>& projected, const std::vector<float>& streams, int64_t rounds) {
    const auto backend = make_reference_backend();
    const Tensor coefficients = tensor_of(*backend, 1, kCoefficients, projected);
    backend->run(ConnectStreams{.coefficients = coefficients,
                                .streams = tensor_of(*backend, 1, kStreams * kHidden, streams),
                                .base = tensor_of(*backend, 1, kCoefficients, std::vector<float>(kCoefficients, 0.5f)),
                                .scale = tensor_of(*backend, 1, 3, {1, 2, 3}),
                                .count = kStreams,
                                .rounds = rounds,
                                .epsilon = 1e-6f});
    return read(*backend, coefficients);
}

// Streams of a root mean square of 2, so that what was projected is halved.
TEST(Streams, AreReadWrittenAndMixedByTheirKind) {
    const std::vector<float> projected(kCoefficients, 1.0f), streams(kStreams * kHidden, 2.0f);
    const std::vector<float> result = connect(projected, streams, 20);
    EXPECT_NEAR(result[0], 1 / (1 + std::exp(-1.0f)), 1e-5f);
    EXPECT_NEAR(result[kStreams], 2 / (1 + std::exp(-1.5f)), 1e-5f);
    EXPECT_NEAR(result[2 * kStreams], 1.0f / 3, 1e-5f);
}

TEST(Streams, KeepWhatTheyAddUpToHoweverTheyAreMixed) {
    const std::vector<float> mixed = connect(random_values(kCoefficients, 3, 0.5f), random_values(6, 4), 50);
    const float* mix = mixed.data() + 2 * kStreams;
    for (int64_t i = 0; i < kStreams; ++i) {
        EXPECT_NEAR(mix[i] + mix[kStreams + i] + mix[2 * kStreams + i], 1, 1e-4f) << "column " << i;
        EXPECT_NEAR(mix[kStreams * i] + mix[kStreams * i + 1] + mix[kStreams * i + 2], 1, 1e-4f) << "row " << i;
    }
}

// Stream k takes from stream j what row j says of column k.
TEST(Streams, TakeByColumnsOfTheMix) {
    const auto backend = make_reference_backend();
    const Tensor streams = tensor_of(*backend, 1, 4, {1, 2, 10, 20});
    backend->run(MixStreams{.x = tensor_of(*backend, 1, 2, {100, 200}),
                            .weights = tensor_of(*backend, 1, 2, {1, 2}),
                            .mix = tensor_of(*backend, 1, 4, {0.5f, 0.25f, 0, 1}),
                            .streams = streams});
    expect_near(read(*backend, streams), {100.5f, 201, 210.25f, 420.5f}, 1e-5f);
}

// Runs of two overlap: of the first run's tokens the first channel counts in the second run, too.
TEST(Runs, MixTheRunBeforeByTheirFirstHalf) {
    const auto backend = make_reference_backend();
    const PoolTokens op{.values = tensor_of(*backend, 5, 2, {1, 10, 2, 20, 3, 30, 4, 40, 5, 50}),
                        .gates = tensor_of(*backend, 5, 2, std::vector<float>(10)),
                        .offsets = tensor_of(*backend, 2, 2, std::vector<float>(4)),
                        .overlapping = true,
                        .sequences = sequences_of(*backend, {{.first_row = 0, .count = 5, .position = 0}}),
                        .states = states_of(*backend, {std::vector<float>(16)}, 4, 4),
                        .out = zeros(*backend, 5, 1)};
    backend->run(op);
    expect_near(read(*backend, op.out), {0, 15, 0, (1 + 2 + 30 + 40) / 4.0f, 0}, 1e-5f);
    // Token 4 is in row 0, the others are where they were.
    const std::vector<float> state = read_state(*backend, op.states, 0);
    EXPECT_EQ(state[0], 5);
    EXPECT_EQ(state[4], 2);
    EXPECT_EQ(state[13], 40);
}

}  // namespace
}  // namespace sluice
