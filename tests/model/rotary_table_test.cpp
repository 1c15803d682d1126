#include "model/rotary_table.h"

#include <gtest/gtest.h>

#include <cmath>

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
