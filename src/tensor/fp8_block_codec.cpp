// DeepSeek-V3's FP8: E4M3 bytes times one factor per block, F32, BF16 or a power of two in E8M0; blocks start at
// multiples of their size, the last of a row or column is ragged.

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "tensor/codecs.h"
#include "tensor/float_types.h"
#include "tensor/row_tiles.h"
#include "tensor/weight_view.h"

namespace sluice {

namespace {

constexpr float kLargestE4M3 = 448.0f;

float block_factor(const float* values, int64_t first_row, int64_t rows, int64_t columns, int64_t stride) {
    float largest = 0.0f;
    for (int64_t row = 0; row < rows; ++row) {
        largest = std::max(largest, largest_magnitude(values + row * stride, columns, first_row + row));
    }
    return std::max(largest / kLargestE4M3, 1e-12f);
}

float load_factor(DType dtype, const std::byte* scale) {
    if (dtype == DType::kF8E8M0) return e8m0_to_float(static_cast<uint8_t>(*scale));
    return dtype == DType::kF32 ? load_unaligned<float>(scale) : bf16_to_float(load_unaligned<uint16_t>(scale));
}

// The factor as it will be read again.
float store_factor(DType dtype, float factor, std::byte* scale) {
    if (dtype == DType::kF8E8M0) {
        const uint8_t below = float_to_e8m0(factor);
        *scale = static_cast<std::byte>(e8m0_to_float(below) < factor ? below + 1 : below);
    } else if (dtype == DType::kF32) {
        store_unaligned(scale, factor);
    } else {
        store_unaligned(scale, float_to_bf16(factor));
    }
    return load_factor(dtype, scale);
}

void decode_fp8_block_row(const WeightView& weight, int64_t row, float* out) {
    const WeightFormat& format = weight.format;
    const std::byte* data = weight.data + row * weight.columns;
    const auto block_row = static_cast<uint64_t>((weight.block_row_offset + row) / format.group_rows);
    const std::byte* scales = weight.scales + block_row * format.scale_row_bytes(weight.columns);
    const size_t scale_bytes = dtype_bytes(format.dtype);
    for (int64_t start = 0; start < weight.columns; start += format.group_size, scales += scale_bytes) {
        const float scale = load_factor(format.dtype, scales);
        const int64_t end = std::min<int64_t>(start + format.group_size, weight.columns);
        for (int64_t i = start; i < end; ++i) out[i] = e4m3_to_float(static_cast<uint8_t>(data[i])) * scale;
    }
}

void encode_fp8_block(const WeightFormat& format, const float* values, int64_t rows, int64_t columns,
                      const EncodedRows& out) {
    std::byte* data = out.data;
    std::byte* scales = out.scales;
    const size_t scale_bytes = dtype_bytes(format.dtype);
    for (int64_t top = 0; top < rows; top += format.group_rows) {
        const int64_t height = std::min<int64_t>(format.group_rows, rows - top);
        for (int64_t left = 0; left < columns; left += format.group_size, scales += scale_bytes) {
            const int64_t width = std::min<int64_t>(format.group_size, columns - left);
            const float factor = store_factor(
                format.dtype, block_factor(values + top * columns + left, top, height, width, columns), scales);
            for (int64_t row = top; row < top + height; ++row) {
                for (int64_t i = row * columns + left; i < row * columns + left + width; ++i) {
                    data[i] = static_cast<std::byte>(float_to_e4m3(values[i] / factor));
                }
            }
        }
    }
}

// The codes of a dword share a factor.
bool has_tiles(const WeightFormat& format) {
    return format.group_rows % kTileRows == 0 && format.group_size % kTileDwordBytes == 0;
}

constexpr DType kFactorTypes[] = {DType::kF32, DType::kBF16, DType::kF8E8M0};
constexpr FormatParameter kParameters[] = {{"block_rows", &WeightFormat::group_rows},
                                           {"block_columns", &WeightFormat::group_size}};

}  // namespace

constinit const Codec kFp8BlockCodec = {
    .name = "fp8_block",
    .standard = {.codec = &kFp8BlockCodec, .dtype = DType::kF32, .bits = 8, .group_size = 128, .group_rows = 128},
    .dtypes = kFactorTypes,
    .parameters = kParameters,
    .scales = true,
    .ragged = true,
    .tiles = has_tiles,
    .packed_in_tiles = false,
    .block = fixed_block<1, 1>,
    .describe =
        [](const WeightFormat& format) { return fmt::format("FP8 {}x{}", format.group_rows, format.group_size); },
    .decode_row = decode_fp8_block_row,
    .encode = encode_fp8_block,
};

}  // namespace sluice
