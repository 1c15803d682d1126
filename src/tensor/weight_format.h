#pragma once

#include <cstdint>
#include <string>

#include "tensor/dtype.h"

namespace sluice {

// How the numbers of a weight matrix [rows, columns] are stored. Rows are outputs, columns inputs.
enum class WeightKind : uint8_t {
    kFloat,     // F32, F16 or BF16, row-major; no scales
    kAffine,    // MLX: a bit stream per row, weight = q * scale + bias, one scale and bias per group along a row
    kFp8Block,  // F8_E4M3 with one F32 or BF16 factor per block of rows x columns (the tensor `weight_scale_inv`)
    kMxfp4,     // E2M1 nibbles, one E8M0 scale per 32 along a row
    kMxfp8,     // E4M3 bytes, one E8M0 scale per 32 along a row
    kNvfp4,     // E2M1 nibbles, one E4M3 scale per 16 along a row
};

struct WeightFormat {
    WeightKind kind = WeightKind::kFloat;
    DType dtype = DType::kF32;  // kFloat: element type. kAffine: type of scales and biases (BF16, F16 or F32).
                                // kFp8Block: of the scales (F32 or BF16); else of the scales, as the kind decides
    int bits = 32;              // bits per element of the data
    int group_size = 0;         // elements per scale along a row (kFp8Block: block_columns); 0 where there are none
    int block_rows = 0;         // kFp8Block only
    int block_columns = 0;      // kFp8Block only

    bool operator==(const WeightFormat&) const = default;

    static WeightFormat floating(DType dtype);
    static WeightFormat affine(int bits, int group_size, DType scale_dtype);
    static WeightFormat fp8_block(int block_rows, int block_columns, DType scale_dtype = DType::kF32);
    static WeightFormat mxfp4();
    static WeightFormat mxfp8();
    static WeightFormat nvfp4();

    bool has_scales() const { return kind != WeightKind::kFloat; }
    bool has_biases() const { return kind == WeightKind::kAffine; }

    // Bytes of one row's data, scales and biases; for kFp8Block the scale row serves block_rows rows.
    uint64_t data_row_bytes(int64_t columns) const;
    uint64_t scale_row_bytes(int64_t columns) const;
    uint64_t bias_row_bytes(int64_t columns) const;
    // Bytes of the whole part for a matrix of this size.
    uint64_t data_bytes(int64_t rows, int64_t columns) const;
    uint64_t scale_bytes(int64_t rows, int64_t columns) const;
    uint64_t bias_bytes(int64_t rows, int64_t columns) const;

    // Whether bits, group and element types are among those that exist for the kind.
    bool supported() const;

    std::string describe() const;  // "affine 4-bit, group 64", "FP8 128x128", "BF16"
};

}  // namespace sluice
