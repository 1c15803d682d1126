// OCP microscaling FP4: E2M1 nibbles times one E8M0 power of two per 32 elements.

#include "tensor/codecs.h"
#include "tensor/e2m1_group.h"
#include "tensor/weight_view.h"

namespace sluice {

namespace {

constexpr float kLargestPower = 4.0f;  // of E2M1: the largest value of a group lands in its last binade

void decode_mxfp4_row(const WeightView& weight, int64_t row, float* out) {
    const int64_t group = weight.format.group_size;
    const auto index = static_cast<uint64_t>(row);
    const std::byte* data = weight.data + index * weight.format.data_row_bytes(weight.columns);
    const std::byte* scales = weight.scales + index * weight.format.scale_row_bytes(weight.columns);
    for (int64_t start = 0; start < weight.columns; start += group) {
        const float scale = e8m0_to_float(static_cast<uint8_t>(*scales++));
        decode_e2m1_group(data + start / 2, group, scale, out + start);
    }
}

void encode_mxfp4(const WeightFormat& format, const float* values, int64_t rows, int64_t columns,
                  const EncodedRows& out) {
    std::byte* data = out.data;
    std::byte* scales = out.scales;
    const int64_t group = format.group_size;
    for (int64_t start = 0; start < rows * columns; start += group) {
        const float largest = largest_magnitude(values + start, group, start / columns);
        const uint8_t scale = largest > 0.0f ? float_to_e8m0(largest / kLargestPower) : uint8_t{0};
        *scales++ = static_cast<std::byte>(scale);
        encode_e2m1_group(values + start, group, e8m0_to_float(scale), data + start / 2);
    }
}

}  // namespace

constinit const Codec kMxfp4Codec = {
    .name = "mxfp4",
    .standard = {.codec = &kMxfp4Codec, .dtype = DType::kF8E8M0, .bits = 4, .group_size = 32},
    .scales = true,
    .tiles = [](const WeightFormat&) { return true; },
    .packed_in_tiles = false,
    .block = fixed_block<2, 1>,
    .decode_row = decode_mxfp4_row,
    .encode = encode_mxfp4,
};

}  // namespace sluice
