// NVIDIA's FP4 as MLX stores it: E2M1 nibbles times one E4M3 factor per 16 elements.

#include "tensor/codecs.h"
#include "tensor/e2m1_group.h"
#include "tensor/weight_view.h"

namespace sluice {

namespace {

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

void encode_nvfp4(const WeightFormat& format, const float* values, int64_t rows, int64_t columns,
                  const EncodedRows& out) {
    std::byte* data = out.data;
    std::byte* scales = out.scales;
    const int64_t group = format.group_size;
    for (int64_t start = 0; start < rows * columns; start += group) {
        const uint8_t scale = float_to_e4m3(largest_magnitude(values + start, group, start / columns) / 6.0f);
        *scales++ = static_cast<std::byte>(scale);
        encode_e2m1_group(values + start, group, e4m3_to_float(scale), data + start / 2);
    }
}

}  // namespace

constinit const Codec kNvfp4Codec = {
    .name = "nvfp4",
    .standard = {.codec = &kNvfp4Codec, .dtype = DType::kF8E4M3, .bits = 4, .group_size = 16},
    .scales = true,
    .tiles = [](const WeightFormat&) { return true; },
    .packed_in_tiles = false,
    .block = fixed_block<2, 1>,
    .decode_row = decode_nvfp4_row,
    .encode = encode_nvfp4,
};

}  // namespace sluice
