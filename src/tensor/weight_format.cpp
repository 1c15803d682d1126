#include "tensor/weight_format.h"

#include <algorithm>

#include "tensor/codecs.h"

namespace sluice {

namespace {

uint64_t ceil_div(int64_t value, int64_t divisor) {
    return static_cast<uint64_t>((value + divisor - 1) / divisor);
}

}  // namespace

WeightFormat WeightFormat::floating(DType dtype) {
    WeightFormat format = kFloatCodec.standard;
    format.dtype = dtype;
    return format;
}

WeightFormat WeightFormat::affine(int bits, int group_size, DType scale_dtype) {
    WeightFormat format = kAffineCodec.standard;
    format.dtype = scale_dtype;
    format.bits = bits;
    format.group_size = group_size;
    return format;
}

WeightFormat WeightFormat::fp8_block(int block_rows, int block_columns, DType scale_dtype) {
    WeightFormat format = kFp8BlockCodec.standard;
    format.dtype = scale_dtype;
    format.group_rows = block_rows;
    format.group_size = block_columns;
    return format;
}

bool WeightFormat::has_scales() const {
    return codec->scales;
}

bool WeightFormat::has_zero_points() const {
    return codec->zero_points;
}

int64_t WeightFormat::run_columns() const {
    return codec->ragged ? 1 : std::max({1, codec->block(*this).columns, group_size});
}

uint64_t WeightFormat::data_row_bytes(int64_t columns) const {
    const DataBlock block = codec->block(*this);
    return ceil_div(columns, block.columns) * static_cast<uint64_t>(block.bytes);
}

uint64_t WeightFormat::scale_row_bytes(int64_t columns) const {
    if (!codec->scales) return 0;
    return (group_size > 0 ? ceil_div(columns, group_size) : 1) * dtype_bytes(dtype);
}

uint64_t WeightFormat::zero_point_row_bytes(int64_t columns) const {
    return codec->zero_points ? scale_row_bytes(columns) : 0;
}

uint64_t WeightFormat::data_bytes(int64_t rows, int64_t columns) const {
    return static_cast<uint64_t>(rows) * data_row_bytes(columns);
}

uint64_t WeightFormat::scale_bytes(int64_t rows, int64_t columns) const {
    return ceil_div(rows, group_rows) * scale_row_bytes(columns);
}

uint64_t WeightFormat::zero_point_bytes(int64_t rows, int64_t columns) const {
    return ceil_div(rows, group_rows) * zero_point_row_bytes(columns);
}

bool WeightFormat::tiles() const {
    return codec->tiles != nullptr && codec->tiles(*this);
}

bool WeightFormat::supported() const {
    WeightFormat chosen = codec->standard;
    for (const FormatParameter& parameter : codec->parameters) {
        const int number = this->*parameter.value;
        if (!parameter.allows(number)) return false;
        chosen.*parameter.value = number;
    }
    if (std::ranges::find(codec->dtypes, dtype) != codec->dtypes.end()) chosen.dtype = dtype;
    return *this == chosen;
}

std::string WeightFormat::describe() const {
    return codec->describe != nullptr ? codec->describe(*this) : std::string(codec->name);
}

}  // namespace sluice
