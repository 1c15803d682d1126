#pragma once

// The quantized formats, one source file each: decode of one row, which defines the format's values in float32, and the
// encoder. Rows are whole; encoders take row-major floats [rows, columns] and fill data_bytes, scale_bytes and
// bias_bytes of the format. Encoders throw kUnsupported for columns that the group does not divide (fp8 blocks may be
// ragged) and kInvalidFile for a value that is not finite. Thread-safe.

#include <cstddef>
#include <cstdint>

#include "tensor/weight_view.h"

namespace sluice {

void decode_affine_row(const WeightView& weight, int64_t row, float* out);
void decode_fp8_block_row(const WeightView& weight, int64_t row, float* out);
void decode_mxfp4_row(const WeightView& weight, int64_t row, float* out);
void decode_mxfp8_row(const WeightView& weight, int64_t row, float* out);
void decode_nvfp4_row(const WeightView& weight, int64_t row, float* out);

void encode_fp8_block(const WeightFormat& format, const float* values, int64_t rows, int64_t columns, std::byte* data,
                      std::byte* scales);
void encode_mxfp4(const float* values, int64_t rows, int64_t columns, std::byte* data, std::byte* scales);
void encode_mxfp8(const float* values, int64_t rows, int64_t columns, std::byte* data, std::byte* scales);
void encode_nvfp4(const float* values, int64_t rows, int64_t columns, std::byte* data, std::byte* scales);

// What every encoder refuses: columns that are not a multiple of the format's group.
void require_whole_groups(const WeightFormat& format, int64_t columns);
// The largest magnitude of `count` values; throws kInvalidFile when one is not finite, naming `row`.
float largest_magnitude(const float* values, int64_t count, int64_t row);

}  // namespace sluice
