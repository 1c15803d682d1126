#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "tensor/float_types.h"
#include "tests/tensor/codec_support.h"

namespace sluice {
namespace {

using testing::StoredWeight;

TEST(FloatCodec, DecodesPlainFloats) {
    const std::vector<float> values = {1.0f, -2.5f, 0x1p-14f, 448.0f, 0.0f, -0.125f};
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
        StoredWeight weight(WeightFormat::floating(dtype), 2, 3);
        for (size_t i = 0; i < values.size(); ++i) {
            if (dtype == DType::kF32) store_unaligned(weight.data() + 4 * i, values[i]);
            if (dtype == DType::kF16) store_unaligned(weight.data() + 2 * i, float_to_f16(values[i]));
            if (dtype == DType::kBF16) store_unaligned(weight.data() + 2 * i, float_to_bf16(values[i]));
        }
        EXPECT_EQ(weight.decode(), values);
        float row[3];
        decode_row(weight.view().rows_at(1, 1), 0, row);
        EXPECT_EQ(row[0], 448.0f);
    }
}

TEST(FloatCodec, RefusesIntegers) {
    const StoredWeight weight(WeightFormat::floating(DType::kI32), 1, 4);
    EXPECT_THROW(weight.decode(), Error);
}

TEST(FloatCodec, RoundsToTheNearest) {
    const float values[] = {1.0f + 0x1p-7f, 1.0f + 0x1p-9f, -3.0f, 0x1p-14f};
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
        StoredWeight weight(WeightFormat::floating(dtype), 2, 2);
        encode(weight.view().format, values, 2, 2, {.data = weight.data()});
        const float second = dtype == DType::kBF16 ? 1.0f : values[1];
        EXPECT_EQ(weight.decode(), (std::vector<float>{values[0], second, values[2], values[3]}));
    }
    StoredWeight weight(WeightFormat::floating(DType::kF32), 1, 1);
    const float infinite = std::numeric_limits<float>::infinity();
    EXPECT_THROW(encode(weight.view().format, &infinite, 1, 1, {.data = weight.data()}), Error);
}

}  // namespace
}  // namespace sluice
