#include "tensor/float_types.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace sluice {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Every value of a type encodes to itself, and everything between two neighbours to the nearer, a tie to the even one.
template <typename Decode, typename Encode>
void expect_nearest_even(uint32_t codes, Decode decode, Encode encode) {
    for (uint32_t code = 0; code < codes; ++code) {
        const float low = decode(code);
        EXPECT_EQ(encode(low), code);
        EXPECT_EQ(decode(encode(-low)), -low);
        if (code + 1 == codes) break;
        const double high = decode(code + 1);
        ASSERT_LT(low, high);
        const auto middle = static_cast<float>((low + high) / 2);
        EXPECT_EQ(encode(middle), code % 2 == 0 ? code : code + 1) << middle;
        EXPECT_EQ(encode(std::nextafter(middle, 0.0f)), code) << middle;
        EXPECT_EQ(encode(std::nextafter(middle, kInfinity)), code + 1) << middle;
    }
}

TEST(FloatTypes, F16RoundsToNearestEven) {
    expect_nearest_even(
        0x7c00, [](uint32_t c) { return f16_to_float(static_cast<uint16_t>(c)); }, float_to_f16);
    EXPECT_EQ(f16_to_float(0x3c00), 1.0f);
    EXPECT_EQ(f16_to_float(0xc000), -2.0f);
    EXPECT_EQ(f16_to_float(0x0001), 0x1p-24f);
    EXPECT_EQ(f16_to_float(0x7bff), 65504.0f);
    EXPECT_EQ(float_to_f16(65519.0f), 0x7bff);
    EXPECT_EQ(float_to_f16(65520.0f), 0x7c00);
    EXPECT_EQ(f16_to_float(0xfc00), -kInfinity);
    EXPECT_EQ(float_to_f16(-0.0f), 0x8000);
    EXPECT_TRUE(std::isnan(f16_to_float(float_to_f16(kNaN))));
    EXPECT_TRUE(std::isnan(f16_to_float(0x7c01)));
}

TEST(FloatTypes, Bf16RoundsToNearestEven) {
    expect_nearest_even(
        0x7f80, [](uint32_t c) { return bf16_to_float(static_cast<uint16_t>(c)); }, float_to_bf16);
    EXPECT_EQ(bf16_to_float(0x3f80), 1.0f);
    EXPECT_EQ(float_to_bf16(std::numeric_limits<float>::max()), 0x7f80);
    EXPECT_EQ(float_to_bf16(-kInfinity), 0xff80);
    EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(kNaN))));
    // A NaN whose payload lies in the dropped bits alone must not turn into infinity.
    EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(std::bit_cast<float>(0x7f800001u)))));
}

TEST(FloatTypes, E4m3) {
    expect_nearest_even(
        0x7f, [](uint32_t c) { return e4m3_to_float(static_cast<uint8_t>(c)); }, float_to_e4m3);
    EXPECT_EQ(e4m3_to_float(0x01), 0x1p-9f);
    EXPECT_EQ(e4m3_to_float(0x08), 0x1p-6f);
    EXPECT_EQ(e4m3_to_float(0x38), 1.0f);
    EXPECT_EQ(e4m3_to_float(0x7e), 448.0f);
    EXPECT_EQ(e4m3_to_float(0xc4), -3.0f);
    EXPECT_TRUE(std::isnan(e4m3_to_float(0x7f)));
    EXPECT_TRUE(std::isnan(e4m3_to_float(0xff)));
    EXPECT_EQ(float_to_e4m3(1e9f), 0x7e);
    EXPECT_EQ(float_to_e4m3(-kInfinity), 0xfe);
    EXPECT_EQ(float_to_e4m3(kNaN), 0x7f);
}

TEST(FloatTypes, E5m2) {
    EXPECT_EQ(e5m2_to_float(0x3c), 1.0f);
    EXPECT_EQ(e5m2_to_float(0x01), 0x1p-16f);
    EXPECT_EQ(e5m2_to_float(0x7b), 57344.0f);
    EXPECT_EQ(e5m2_to_float(0xfc), -kInfinity);
    EXPECT_TRUE(std::isnan(e5m2_to_float(0x7d)));
}

TEST(FloatTypes, E8m0) {
    EXPECT_EQ(e8m0_to_float(127), 1.0f);
    EXPECT_EQ(e8m0_to_float(0), 0x1p-127f);
    EXPECT_EQ(e8m0_to_float(254), 0x1p127f);
    EXPECT_TRUE(std::isnan(e8m0_to_float(255)));
    for (int code = 0; code < 255; ++code) {
        EXPECT_EQ(float_to_e8m0(e8m0_to_float(static_cast<uint8_t>(code))), code);
    }
    EXPECT_EQ(float_to_e8m0(1.99f), 127);
    EXPECT_EQ(float_to_e8m0(2.0f), 128);
    EXPECT_EQ(float_to_e8m0(1e-44f), 0);
    EXPECT_EQ(float_to_e8m0(std::numeric_limits<float>::max()), 254);
}

TEST(FloatTypes, E2m1) {
    const std::vector<float> values = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
    for (uint8_t code = 0; code < 8; ++code) {
        EXPECT_EQ(e2m1_to_float(code), values[code]);
        EXPECT_EQ(e2m1_to_float(code | 8), -values[code]);
    }
    expect_nearest_even(
        8, [](uint32_t c) { return e2m1_to_float(static_cast<uint8_t>(c)); }, float_to_e2m1);
    EXPECT_EQ(float_to_e2m1(100.0f), 7);
    EXPECT_EQ(float_to_e2m1(-100.0f), 15);
    EXPECT_EQ(float_to_e2m1(kNaN), 0);
}

}  // namespace
}  // namespace sluice
