#include "tensor/weight_format.h"

#include <fmt/core.h>

namespace sluice {

namespace {

uint64_t ceil_div(int64_t value, int64_t divisor) {
    return static_cast<uint64_t>((value + divisor - 1) / divisor);
}

}  // namespace

WeightFormat WeightFormat::floating(DType dtype) {
    return {.kind = WeightKind::kFloat, .dtype = dtype, .bits = static_cast<int>(8 * dtype_bytes(dtype))};
}

WeightFormat WeightFormat::affine(int bits, int group_size, DType scale_dtype) {
    return {.kind = WeightKind::kAffine, .dtype = scale_dtype, .bits = bits, .group_size = group_size};
}

WeightFormat WeightFormat::fp8_block(int block_rows, int block_columns, DType scale_dtype) {
    return {.kind = WeightKind::kFp8Block,
            .dtype = scale_dtype,
            .bits = 8,
            .group_size = block_columns,
            .block_rows = block_rows,
            .block_columns = block_columns};
}

WeightFormat WeightFormat::mxfp4() {
    return {.kind = WeightKind::kMxfp4, .dtype = DType::kF8E8M0, .bits = 4, .group_size = 32};
}

WeightFormat WeightFormat::mxfp8() {
    return {.kind = WeightKind::kMxfp8, .dtype = DType::kF8E8M0, .bits = 8, .group_size = 32};
}

WeightFormat WeightFormat::nvfp4() {
    return {.kind = WeightKind::kNvfp4, .dtype = DType::kF8E4M3, .bits = 4, .group_size = 16};
}

uint64_t WeightFormat::data_row_bytes(int64_t columns) const {
    return ceil_div(columns * bits, 8);
}

uint64_t WeightFormat::scale_row_bytes(int64_t columns) const {
    return has_scales() ? ceil_div(columns, group_size) * dtype_bytes(dtype) : 0;
}

uint64_t WeightFormat::bias_row_bytes(int64_t columns) const {
    return has_biases() ? scale_row_bytes(columns) : 0;
}

uint64_t WeightFormat::data_bytes(int64_t rows, int64_t columns) const {
    return static_cast<uint64_t>(rows) * data_row_bytes(columns);
}

uint64_t WeightFormat::scale_bytes(int64_t rows, int64_t columns) const {
    const uint64_t scale_rows =
        kind == WeightKind::kFp8Block ? ceil_div(rows, block_rows) : static_cast<uint64_t>(rows);
    return scale_rows * scale_row_bytes(columns);
}

uint64_t WeightFormat::bias_bytes(int64_t rows, int64_t columns) const {
    return static_cast<uint64_t>(rows) * bias_row_bytes(columns);
}

bool WeightFormat::supported() const {
    const bool plain = dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
    switch (kind) {
        case WeightKind::kFloat:
            return plain;
        case WeightKind::kAffine: {
            const bool known_bits = (bits >= 2 && bits <= 6) || bits == 8;
            const bool known_group = group_size == 32 || group_size == 64 || group_size == 128;
            return plain && known_bits && known_group;
        }
        case WeightKind::kFp8Block:
            return block_rows > 0 && block_columns > 0 && (dtype == DType::kF32 || dtype == DType::kBF16);
        default:
            return true;
    }
}

std::string WeightFormat::describe() const {
    switch (kind) {
        case WeightKind::kFloat:
            return std::string(dtype_name(dtype));
        case WeightKind::kAffine:
            return fmt::format("affine {}-bit, group {}", bits, group_size);
        case WeightKind::kFp8Block:
            return fmt::format("FP8 {}x{}", block_rows, block_columns);
        case WeightKind::kMxfp4:
            return "mxfp4";
        case WeightKind::kMxfp8:
            return "mxfp8";
        case WeightKind::kNvfp4:
            return "nvfp4";
    }
    return "unknown";
}

}  // namespace sluice
