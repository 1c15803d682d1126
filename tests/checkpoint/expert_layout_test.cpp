#include "checkpoint/expert_layout.h"
#include "tensor/codecs.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

ExpertLayout four_bit(int64_t hidden, int64_t intermediate) {
    const WeightFormat format = WeightFormat::affine(4, 64, DType::kBF16);
    return make_expert_layout(format, format, format, hidden, intermediate);
}

// The records of the three models that define the target.
TEST(ExpertLayout, RecordsOfTheTargetModels) {
    EXPECT_EQ(four_bit(2048, 512).record_bytes, 1'769'472u);
    EXPECT_EQ(four_bit(4096, 1024).record_bytes, 7'077'888u);
    EXPECT_EQ(four_bit(7168, 2048).record_bytes, 24'772'608u);
}

TEST(ExpertLayout, PartsFollowEachOtherAligned) {
    // 3 bits of 10 rows: parts whose sizes are no multiples of 64.
    const WeightFormat format = WeightFormat::affine(3, 32, DType::kF16);
    const ExpertLayout layout = make_expert_layout(format, format, kMxfp4Codec.standard, 96, 32);
    const uint64_t data = 32 * 36;
    const uint64_t scales = 32 * 6;
    EXPECT_EQ(layout.gate.data, 0u);
    EXPECT_EQ(layout.gate.scales, data);
    EXPECT_EQ(layout.gate.zero_points, data + scales);
    EXPECT_EQ(layout.up.data, data + 2 * scales);
    EXPECT_EQ(layout.down.data, 2 * (data + 2 * scales));
    EXPECT_EQ(layout.down.scales, layout.down.data + 96 * 16);
    EXPECT_EQ(layout.down.zero_points, 0u);
    EXPECT_EQ(layout.record_bytes % 4096, 0u);
    for (const Projection projection : kProjections) {
        const ProjectionLayout& part = projection_of(layout, projection);
        EXPECT_EQ(part.data % 64, 0u);
        EXPECT_EQ(part.scales % 64, 0u);
        EXPECT_EQ(part.zero_points % 64, 0u);
    }
    const ExpertLayout odd = make_expert_layout(WeightFormat::fp8_block(128, 128), WeightFormat::fp8_block(128, 128),
                                                WeightFormat::fp8_block(128, 128), 130, 30);
    EXPECT_EQ(odd.gate.scales, 3904u);  // 30 * 130 = 3900, rounded up to 64
    EXPECT_EQ(odd.up.data, 3904u + 64);
}

TEST(ExpertLayout, ViewsOfASlot) {
    const ExpertLayout layout = four_bit(128, 64);
    std::vector<std::byte> slot(layout.record_bytes);
    const WeightView down = view_in_slot(layout.down, slot.data());
    EXPECT_EQ(down.rows, 128);
    EXPECT_EQ(down.columns, 64);
    EXPECT_EQ(down.data, slot.data() + layout.down.data);
    EXPECT_EQ(down.zero_points, slot.data() + layout.down.zero_points);
    const WeightFormat plain = WeightFormat::floating(DType::kF32);
    const ExpertLayout floats = make_expert_layout(plain, plain, plain, 16, 16);
    EXPECT_EQ(view_in_slot(floats.up, slot.data()).scales, nullptr);
    EXPECT_EQ(floats.down.data, 2048u);
}

}  // namespace
}  // namespace sluice
