#include "model/rotary_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace sluice {
namespace {

TEST(RotaryTable, PlainFrequencies) {
    const RotaryTable table = make_rotary_table({.dims = 4, .theta = 10000.0});
    ASSERT_EQ(table.frequencies.size(), 2u);
    EXPECT_FLOAT_EQ(table.frequencies[0], 1.0f);
    EXPECT_FLOAT_EQ(table.frequencies[1], 0.01f);
    EXPECT_EQ(table.magnitude, 1.0f);
    EXPECT_EQ(table.softmax_factor, 1.0f);
}

// DeepSeek-V3's published settings: the ramp runs from pair 10 to pair 23, and the softmax scale of 192-wide heads is
// 0.13523378.
TEST(RotaryTable, YarnOfDeepSeekV3) {
    const RotaryConfig config{.dims = 64,
                              .theta = 10000.0,
                              .yarn = true,
                              .factor = 40,
                              .beta_fast = 32,
                              .beta_slow = 1,
                              .mscale = 1,
                              .mscale_all_dim = 1,
                              .original_positions = 4096};
    const RotaryTable table = make_rotary_table(config);
    const auto plain = [](int i) { return std::pow(10000.0, -2.0 * i / 64); };
    EXPECT_FLOAT_EQ(table.frequencies[10], static_cast<float>(plain(10)));
    EXPECT_LT(table.frequencies[11], static_cast<float>(plain(11)));
    EXPECT_GT(table.frequencies[22], static_cast<float>(plain(22) / 40));
    EXPECT_FLOAT_EQ(table.frequencies[23], static_cast<float>(plain(23) / 40));
    EXPECT_EQ(table.magnitude, 1.0f);
    EXPECT_NEAR(table.softmax_factor / std::sqrt(192.0), 0.13523378, 1e-8);
}

// Over 1024 positions: what turns more than 4 times is as it was, what turns less than once is 8 times as slow.
TEST(RotaryTable, Llama3StretchesWhatTurnsSeldom) {
    const RotaryConfig config{.dims = 64,
                              .theta = 10000.0,
                              .factor = 8,
                              .original_positions = 1024,
                              .low_frequency_factor = 1,
                              .high_frequency_factor = 4};
    const RotaryTable table = make_rotary_table(config), plain = make_rotary_table({.dims = 64, .theta = 10000.0});
    for (size_t i = 0; i < table.frequencies.size(); ++i) {
        const double turns = 1024 * static_cast<double>(plain.frequencies[i]) / (2 * std::numbers::pi);
        const double kept = std::clamp((turns - 1) / 3, 0.0, 1.0);
        EXPECT_NEAR(table.frequencies[i] / plain.frequencies[i], kept + (1 - kept) / 8, 1e-5) << "pair " << i;
    }
}

TEST(RotaryTable, PairsMayStandStillOrHaveDivisors) {
    const RotaryTable still = make_rotary_table({.dims = 8, .theta = 10000.0, .still_dims = 4});
    EXPECT_EQ(still.frequencies, (std::vector<float>{1.0f, 0.1f, 0.0f, 0.0f}));
    const RotaryTable divided = make_rotary_table({.dims = 4, .theta = 10000.0, .divisors = {1.0f, 4.0f}});
    EXPECT_FLOAT_EQ(divided.frequencies[0], 1.0f);
    EXPECT_FLOAT_EQ(divided.frequencies[1], 0.0025f);
}

TEST(RotaryTable, YarnMagnitudeWhenScalesDiffer) {
    const RotaryTable table = make_rotary_table({.dims = 64,
                                                 .theta = 10000.0,
                                                 .yarn = true,
                                                 .factor = 8,
                                                 .mscale = 1,
                                                 .mscale_all_dim = 0,
                                                 .original_positions = 4096});
    EXPECT_NEAR(table.magnitude, 0.1 * std::log(8.0) + 1, 1e-6);
    EXPECT_EQ(table.softmax_factor, 1.0f);
}

}  // namespace
}  // namespace sluice
