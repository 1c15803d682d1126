#include "tensor/weight_view.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "tensor/codecs.h"
#include "tensor/float_types.h"

namespace sluice {

namespace {

void decode_float_row(const WeightView& weight, int64_t row, float* out) {
    const size_t width = dtype_bytes(weight.format.dtype);
    const std::byte* data = weight.data + static_cast<size_t>(row * weight.columns) * width;
    switch (weight.format.dtype) {
        case DType::kF32:
            std::memcpy(out, data, static_cast<size_t>(weight.columns) * width);
            return;
        case DType::kBF16:
            for (int64_t i = 0; i < weight.columns; ++i) out[i] = bf16_to_float(load_unaligned<uint16_t>(data + 2 * i));
            return;
        case DType::kF16:
            for (int64_t i = 0; i < weight.columns; ++i) out[i] = f16_to_float(load_unaligned<uint16_t>(data + 2 * i));
            return;
        default:
            fail(ErrorCode::kUnsupported, "weights of type {}: only F32, F16 and BF16 hold plain numbers",
                 dtype_name(weight.format.dtype));
    }
}

}  // namespace

WeightView WeightView::rows_at(int64_t first, int64_t count) const {
    WeightView part = *this;
    part.rows = count;
    part.data += static_cast<uint64_t>(first) * format.data_row_bytes(columns);
    if (format.kind == WeightKind::kFp8Block) {
        const int64_t row = block_row_offset + first;
        part.scales += static_cast<uint64_t>(row / format.block_rows) * format.scale_row_bytes(columns);
        part.block_row_offset = row % format.block_rows;
    } else if (format.has_scales()) {
        part.scales += static_cast<uint64_t>(first) * format.scale_row_bytes(columns);
    }
    if (format.has_biases()) part.biases += static_cast<uint64_t>(first) * format.bias_row_bytes(columns);
    return part;
}

void decode_row(const WeightView& weight, int64_t row, float* out) {
    switch (weight.format.kind) {
        case WeightKind::kFloat:
            return decode_float_row(weight, row, out);
        case WeightKind::kAffine:
            return decode_affine_row(weight, row, out);
        case WeightKind::kFp8Block:
            return decode_fp8_block_row(weight, row, out);
        case WeightKind::kMxfp4:
            return decode_mxfp4_row(weight, row, out);
        case WeightKind::kMxfp8:
            return decode_mxfp8_row(weight, row, out);
        case WeightKind::kNvfp4:
            return decode_nvfp4_row(weight, row, out);
    }
}

void require_whole_groups(const WeightFormat& format, int64_t columns) {
    if (columns % format.group_size == 0) return;
    fail(ErrorCode::kUnsupported, "{}: {} columns are not a multiple of the group of {}", format.describe(), columns,
         format.group_size);
}

float largest_magnitude(const float* values, int64_t count, int64_t row) {
    float largest = 0.0f;
    for (int64_t i = 0; i < count; ++i) {
        if (!std::isfinite(values[i])) {
            fail(ErrorCode::kInvalidFile, "cannot quantize {} in row {}", values[i], row);
        }
        largest = std::max(largest, std::abs(values[i]));
    }
    return largest;
}

}  // namespace sluice
