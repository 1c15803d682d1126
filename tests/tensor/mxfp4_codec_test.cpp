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

// Nibble pairs low first; 0x80 is 2, 0x7e one half.
TEST(Mxfp4Codec, DecodesByHand) {
    StoredWeight weight(kMxfp4Codec.standard, 1, 64);
    weight.data()[0] = std::byte{0x71};
    weight.data()[15] = std::byte{0xf9};
    weight.data()[16] = std::byte{0x25};
    weight.scales()[0] = std::byte{0x80};
    weight.scales()[1] = std::byte{0x7e};
    std::vector<float> expected(64, 0.0f);
    expected[0] = 1.0f;
    expected[1] = 12.0f;
    expected[30] = -1.0f;
    expected[31] = -12.0f;
    expected[32] = 1.5f;
    expected[33] = 0.5f;
    EXPECT_EQ(weight.decode(), expected);
}

TEST(Mxfp4Codec, DistortionIsThatOfTheFormat) {
    const std::vector<float> values = gaussian_values(64 * 256, 5);
    StoredWeight weight(kMxfp4Codec.standard, 64, 256);
    encode(kMxfp4Codec.standard, values.data(), 64, 256, {.data = weight.data(), .scales = weight.scales()});
    const double measured = distortion(values, weight.decode());
    EXPECT_NEAR(measured, 0.1150, 0.003);  // computed apart from this code, with numpy
}

// What a decode gave is representable, so a second round changes nothing.
TEST(Mxfp4Codec, RoundTripIsStable) {
    const std::vector<float> values = gaussian_values(8 * 128, 6);
    StoredWeight weight(kMxfp4Codec.standard, 8, 128);
    encode(kMxfp4Codec.standard, values.data(), 8, 128, {.data = weight.data(), .scales = weight.scales()});
    const std::vector<float> once = weight.decode();
    StoredWeight again(kMxfp4Codec.standard, 8, 128);
    encode(kMxfp4Codec.standard, once.data(), 8, 128, {.data = again.data(), .scales = again.scales()});
    EXPECT_EQ(distortion(once, again.decode()), 0.0);
}

TEST(Mxfp4Codec, RefusesRaggedRowsAndNaN) {
    std::vector<float> values(2 * 32, 1.0f);
    StoredWeight weight(kMxfp4Codec.standard, 1, 2 * 32);
    EXPECT_THROW(
        encode(kMxfp4Codec.standard, values.data(), 1, 32 + 8, {.data = weight.data(), .scales = weight.scales()}),
        Error);
    values[3] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_THROW(
        encode(kMxfp4Codec.standard, values.data(), 1, 2 * 32, {.data = weight.data(), .scales = weight.scales()}),
        Error);
    const std::vector<float> nothing(2 * 32, 0.0f);
    encode(kMxfp4Codec.standard, nothing.data(), 1, 2 * 32, {.data = weight.data(), .scales = weight.scales()});
    EXPECT_EQ(weight.decode(), nothing);
}

}  // namespace
}  // namespace sluice
