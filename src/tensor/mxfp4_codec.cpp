// OCP microscaling FP4: E2M1 nibbles times one E8M0 power of two per 32 elements.

#include "tensor/codecs.h"
#include "tensor/e2m1_group.h"

namespace sluice {

namespace {
constexpr float kLargestPower = 4.0f;  // of E2M1: the largest value of a group lands in its last binade
}  // namespace

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

void encode_mxfp4(const float* values, int64_t rows, int64_t columns, std::byte* data, std::byte* scales) {
    const WeightFormat format = WeightFormat::mxfp4();
    require_whole_groups(format, columns);
    const int64_t group = format.group_size;
    for (int64_t start = 0; start < rows * columns; start += group) {
        const float largest = largest_magnitude(values + start, group, start / columns);
        const uint8_t scale = largest > 0.0f ? float_to_e8m0(largest / kLargestPower) : uint8_t{0};
        *scales++ = static_cast<std::byte>(scale);
        encode_e2m1_group(values + start, group, e8m0_to_float(scale), data + start / 2);
    }
}

}  // namespace sluice
