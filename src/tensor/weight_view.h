#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/codec.h"

namespace sluice {

// Decodes one row to `columns` floats: the scalar definition of every format, in float32, rounded nowhere on the way.
void decode_row(const WeightView& weight, int64_t row, float* out);

// Encodes row-major floats [rows, columns]. Throws kUnsupported for a format that is not supported or has no encoder
// and for columns that its runs do not divide, kInvalidFile for a value that is not finite. Thread-safe.
void encode(const WeightFormat& format, const float* values, int64_t rows, int64_t columns, const EncodedRows& out);

// For encoders: the largest magnitude of `count` values; throws kInvalidFile when one is not finite, naming `row`.
float largest_magnitude(const float* values, int64_t count, int64_t row);

}  // namespace sluice
