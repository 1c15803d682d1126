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

TEST(Mxfp8Codec, DecodesByHand) {
    StoredWeight weight(kMxfp8Codec.standard, 2, 32);
    weight.data()[0] = std::byte{0x38};   // 1
    weight.data()[31] = std::byte{0xfe};  // -448
    weight.data()[32] = std::byte{0x01};  // 2^-9
    weight.scales()[0] = std::byte{0x7e};
    weight.scales()[1] = std::byte{0x81};
    std::vector<float> expected(64, 0.0f);
    expected[0] = 0.5f;
    expected[31] = -224.0f;
    expected[32] = 0x1p-7f;
    EXPECT_EQ(weight.decode(), expected);
}

TEST(Mxfp8Codec, DistortionIsThatOfTheFormat) {
    const std::vector<float> values = gaussian_values(64 * 256, 5);
    StoredWeight weight(kMxfp8Codec.standard, 64, 256);
    encode(kMxfp8Codec.standard, values.data(), 64, 256, {.data = weight.data(), .scales = weight.scales()});
    const double measured = distortion(values, weight.decode());
    EXPECT_NEAR(measured, 0.0295, 0.001);  // computed apart from this code, with numpy
}

// What a decode gave is representable, so a second round changes nothing.
TEST(Mxfp8Codec, RoundTripIsStable) {
    const std::vector<float> values = gaussian_values(8 * 128, 6);
    StoredWeight weight(kMxfp8Codec.standard, 8, 128);
    encode(kMxfp8Codec.standard, values.data(), 8, 128, {.data = weight.data(), .scales = weight.scales()});
    const std::vector<float> once = weight.decode();
    StoredWeight again(kMxfp8Codec.standard, 8, 128);
    encode(kMxfp8Codec.standard, once.data(), 8, 128, {.data = again.data(), .scales = again.scales()});
    EXPECT_EQ(distortion(once, again.decode()), 0.0);
}

TEST(Mxfp8Codec, RefusesRaggedRowsAndNaN) {
    std::vector<float> values(2 * 32, 1.0f);
    StoredWeight weight(kMxfp8Codec.standard, 1, 2 * 32);
    EXPECT_THROW(
        encode(kMxfp8Codec.standard, values.data(), 1, 32 + 8, {.data = weight.data(), .scales = weight.scales()}),
        Error);
    values[3] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_THROW(
        encode(kMxfp8Codec.standard, values.data(), 1, 2 * 32, {.data = weight.data(), .scales = weight.scales()}),
        Error);
    const std::vector<float> nothing(2 * 32, 0.0f);
    encode(kMxfp8Codec.standard, nothing.data(), 1, 2 * 32, {.data = weight.data(), .scales = weight.scales()});
    EXPECT_EQ(weight.decode(), nothing);
}

}  // namespace
}  // namespace sluice
