#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/codecs.h"

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
    int64_t block_row_offset = 0;  // row of the whole matrix at which this view starts, modulo group_rows

    // Rows [first, first + count).
    WeightView rows_at(int64_t first, int64_t count) const;
};

// Decodes one row to `columns` floats: the scalar definition of every format, in float32, rounded nowhere on the way.
void decode_row(const WeightView& weight, int64_t row, float* out);

// Encodes row-major floats [rows, columns]. Throws kUnsupported for a format that is not supported or has no encoder
// and for columns that its runs do not divide, kInvalidFile for a value that is not finite. Thread-safe.
void encode(const WeightFormat& format, const float* values, int64_t rows, int64_t columns, const EncodedRows& out);

// For encoders: the largest magnitude of `count` values; throws kInvalidFile when one is not finite, naming `row`.
float largest_magnitude(const float* values, int64_t count, int64_t row);

}  // namespace sluice
