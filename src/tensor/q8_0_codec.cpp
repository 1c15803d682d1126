// GGUF's Q8_0: blocks of an F16 scale and 32 signed bytes; value = byte * scale.

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "tensor/block_codec.h"
#include "tensor/codecs.h"
#include "tensor/float_types.h"
#include "tensor/weight_view.h"

namespace sluice {

namespace {

constexpr int64_t kBlockValues = 32, kBlockBytes = 34, kScaleBytes = 2;
constexpr float kLargestByte = 127.0f;

void decode_q8_0_row(const WeightView& weight, int64_t row, float* out) {
    const std::byte* block = weight.data + static_cast<uint64_t>(row) * weight.format.data_row_bytes(weight.columns);
    for (int64_t start = 0; start < weight.columns; start += kBlockValues, block += kBlockBytes) {
        const float scale = f16_to_float(load_unaligned<uint16_t>(block));
        for (int64_t i = 0; i < kBlockValues; ++i) {
            out[start + i] = static_cast<float>(static_cast<int8_t>(block[kScaleBytes + i])) * scale;
        }
    }
}

// Bytes are those of the scale as it will be read again.
void encode_q8_0(const WeightFormat& format, const float* values, int64_t rows, int64_t columns,
                 const EncodedRows& out) {
    std::byte* block = out.data;
    for (int64_t start = 0; start < rows * columns; start += kBlockValues, values += kBlockValues) {
        const float largest = largest_magnitude(values, kBlockValues, start / columns);
        const uint16_t bits = float_to_f16(largest / kLargestByte);
        const float scale = f16_to_float(bits);
        if (!std::isfinite(scale)) {
            fail(ErrorCode::kUnsupported, "row {}: values up to {} do not fit {}", start / columns, largest,
                 format.describe());
        }
        store_unaligned(block, bits);
        for (int64_t i = 0; i < kBlockValues; ++i) {
            const float level = scale > 0.0f ? std::nearbyint(values[i] / scale) : 0.0f;
            block[kScaleBytes + i] =
                static_cast<std::byte>(static_cast<int8_t>(std::clamp(level, -kLargestByte, kLargestByte)));
        }
        block += kBlockBytes;
    }
}

}  // namespace

constinit const Codec kQ8_0Codec = {
    .name = "q8_0",
    .standard = {.codec = &kQ8_0Codec, .dtype = DType::kF16, .bits = 8},
    .tiles = always_in_tiles,
    .lone_word = 0,
    .block = fixed_block<kBlockValues, kBlockBytes>,
    .decode_row = decode_q8_0_row,
    .encode = encode_q8_0,
};

}  // namespace sluice
