// FP4 as GGUF blocks it. MXFP4: an E8M0 scale and 32 E2M1 nibbles in halves. NVFP4: four unsigned E4M3 scales, each of
// 16 columns, whose 8 bytes hold 8 low nibbles and then 8 high ones; beside it may stand a factor of the whole matrix.

#include <cmath>
#include <limits>

#include "tensor/block_codec.h"
#include "tensor/codecs.h"

namespace sluice {

namespace {

// Twice the value of a nibble is whole, and half of any E8M0 scale is a float: 255 is 2^128 and no NaN here.
float doubled(int nibble) {
    return 2.0f * e2m1_to_float(static_cast<uint8_t>(nibble));
}

float half_of_e8m0(int code) {
    return std::ldexp(1.0f, code - 128);
}

void decode_mxfp4(const std::byte* block, float* out) {
    const float scale = half_of_e8m0(byte_at(block, 0));
    for (int i = 0; i < 32; ++i) out[i] = scale * doubled(nibble_of_halves(block + 1, i));
}

// The code of NaN is zero here.
float unsigned_e4m3(int code) {
    return (code & 127) == 127 ? 0.0f : e4m3_to_float(static_cast<uint8_t>(code & 127));
}

void decode_nvfp4(const std::byte* block, float* out) {
    for (int i = 0; i < 64; ++i) {
        const float scale = 0.5f * unsigned_e4m3(byte_at(block, i / 16));
        const int byte = byte_at(block, 4 + i / 16 * 8 + i % 8);
        out[i] = scale * doubled(i % 16 < 8 ? byte & 15 : byte >> 4);
    }
}

// The factor is the scale of a group that is the whole matrix.
void decode_scaled_nvfp4_row(const WeightView& weight, int64_t row, float* out) {
    decode_row_of_blocks<64, 36, decode_nvfp4>(weight, row, out);
    const auto factor = load_unaligned<float>(weight.scales);
    for (int64_t i = 0; i < weight.columns; ++i) out[i] *= factor;
}

constexpr Codec nvfp4_blocks(std::string_view name, const Codec* self) {
    Codec codec = in_tiles(block_codec<64, 36, decode_nvfp4>(name, self, 4));
    codec.packed_in_tiles = false;
    return codec;
}

constexpr Codec scaled_nvfp4() {
    Codec codec = nvfp4_blocks("nvfp4_block_scaled", &kScaledNvfp4BlockCodec);
    codec.standard.dtype = DType::kF32;
    codec.standard.group_rows = std::numeric_limits<int>::max();
    codec.scales = true;
    codec.decode_row = decode_scaled_nvfp4_row;
    return codec;
}

}  // namespace

constinit const Codec kMxfp4BlockCodec =
    in_tiles(block_codec<32, 17, decode_mxfp4>("mxfp4_block", &kMxfp4BlockCodec, 4), 0);
constinit const Codec kNvfp4BlockCodec = nvfp4_blocks("nvfp4_block", &kNvfp4BlockCodec);
constinit const Codec kScaledNvfp4BlockCodec = scaled_nvfp4();

}  // namespace sluice
