// NVIDIA's FP4 as MLX stores it: E2M1 nibbles times one E4M3 factor per 16 elements.

#include "tensor/codecs.h"
#include "tensor/e2m1_group.h"

namespace sluice {

void decode_nvfp4_row(const WeightView& weight, int64_t row, float* out) {
    const int64_t group = weight.format.group_size;
    const auto index = static_cast<uint64_t>(row);
    const std::byte* data = weight.data + index * weight.format.data_row_bytes(weight.columns);
    const std::byte* scales = weight.scales + index * weight.format.scale_row_bytes(weight.columns);
    for (int64_t start = 0; start < weight.columns; start += group) {
        const float scale = e4m3_to_float(static_cast<uint8_t>(*scales++));
        decode_e2m1_group(data + start / 2, group, scale, out + start);
    }
}

void encode_nvfp4(const float* values, int64_t rows, int64_t columns, std::byte* data, std::byte* scales) {
    const WeightFormat format = WeightFormat::nvfp4();
    require_whole_groups(format, columns);
    const int64_t group = format.group_size;
    for (int64_t start = 0; start < rows * columns; start += group) {
        const uint8_t scale = float_to_e4m3(largest_magnitude(values + start, group, start / columns) / 6.0f);
        *scales++ = static_cast<std::byte>(scale);
        encode_e2m1_group(values + start, group, e4m3_to_float(scale), data + start / 2);
    }
}

}  // namespace sluice
