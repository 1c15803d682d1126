#include <gtest/gtest.h>

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

struct Encoded {
    int bits;
    const char* data;
    uint16_t scale;
    uint16_t zero_point;
};

// Computed apart from this code, with numpy in float32, by the rules of MLX's quantizer.
constexpr Encoded kHighEdge[] = {
    {2, "6b6ca1b1c6c61a5b", 0xbfa0, 0x4020},
    {3, "37959782b9dc14dce5a6f04e", 0xbf00, 0x4020},
    {4, "cf58e27a049c26be48d06af28c14ae36", 0xbe80, 0x4020},
    {5, "1f473578750764b948b70f053d59f11726b16933", 0xbe00, 0x4020},
    {6, "7f3c5246be760e309717b2b71f24d467a6f86f281177ba31", 0xbd7a, 0x4020},
    {8, "ffc68c5219e7ad743a00ce945b21efb67c4208d69d6329f8be844a10dfa56b32", 0xbc78, 0x4020},
};
constexpr Encoded kLowEdge[] = {
    {2, "64d249279e78e299", 0x39e1, 0xbde1},
    {3, "9855cc2a7835bc1a7e0e3fa7", 0x34b4, 0xbde1},
    {4, "603c0ad7a4714d1ae8b5825e2bf9c693", 0x30b4, 0xbde1},
    {5, "a0e94383dba88ac7931db0ab4ba25fb8c8cfb299", 0x2c7b, 0xbde1},
    {6, "c0563ba9d0ddd04a7cb9d41ae14ebdc8d85fb152fed9cc9c", 0x2860, 0xbde1},
    {8, "006bd63aa50873de42ad107ce74ab51984ef52bd218cf75bc62994ff63ce319d", 0x205a, 0xbde1},
};

void expect_encoding(const Encoded& expected, DType dtype, const std::vector<float>& values) {
    StoredWeight weight(WeightFormat::affine(expected.bits, 32, dtype), 1, 32);
    encode(weight.view().format, values.data(), 1, 32, {weight.data(), weight.scales(), weight.zero_points()});
    const std::vector<std::byte> bytes = from_hex(expected.data);
    EXPECT_EQ(std::vector<std::byte>(weight.data(), weight.data() + bytes.size()), bytes) << expected.bits;
    EXPECT_EQ(load_unaligned<uint16_t>(weight.scales()), expected.scale) << expected.bits;
    EXPECT_EQ(load_unaligned<uint16_t>(weight.zero_points()), expected.zero_point) << expected.bits;
}

TEST(AffineCodec, EncodesAsMlxDoes) {
    std::vector<float> high(32);
    std::vector<float> low(32);
    for (int i = 0; i < 32; ++i) {
        high[static_cast<size_t>(i)] = static_cast<float>((i * 7) % 32 - 11) / 8.0f;
        low[static_cast<size_t>(i)] = static_cast<float>((i * 13) % 32 - 21) * 0.07f;
    }
    for (const Encoded& expected : kHighEdge) expect_encoding(expected, DType::kBF16, high);
    for (const Encoded& expected : kLowEdge) expect_encoding(expected, DType::kF16, low);
}

// 3 bits: 0 1 2 ... 7 are the bytes 88 c6 fa (element 0 in the lowest bits).
TEST(AffineCodec, DecodesAStreamThatStraddlesBytes) {
    StoredWeight weight(WeightFormat::affine(3, 32, DType::kF32), 1, 32);
    const std::vector<std::byte> octet = from_hex("88c6fa");
    for (size_t i = 0; i < 12; ++i) weight.data()[i] = octet[i % 3];
    store_unaligned(weight.scales(), -0.5f);
    store_unaligned(weight.zero_points(), 3.0f);
    const std::vector<float> decoded = weight.decode();
    for (size_t i = 0; i < decoded.size(); ++i) EXPECT_EQ(decoded[i], 3.0f - 0.5f * static_cast<float>(i % 8)) << i;
}

// The product is rounded before the sum: a fused multiply-add would give another last bit here.
TEST(AffineCodec, RoundsTheProductAndThenTheSum) {
    StoredWeight weight(WeightFormat::affine(8, 32, DType::kF32), 1, 32);
    const float scale = 1.0f + 0x1p-23f;
    weight.data()[0] = std::byte{255};
    store_unaligned(weight.scales(), scale);
    store_unaligned(weight.zero_points(), -255.0f);
    const volatile float product = 255.0f * scale;
    EXPECT_EQ(weight.decode()[0], product - 255.0f);
    EXPECT_NE(weight.decode()[0], 255.0f * 0x1p-23f);  // the exact value, as one rounding gives it
}

class AffineFormats : public ::testing::TestWithParam<std::tuple<int, int, DType>> {};

// Of a Gaussian, computed apart from this code with numpy; rows by bits, columns by group (32, 64, 128), each for
// scales of BF16 and of F32. Those of F16 are as good as F32 but at 8 bits.
struct Expected {
    int bits;
    double bf16[3];
    double f32[3];
};
constexpr Expected kDistortions[] = {
    {2, {0.36093, 0.39338, 0.42310}, {0.36095, 0.39341, 0.42313}},
    {3, {0.17109, 0.19057, 0.20721}, {0.17107, 0.19056, 0.20722}},
    {4, {0.08097, 0.09095, 0.10015}, {0.08087, 0.09085, 0.10009}},
    {5, {0.03954, 0.04454, 0.04902}, {0.03916, 0.04417, 0.04874}},
    {6, {0.02008, 0.02264, 0.02478}, {0.01927, 0.02176, 0.02401}},
    {8, {0.00754, 0.00843, 0.00897}, {0.00475, 0.00537, 0.00593}},
};

double expected_distortion(int bits, int group, DType dtype) {
    const size_t column = group == 32 ? 0 : group == 64 ? 1 : 2;
    for (const Expected& expected : kDistortions) {
        if (expected.bits == bits) return dtype == DType::kBF16 ? expected.bf16[column] : expected.f32[column];
    }
    return 0;
}

TEST_P(AffineFormats, DistortionIsThatOfTheFormat) {
    const auto [bits, group, dtype] = GetParam();
    const int64_t rows = 96;
    const int64_t columns = 384;
    const std::vector<float> values = gaussian_values(static_cast<size_t>(rows * columns), 1);
    StoredWeight weight(WeightFormat::affine(bits, group, dtype), rows, columns);
    encode(weight.view().format, values.data(), rows, columns, {weight.data(), weight.scales(), weight.zero_points()});
    const double measured = distortion(values, weight.decode());
    EXPECT_NEAR(measured / expected_distortion(bits, group, dtype), 1.0, 0.04);
}

TEST_P(AffineFormats, RowsAreIndependent) {
    const auto [bits, group, dtype] = GetParam();
    const int64_t columns = 256;
    const std::vector<float> values = gaussian_values(static_cast<size_t>(5 * columns), 2);
    StoredWeight all(WeightFormat::affine(bits, group, dtype), 5, columns);
    encode(all.view().format, values.data(), 5, columns, {all.data(), all.scales(), all.zero_points()});
    const std::vector<float> decoded = all.decode();
    for (int64_t row = 0; row < 5; ++row) {
        StoredWeight one(WeightFormat::affine(bits, group, dtype), 1, columns);
        encode(one.view().format, &values[static_cast<size_t>(row * columns)], 1, columns,
               {one.data(), one.scales(), one.zero_points()});
        std::vector<float> part(static_cast<size_t>(columns));
        decode_row(all.view().rows_at(row, 1), 0, part.data());
        EXPECT_EQ(one.decode(), part);
        const auto begin = decoded.begin() + row * columns;
        EXPECT_EQ(std::vector<float>(begin, begin + columns), part);
    }
}

INSTANTIATE_TEST_SUITE_P(All, AffineFormats,
                         ::testing::Combine(::testing::Values(2, 3, 4, 5, 6, 8), ::testing::Values(32, 64, 128),
                                            ::testing::Values(DType::kBF16, DType::kF16, DType::kF32)));

TEST(AffineCodec, KeepsZeroAndTheLargerEdge) {
    std::vector<float> values(64, 0.0f);
    values[3] = -2.0f;
    values[9] = 1.75f;
    StoredWeight weight(WeightFormat::affine(4, 64, DType::kBF16), 1, 64);
    encode(weight.view().format, values.data(), 1, 64, {weight.data(), weight.scales(), weight.zero_points()});
    const std::vector<float> decoded = weight.decode();
    EXPECT_EQ(decoded[3], -2.0f);
    EXPECT_EQ(decoded[9], 1.75f);
    EXPECT_EQ(decoded[0], 0.0f);
    const std::vector<float> nothing(64, 0.0f);
    encode(weight.view().format, nothing.data(), 1, 64, {weight.data(), weight.scales(), weight.zero_points()});
    EXPECT_EQ(weight.decode(), nothing);
}

void expect_refused(const WeightFormat& format, const std::vector<float>& values, ErrorCode code) {
    std::vector<std::byte> out(4096);
    const auto columns = static_cast<int64_t>(values.size());
    try {
        encode(format, values.data(), 1, columns, {out.data(), out.data() + 1024, out.data() + 2048});
        ADD_FAILURE() << "not refused: " << format.describe();
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), code) << error.what();
    }
}

TEST(AffineCodec, RefusesWhatItCannotStore) {
    const std::vector<float> good(128, 1.0f);
    expect_refused(WeightFormat::affine(7, 64, DType::kBF16), good, ErrorCode::kUnsupported);
    expect_refused(WeightFormat::affine(4, 48, DType::kBF16), good, ErrorCode::kUnsupported);
    expect_refused(WeightFormat::affine(4, 64, DType::kI32), good, ErrorCode::kUnsupported);
    WeightFormat none = kMxfp4Codec.standard;
    none.group_size = 64;
    expect_refused(none, good, ErrorCode::kUnsupported);
    expect_refused(WeightFormat::affine(4, 64, DType::kBF16), std::vector<float>(96, 1.0f), ErrorCode::kUnsupported);
    std::vector<float> huge(64, 0.0f);
    huge[5] = 1e6f;
    expect_refused(WeightFormat::affine(4, 64, DType::kF16), huge, ErrorCode::kUnsupported);
    huge[5] = std::numeric_limits<float>::quiet_NaN();
    expect_refused(WeightFormat::affine(4, 64, DType::kBF16), huge, ErrorCode::kInvalidFile);
}

}  // namespace
}  // namespace sluice
