#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "tensor/codecs.h"
#include "tests/tensor/codec_support.h"

namespace sluice {
namespace {

using testing::distortion;
using testing::gaussian_values;
using testing::StoredWeight;

TEST(Nvfp4Codec, DecodesByHand) {
    StoredWeight weight(kNvfp4Codec.standard, 1, 32);
    weight.data()[0] = std::byte{0x71};
    weight.data()[8] = std::byte{0x0d};
    weight.scales()[0] = std::byte{0x3c};  // 1.5
    weight.scales()[1] = std::byte{0x01};  // 2^-9
    std::vector<float> expected(32, 0.0f);
    expected[0] = 0.75f;
    expected[1] = 9.0f;
    expected[16] = -3.0f * 0x1p-9f;
    EXPECT_EQ(weight.decode(), expected);
}

TEST(Nvfp4Codec, DistortionIsThatOfTheFormat) {
    const std::vector<float> values = gaussian_values(64 * 256, 5);
    StoredWeight weight(kNvfp4Codec.standard, 64, 256);
    encode(kNvfp4Codec.standard, values.data(), 64, 256, {.data = weight.data(), .scales = weight.scales()});
    const double measured = distortion(values, weight.decode());
    EXPECT_NEAR(measured, 0.0952, 0.003);  // computed apart from this code, with numpy
}

// What a decode gave is representable, so a second round changes nothing.
TEST(Nvfp4Codec, RoundTripIsStable) {
    const std::vector<float> values = gaussian_values(8 * 128, 6);
    StoredWeight weight(kNvfp4Codec.standard, 8, 128);
    encode(kNvfp4Codec.standard, values.data(), 8, 128, {.data = weight.data(), .scales = weight.scales()});
    const std::vector<float> once = weight.decode();
    StoredWeight again(kNvfp4Codec.standard, 8, 128);
    encode(kNvfp4Codec.standard, once.data(), 8, 128, {.data = again.data(), .scales = again.scales()});
    EXPECT_EQ(distortion(once, again.decode()), 0.0);
}

TEST(Nvfp4Codec, RefusesRaggedRowsAndNaN) {
    std::vector<float> values(2 * 16, 1.0f);
    StoredWeight weight(kNvfp4Codec.standard, 1, 2 * 16);
    EXPECT_THROW(
        encode(kNvfp4Codec.standard, values.data(), 1, 16 + 8, {.data = weight.data(), .scales = weight.scales()}),
        Error);
    values[3] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_THROW(
        encode(kNvfp4Codec.standard, values.data(), 1, 2 * 16, {.data = weight.data(), .scales = weight.scales()}),
        Error);
    const std::vector<float> nothing(2 * 16, 0.0f);
    encode(kNvfp4Codec.standard, nothing.data(), 1, 2 * 16, {.data = weight.data(), .scales = weight.scales()});
    EXPECT_EQ(weight.decode(), nothing);
}

}  // namespace
}  // namespace sluice
