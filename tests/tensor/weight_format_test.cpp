#include "tensor/weight_format.h"
#include "tensor/codecs.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(WeightFormat, BytesOfEveryKind) {
    const WeightFormat affine = WeightFormat::affine(4, 64, DType::kBF16);
    EXPECT_EQ(affine.data_bytes(512, 2048), 512u * 1024);
    EXPECT_EQ(affine.scale_bytes(512, 2048), 512u * 32 * 2);
    EXPECT_EQ(affine.zero_point_bytes(512, 2048), 512u * 32 * 2);
    const WeightFormat three = WeightFormat::affine(3, 32, DType::kF32);
    EXPECT_EQ(three.data_row_bytes(64), 24u);
    EXPECT_EQ(three.scale_row_bytes(64), 8u);
    const WeightFormat fp8 = WeightFormat::fp8_block(128, 128);
    EXPECT_EQ(fp8.data_bytes(300, 130), 300u * 130);
    EXPECT_EQ(fp8.scale_row_bytes(130), 8u);
    EXPECT_EQ(fp8.scale_bytes(300, 130), 3u * 8);
    EXPECT_EQ(fp8.zero_point_bytes(300, 130), 0u);
    EXPECT_EQ(kMxfp4Codec.standard.data_row_bytes(64), 32u);
    EXPECT_EQ(kMxfp4Codec.standard.scale_row_bytes(64), 2u);
    EXPECT_EQ(kMxfp8Codec.standard.data_row_bytes(64), 64u);
    EXPECT_EQ(kNvfp4Codec.standard.scale_row_bytes(64), 4u);
    EXPECT_EQ(WeightFormat::floating(DType::kBF16).data_bytes(3, 5), 30u);
    EXPECT_EQ(WeightFormat::floating(DType::kBF16).scale_bytes(3, 5), 0u);
}

// As GGUF's Q4_K has them: 256 values of 4 bits and 16 bytes of scales in one block.
TEST(WeightFormat, BytesOfBlocksThatHoldTheirScales) {
    Codec codec{.name = "blocks", .block = fixed_block<256, 144>};
    const WeightFormat format{.codec = &codec, .bits = 4};
    EXPECT_EQ(format.data_row_bytes(2048), 8u * 144);
    EXPECT_EQ(format.data_bytes(3, 512), 3u * 2 * 144);
    EXPECT_EQ(format.scale_bytes(3, 512), 0u);
    EXPECT_EQ(format.run_columns(), 256);
}

TEST(WeightFormat, Descriptions) {
    EXPECT_EQ(WeightFormat::affine(4, 64, DType::kBF16).describe(), "affine 4-bit, group 64");
    EXPECT_EQ(WeightFormat::fp8_block(128, 64).describe(), "FP8 128x64");
    EXPECT_EQ(WeightFormat::floating(DType::kBF16).describe(), "BF16");
    EXPECT_EQ(kNvfp4Codec.standard.describe(), "nvfp4");
}

TEST(WeightFormat, Supported) {
    EXPECT_TRUE(WeightFormat::affine(6, 128, DType::kF16).supported());
    EXPECT_FALSE(WeightFormat::affine(7, 128, DType::kF16).supported());
    EXPECT_FALSE(WeightFormat::affine(4, 16, DType::kF16).supported());
    EXPECT_FALSE(WeightFormat::affine(4, 64, DType::kU8).supported());
    EXPECT_FALSE(WeightFormat::floating(DType::kF64).supported());
    EXPECT_TRUE(kMxfp8Codec.standard.supported());
    EXPECT_FALSE(WeightFormat::fp8_block(128, 0).supported());
    EXPECT_FALSE(WeightFormat::fp8_block(128, 128, DType::kF16).supported());
    WeightFormat format = WeightFormat::floating(DType::kBF16);
    format.group_rows = 2;
    EXPECT_FALSE(format.supported());
}

}  // namespace
}  // namespace sluice
