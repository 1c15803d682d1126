#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "tensor/codecs.h"
#include "tensor/float_types.h"
#include "tests/tensor/codec_support.h"

namespace sluice {
namespace {

using testing::distortion;
using testing::from_hex;
using testing::gaussian_values;
using testing::StoredWeight;

// A block that ggml made, and the values that ggml reads from it.
TEST(Q8_0Codec, DecodesAsGgmlDoes) {
    StoredWeight weight(kQ8_0Codec.standard, 1, 32);
    const std::vector<std::byte> block =
        from_hex("660e01d10410d9f30112aabbf8dac3a5ee24c8fc0edf81efc616f80c26ebf684213c");
    std::ranges::copy(block, weight.data());
    const std::vector<float> decoded = weight.decode();
    EXPECT_EQ(decoded[0], 0x1.998p-12f);
    EXPECT_EQ(decoded[1], -0x1.2cbap-6f);
    EXPECT_EQ(decoded[2], 0x1.998p-10f);
    EXPECT_EQ(decoded[4], -0x1.f314p-7f);
    EXPECT_EQ(decoded[31], 60 * 0x1.998p-12f);
}

TEST(Q8_0Codec, BlocksFollowEachOther) {
    StoredWeight weight(kQ8_0Codec.standard, 2, 64);
    EXPECT_EQ(weight.view().format.data_row_bytes(64), 68u);
    EXPECT_EQ(weight.view().format.run_columns(), 32);
    for (int block = 0; block < 4; ++block) {
        store_unaligned(weight.data() + 34 * block, float_to_f16(static_cast<float>(1 << block)));
        for (int i = 0; i < 32; ++i) weight.data()[34 * block + 2 + i] = static_cast<std::byte>(i - 16);
    }
    const std::vector<float> decoded = weight.decode();
    for (size_t i = 0; i < decoded.size(); ++i) {
        EXPECT_EQ(decoded[i], static_cast<float>((static_cast<int>(i % 32) - 16) * (1 << i / 32))) << i;
    }
}

// 1 / 127 of the largest of 32 is a step: a twelfth root of it is the error, which comes to 0.0050 of a Gaussian.
TEST(Q8_0Codec, DistortionIsThatOfTheFormat) {
    const std::vector<float> values = gaussian_values(64 * 256, 5);
    StoredWeight weight(kQ8_0Codec.standard, 64, 256);
    encode(kQ8_0Codec.standard, values.data(), 64, 256, {.data = weight.data()});
    EXPECT_NEAR(distortion(values, weight.decode()), 0.0050, 0.0004);
}

TEST(Q8_0Codec, KeepsZeroAndRefusesWhatDoesNotFit) {
    std::vector<float> values(32, 0.0f);
    StoredWeight weight(kQ8_0Codec.standard, 1, 32);
    encode(kQ8_0Codec.standard, values.data(), 1, 32, {.data = weight.data()});
    EXPECT_EQ(weight.decode(), values);
    values[3] = 1e9f;
    EXPECT_THROW(encode(kQ8_0Codec.standard, values.data(), 1, 32, {.data = weight.data()}), Error);
    values[3] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_THROW(encode(kQ8_0Codec.standard, values.data(), 1, 32, {.data = weight.data()}), Error);
}

}  // namespace
}  // namespace sluice
