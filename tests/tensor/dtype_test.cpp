#include "tensor/dtype.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(DType, NamesComeBack) {
    for (int i = 0; i <= static_cast<int>(DType::kBool); ++i) {
        const auto dtype = static_cast<DType>(i);
        EXPECT_EQ(dtype_from_name(dtype_name(dtype)), dtype);
    }
    EXPECT_EQ(dtype_from_name("bf16"), std::nullopt);
    EXPECT_EQ(dtype_from_name(""), std::nullopt);
}

TEST(DType, Sizes) {
    EXPECT_EQ(dtype_bytes(DType::kF64), 8u);
    EXPECT_EQ(dtype_bytes(DType::kF32), 4u);
    EXPECT_EQ(dtype_bytes(DType::kBF16), 2u);
    EXPECT_EQ(dtype_bytes(DType::kF8E4M3), 1u);
    EXPECT_EQ(dtype_bytes(DType::kI64), 8u);
    EXPECT_EQ(dtype_bytes(DType::kU32), 4u);
    EXPECT_EQ(dtype_bytes(DType::kBool), 1u);
    EXPECT_EQ(dtype_name(DType::kF8E8M0), "F8_E8M0");
}

}  // namespace
}  // namespace sluice
