#include "tensor/kv_format.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tensor/float_types.h"
#include "tests/tensor/codec_support.h"

namespace sluice {
namespace {

std::vector<float> round_trip(KvFormat format, const std::vector<float>& values) {
    const auto columns = static_cast<int64_t>(values.size());
    std::vector<std::byte> row(kv_row_bytes(format, columns) + 1, std::byte{0xaa});
    encode_kv_row(format, values.data(), columns, row.data());
    EXPECT_EQ(row.back(), std::byte{0xaa});
    std::vector<float> decoded(values.size());
    decode_kv_row(format, row.data(), columns, decoded.data());
    return decoded;
}

TEST(KvFormat, Sizes) {
    EXPECT_EQ(kv_row_bytes(KvFormat::kF32, 7), 28u);
    EXPECT_EQ(kv_row_bytes(KvFormat::kBF16, 7), 14u);
    EXPECT_EQ(kv_row_bytes(KvFormat::kInt8, 7), 12u);
    EXPECT_EQ(kv_row_bytes(KvFormat::kInt8, 576), 580u);
    EXPECT_EQ(kv_format_name(KvFormat::kInt8), "int8");
    EXPECT_EQ(kv_format_name(KvFormat::kBF16), "bf16");
    EXPECT_EQ(kv_format_name(KvFormat::kF32), "f32");
}

TEST(KvFormat, F32IsExact) {
    const std::vector<float> values = testing::gaussian_values(33, 7);
    EXPECT_EQ(round_trip(KvFormat::kF32, values), values);
}

TEST(KvFormat, Bf16Rounds) {
    const std::vector<float> values = testing::gaussian_values(33, 8);
    const std::vector<float> decoded = round_trip(KvFormat::kBF16, values);
    for (size_t i = 0; i < values.size(); ++i) EXPECT_EQ(decoded[i], bf16_to_float(float_to_bf16(values[i])));
}

TEST(KvFormat, Int8IsWithinHalfAStep) {
    const std::vector<float> values = testing::gaussian_values(129, 9);
    const std::vector<float> decoded = round_trip(KvFormat::kInt8, values);
    float largest = 0;
    for (const float value : values) largest = std::max(largest, std::abs(value));
    for (size_t i = 0; i < values.size(); ++i) {
        EXPECT_LE(std::abs(decoded[i] - values[i]), largest / 127.0f * 0.50001f);
    }
    EXPECT_NEAR(testing::distortion(values, decoded), 0.0065, 0.0015);
    EXPECT_EQ(round_trip(KvFormat::kInt8, {1.0f, -127.0f, 64.0f}), (std::vector<float>{1.0f, -127.0f, 64.0f}));
}

TEST(KvFormat, Int8OfNothingAndOfNaN) {
    EXPECT_EQ(round_trip(KvFormat::kInt8, std::vector<float>(5, 0.0f)), std::vector<float>(5, 0.0f));
    EXPECT_EQ(round_trip(KvFormat::kInt8, std::vector<float>(5, 1e-40f)), std::vector<float>(5, 0.0f));
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
        for (const float value : round_trip(KvFormat::kInt8, {1.0f, bad, 2.0f})) EXPECT_TRUE(std::isnan(value));
    }
}

}  // namespace
}  // namespace sluice
