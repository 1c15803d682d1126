// OCP microscaling FP8: E4M3 bytes times one E8M0 power of two per 32 elements.

#include <algorithm>

#include "tensor/codecs.h"
#include "tensor/float_types.h"
#include "tensor/weight_view.h"

namespace sluice {

namespace {

constexpr float kLargestPower = 256.0f;  // of E4M3: the largest value of a group lands in its last binade

void decode_mxfp8_row(const WeightView& weight, int64_t row, float* out) {
    const auto index = static_cast<uint64_t>(row);
    const std::byte* data = weight.data + index * weight.format.data_row_bytes(weight.columns);
    const std::byte* scales = weight.scales + index * weight.format.scale_row_bytes(weight.columns);
    for (int64_t start = 0; start < weight.columns; start += weight.format.group_size) {
        const float scale = e8m0_to_float(static_cast<uint8_t>(*scales++));
        const int64_t end = std::min<int64_t>(start + weight.format.group_size, weight.columns);
        for (int64_t i = start; i < end; ++i) out[i] = e4m3_to_float(static_cast<uint8_t>(data[i])) * scale;
    }
}

void encode_mxfp8(const WeightFormat& format, const float* values, int64_t rows, int64_t columns,
                  const EncodedRows& out) {
    std::byte* data = out.data;
    std::byte* scales = out.scales;
    for (int64_t group = 0; group < rows * columns / format.group_size; ++group) {
        const float largest = largest_magnitude(values, format.group_size, group * format.group_size / columns);
        const uint8_t scale_bits = largest > 0.0f ? float_to_e8m0(largest / kLargestPower) : uint8_t{0};
        const float scale = e8m0_to_float(scale_bits);
        *scales++ = static_cast<std::byte>(scale_bits);
        for (int i = 0; i < format.group_size; ++i) {
            *data++ = static_cast<std::byte>(float_to_e4m3(*values++ / scale));
        }
    }
}

}  // namespace

constinit const Codec kMxfp8Codec = {
    .name = "mxfp8",
    .standard = {.codec = &kMxfp8Codec, .dtype = DType::kF8E8M0, .bits = 8, .group_size = 32},
    .scales = true,
    .tiles = [](const WeightFormat&) { return true; },
    .packed_in_tiles = false,
    .block = fixed_block<1, 1>,
    .decode_row = decode_mxfp8_row,
    .encode = encode_mxfp8,
};

}  // namespace sluice
