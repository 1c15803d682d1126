// MLX affine: value = q * scale + zero point, q unsigned of 2, 3, 4, 5, 6 or 8 bits in a little-endian bit stream per
// row, element 0 lowest; scale and zero point per group along the row.

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "tensor/codecs.h"
#include "tensor/float_types.h"
#include "tensor/weight_view.h"

namespace sluice {

namespace {

constexpr float kLargestF16 = 65504.0f;

float load_scale(DType dtype, const std::byte* bytes) {
    if (dtype == DType::kBF16) return bf16_to_float(load_unaligned<uint16_t>(bytes));
    if (dtype == DType::kF16) return f16_to_float(load_unaligned<uint16_t>(bytes));
    return load_unaligned<float>(bytes);
}

void store_scale(DType dtype, float value, std::byte* bytes) {
    if (dtype == DType::kBF16) return store_unaligned(bytes, float_to_bf16(value));
    if (dtype == DType::kF16) return store_unaligned(bytes, float_to_f16(value));
    store_unaligned(bytes, value);
}

struct Grid {
    float scale;
    float zero_point;
};

// As MLX fits it: the edge of larger magnitude gets a whole multiple of the scale, so that zero and it are exact.
Grid fit_grid(const float* values, int64_t count, int bits) {
    const auto [low, high] = std::minmax_element(values, values + count);
    const bool from_low = std::abs(*low) > std::abs(*high);
    const float bins = static_cast<float>((1 << bits) - 1);
    const float step = std::max((*high - *low) / bins, 1e-7f);
    const float scale = from_low ? step : -step;
    const float edge = from_low ? *low : *high;
    const float steps = std::nearbyint(edge / scale);
    if (steps == 0.0f) return {scale, 0.0f};
    return {edge / steps, edge};
}

// Appends `count` elements to the bit stream at `bytes`; count * bits is a multiple of 8.
void pack_group(const float* values, int64_t count, const Grid& grid, int bits, std::byte* bytes) {
    const float largest = static_cast<float>((1 << bits) - 1);
    uint32_t buffer = 0;
    int filled = 0;
    for (int64_t i = 0; i < count; ++i) {
        const float level = std::nearbyint((values[i] - grid.zero_point) / grid.scale);
        buffer |= static_cast<uint32_t>(std::clamp(level, 0.0f, largest)) << filled;
        for (filled += bits; filled >= 8; filled -= 8, buffer >>= 8) *bytes++ = static_cast<std::byte>(buffer);
    }
}

void require_representable(const WeightFormat& format, const Grid& grid, int64_t row) {
    const float limit = format.dtype == DType::kF16 ? kLargestF16 : std::numeric_limits<float>::max();
    if (std::abs(grid.scale) <= limit && std::abs(grid.zero_point) <= limit) return;
    fail(ErrorCode::kUnsupported, "row {}: values up to {} do not fit {} with {} scales", row,
         std::max(std::abs(grid.scale), std::abs(grid.zero_point)), format.describe(), dtype_name(format.dtype));
}

void decode_affine_row(const WeightView& weight, int64_t row, float* out) {
    const WeightFormat& format = weight.format;
    const size_t width = dtype_bytes(format.dtype);
    const auto index = static_cast<uint64_t>(row);
    const std::byte* data = weight.data + index * format.data_row_bytes(weight.columns);
    const std::byte* scales = weight.scales + index * format.scale_row_bytes(weight.columns);
    const std::byte* zero_points = weight.zero_points + index * format.zero_point_row_bytes(weight.columns);
    const uint32_t mask = (1u << format.bits) - 1;
    uint32_t buffer = 0;
    int filled = 0;
    for (int64_t start = 0; start < weight.columns; start += format.group_size) {
        const float scale = load_scale(format.dtype, scales);
        const float zero_point = load_scale(format.dtype, zero_points);
        scales += width;
        zero_points += width;
        const int64_t end = std::min<int64_t>(start + format.group_size, weight.columns);
        for (int64_t i = start; i < end; ++i) {
            for (; filled < format.bits; filled += 8) buffer |= static_cast<uint32_t>(*data++) << filled;
            const float product = static_cast<float>(buffer & mask) * scale;
            out[i] = product + zero_point;
            buffer >>= format.bits;
            filled -= format.bits;
        }
    }
}

void encode_affine(const WeightFormat& format, const float* values, int64_t rows, int64_t columns,
                   const EncodedRows& out) {
    const size_t width = dtype_bytes(format.dtype);
    const int64_t group_bytes = format.group_size * format.bits / 8;
    auto [data, scales, zero_points] = out;
    for (int64_t row = 0; row < rows; ++row) {
        for (int64_t start = 0; start < columns; start += format.group_size) {
            largest_magnitude(values, format.group_size, row);
            const Grid grid = fit_grid(values, format.group_size, format.bits);
            require_representable(format, grid, row);
            pack_group(values, format.group_size, grid, format.bits, data);
            store_scale(format.dtype, grid.scale, scales);
            store_scale(format.dtype, grid.zero_point, zero_points);
            values += format.group_size;
            data += group_bytes;
            scales += width;
            zero_points += width;
        }
    }
}

constexpr DType kScaleTypes[] = {DType::kF32, DType::kF16, DType::kBF16};
constexpr int kBits[] = {2, 3, 4, 5, 6, 8};
constexpr int kGroups[] = {32, 64, 128};
constexpr FormatParameter kParameters[] = {{"bits", &WeightFormat::bits, kBits},
                                           {"group_size", &WeightFormat::group_size, kGroups}};

}  // namespace

constinit const Codec kAffineCodec = {
    .name = "affine",
    .standard = {.codec = &kAffineCodec, .dtype = DType::kBF16, .bits = 4, .group_size = 64},
    .dtypes = kScaleTypes,
    .dtype_stated = true,
    .parameters = kParameters,
    .scales = true,
    .zero_points = true,
    .tiles = [](const WeightFormat& format) { return format.bits == 4 || format.bits == 8; },
    .block =
        [](const WeightFormat& format) {
            return DataBlock{8, format.bits};
        },
    .describe =
        [](const WeightFormat& format) {
            return fmt::format("affine {}-bit, group {}", format.bits, format.group_size);
        },
    .decode_row = decode_affine_row,
    .encode = encode_affine,
};

}  // namespace sluice
