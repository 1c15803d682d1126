#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/weight_format.h"

namespace sluice {

// A weight matrix in host memory, as stored; nothing is aligned. `scales` and `biases` are null where the format has
// none.
struct WeightView {
    WeightFormat format;
    int64_t rows = 0;
    int64_t columns = 0;
    const std::byte* data = nullptr;
    const std::byte* scales = nullptr;
    const std::byte* biases = nullptr;
    int64_t block_row_offset = 0;  // kFp8Block: row of the whole matrix at which this view starts, modulo block_rows

    // Rows [first, first + count).
    WeightView rows_at(int64_t first, int64_t count) const;
};

// Decodes one row to `columns` floats: the scalar definition of every format, in float32, rounded nowhere on the way.
void decode_row(const WeightView& weight, int64_t row, float* out);

// Encodes row-major floats [rows, columns] as MLX affine does: per group the edge of larger magnitude is exact. Throws
// kUnsupported when columns is not a multiple of the group, or for a format that has no encoder. data, scales, biases:
// at least data_bytes, scale_bytes, bias_bytes of the format.
void encode_affine(const WeightFormat& format, const float* values, int64_t rows, int64_t columns, std::byte* data,
                   std::byte* scales, std::byte* biases);

}  // namespace sluice
