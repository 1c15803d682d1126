#include "tensor/weight_view.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace sluice {

WeightView WeightView::rows_at(int64_t first, int64_t count) const {
    const auto rows_before = static_cast<uint64_t>(first);
    const int64_t row = block_row_offset + first;
    const auto groups_before = static_cast<uint64_t>(row / format.group_rows);
    WeightView part = *this;
    part.rows = count;
    part.data += rows_before * format.data_row_bytes(columns);
    if (format.has_scales()) part.scales += groups_before * format.scale_row_bytes(columns);
    if (format.has_biases()) part.biases += groups_before * format.bias_row_bytes(columns);
    part.block_row_offset = row % format.group_rows;
    return part;
}

void decode_row(const WeightView& weight, int64_t row, float* out) {
    weight.format.codec->decode_row(weight, row, out);
}

void encode(const WeightFormat& format, const float* values, int64_t rows, int64_t columns, const EncodedRows& out) {
    if (format.codec->encode == nullptr) {
        fail(ErrorCode::kUnsupported, "{} can be read, but not be made", format.describe());
    }
    if (!format.supported()) {
        fail(ErrorCode::kUnsupported, "{} with {} is not supported: {}", format.describe(), dtype_name(format.dtype),
             format.codec->choices());
    }
    if (columns % format.run_columns() != 0) {
        fail(ErrorCode::kUnsupported, "{}: {} columns are not a multiple of the group of {}", format.describe(),
             columns, format.run_columns());
    }
    format.codec->encode(format, values, rows, columns, out);
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
