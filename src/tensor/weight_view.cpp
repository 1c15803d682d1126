#include "tensor/weight_view.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "tensor/row_tiles.h"

namespace sluice {

void check_rows(int64_t first, int64_t count, int64_t rows) {
    if (first < 0 || count < 0 || first > rows - count) {
        fail(ErrorCode::kUsage, "{} weight rows from {} on: there are {}, choose a part that lies inside", count, first,
             rows);
    }
}

void check_tiles(int64_t first, int64_t count) {
    if (first % kTileRows != 0 || count % kTileRows != 0) {
        fail(ErrorCode::kUsage, "{} weight rows from {} on: they stand in tiles of {}, choose whole ones", count, first,
             kTileRows);
    }
}

void decode_row(const WeightView& weight, int64_t row, float* out) {
    if (weight.tiled) return weight.format.codec->decode_row(RowOfTile(weight, row).view(), 0, out);
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
