// Plain floats, row-major: F32, F16 or BF16.

#include "base/error.h"
#include "tensor/codecs.h"
#include "tensor/float_types.h"
#include "tensor/weight_view.h"

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

void encode_float(const WeightFormat& format, const float* values, int64_t rows, int64_t columns,
                  const EncodedRows& out) {
    const size_t width = dtype_bytes(format.dtype);
    for (int64_t row = 0; row < rows; ++row) largest_magnitude(values + row * columns, columns, row);
    std::byte* data = out.data;
    for (int64_t i = 0; i < rows * columns; ++i, data += width) {
        if (format.dtype == DType::kF32) store_unaligned(data, values[i]);
        if (format.dtype == DType::kF16) store_unaligned(data, float_to_f16(values[i]));
        if (format.dtype == DType::kBF16) store_unaligned(data, float_to_bf16(values[i]));
    }
}

constexpr DType kDTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

}  // namespace

constinit const Codec kFloatCodec = {
    .name = "float",
    .standard = {.codec = &kFloatCodec, .dtype = DType::kF32},
    .dtypes = kDTypes,
    .dtype_stated = true,
    .ragged = true,
    .block =
        [](const WeightFormat& format) {
            return DataBlock{1, static_cast<int>(dtype_bytes(format.dtype))};
        },
    .describe = [](const WeightFormat& format) { return std::string(dtype_name(format.dtype)); },
    .decode_row = decode_float_row,
    .encode = encode_float,
};

}  // namespace sluice
