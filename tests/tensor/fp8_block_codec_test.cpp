#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "tensor/float_types.h"
#include "tests/tensor/codec_support.h"

namespace sluice {
namespace {

using testing::distortion;
using testing::gaussian_values;
using testing::StoredWeight;

// 3 x 5 in blocks of 2 x 4: the last row and the last column of blocks are ragged.
TEST(Fp8BlockCodec, DecodesRaggedBlocks) {
    StoredWeight weight(WeightFormat::fp8_block(2, 4), 3, 5);
    const float scales[4] = {1.0f, 10.0f, 0.5f, -2.0f};
    for (int i = 0; i < 4; ++i) store_unaligned(weight.scales() + 4 * i, scales[i]);
    for (int i = 0; i < 15; ++i) weight.data()[i] = std::byte{0x40};  // 2.0
    const std::vector<float> expected = {2, 2, 2, 2, 20, 2, 2, 2, 2, 20, 1, 1, 1, 1, -4};
    EXPECT_EQ(weight.decode(), expected);
    EXPECT_EQ(weight.view().format.scale_bytes(3, 5), 16u);
}

TEST(Fp8BlockCodec, FactorsMayBeBF16) {
    StoredWeight weight(WeightFormat::fp8_block(2, 4, DType::kBF16), 3, 5);
    const float scales[4] = {1.0f, 10.0f, 0.5f, -2.0f};  // all of them BF16 numbers
    for (int i = 0; i < 4; ++i) store_unaligned(weight.scales() + 2 * i, float_to_bf16(scales[i]));
    for (int i = 0; i < 15; ++i) weight.data()[i] = std::byte{0x40};  // 2.0
    const std::vector<float> expected = {2, 2, 2, 2, 20, 2, 2, 2, 2, 20, 1, 1, 1, 1, -4};
    EXPECT_EQ(weight.decode(), expected);
    EXPECT_EQ(weight.view().format.scale_bytes(3, 5), 8u);

    const std::vector<float> values = gaussian_values(300 * 200, 4);
    StoredWeight encoded(WeightFormat::fp8_block(128, 128, DType::kBF16), 300, 200);
    encode(encoded.view().format, values.data(), 300, 200, {.data = encoded.data(), .scales = encoded.scales()});
    EXPECT_NEAR(distortion(values, encoded.decode()), 0.0266, 0.0005);  // the factor is rounded before its use
}

TEST(Fp8BlockCodec, FactorsMayBePowersOfTwo) {
    StoredWeight weight(WeightFormat::fp8_block(2, 4, DType::kF8E8M0), 3, 5);
    constexpr uint8_t kPowers[] = {127, 131, 126, 120};
    for (int i = 0; i < 4; ++i) weight.scales()[i] = static_cast<std::byte>(kPowers[i]);
    for (int i = 0; i < 15; ++i) weight.data()[i] = std::byte{0x40};  // 2.0
    const std::vector<float> expected = {2, 2, 2, 2, 32, 2, 2, 2, 2, 32, 1, 1, 1, 1, 1 / 64.0f};
    EXPECT_EQ(weight.decode(), expected);
    EXPECT_EQ(weight.view().format.scale_bytes(3, 5), 4u);

    const std::vector<float> values = gaussian_values(300 * 200, 4);
    StoredWeight encoded(WeightFormat::fp8_block(128, 128, DType::kF8E8M0), 300, 200);
    encode(encoded.view().format, values.data(), 300, 200, {.data = encoded.data(), .scales = encoded.scales()});
    EXPECT_NEAR(distortion(values, encoded.decode()), 0.0266, 0.0015);
}

TEST(Fp8BlockCodec, APartOfTheRowsKeepsItsBlocks) {
    const std::vector<float> values = gaussian_values(300 * 200, 3);
    StoredWeight weight(WeightFormat::fp8_block(128, 128), 300, 200);
    encode(weight.view().format, values.data(), 300, 200, {.data = weight.data(), .scales = weight.scales()});
    const std::vector<float> decoded = weight.decode();
    const WeightView part = weight.view().rows_at(100, 150).rows_at(50, 100);
    EXPECT_EQ(part.block_row_offset, 150 - 128);
    std::vector<float> row(200);
    for (int64_t i = 0; i < part.rows; ++i) {
        decode_row(part, i, row.data());
        const auto begin = decoded.begin() + (150 + i) * 200;
        ASSERT_EQ(row, std::vector<float>(begin, begin + 200)) << i;
    }
}

TEST(Fp8BlockCodec, DistortionIsThatOfTheFormat) {
    const std::vector<float> values = gaussian_values(300 * 200, 4);
    StoredWeight weight(WeightFormat::fp8_block(128, 128), 300, 200);
    encode(weight.view().format, values.data(), 300, 200, {.data = weight.data(), .scales = weight.scales()});
    const double measured = distortion(values, weight.decode());
    EXPECT_NEAR(measured, 0.0266, 0.0005);  // computed apart from this code, with numpy
}

TEST(Fp8BlockCodec, ZeroesStayAndNaNIsRefused) {
    std::vector<float> values(64, 0.0f);
    StoredWeight weight(WeightFormat::fp8_block(128, 128), 8, 8);
    encode(weight.view().format, values.data(), 8, 8, {.data = weight.data(), .scales = weight.scales()});
    EXPECT_EQ(weight.decode(), values);
    values[60] = std::numeric_limits<float>::infinity();
    EXPECT_THROW(encode(weight.view().format, values.data(), 8, 8, {.data = weight.data(), .scales = weight.scales()}),
                 Error);
}

}  // namespace
}  // namespace sluice
