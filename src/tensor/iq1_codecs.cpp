// GGUF's IQ1_S and IQ1_M: blocks of 256 columns, eight of which choose -1, 0 and 1 together by an index of 11 bits; an
// eighth is added to all of them or taken away.

#include "tensor/block_codec.h"
#include "tensor/codecs.h"
#include "tensor/iq_grids.h"

namespace sluice {

namespace {

void decode_eight(size_t index, bool lowered, float step, float* out) {
    const uint64_t values = kIq1Grid[index];
    const float shift = lowered ? -0.125f : 0.125f;
    for (int i = 0; i < 8; ++i) {
        const auto value = static_cast<int8_t>(values >> (8 * i) & 0xff);
        out[i] = step * (to_float(value) + shift);
    }
}

// Scale, 32 lower bytes of the indices; per 32 columns 12 upper bits, 3 of factor and the sign of the shift.
void decode_iq1_s(const std::byte* block, float* out) {
    const float scale = half_at(block);
    for (int k = 0; k < 32; ++k) {
        const auto rest = load_unaligned<uint16_t>(block + 34 + k / 4 * 2);
        const size_t upper = rest >> (k % 4 * 3) & 7u;
        const int factor = 2 * (rest >> 12 & 7) + 1;
        decode_eight(static_cast<size_t>(block[2 + k]) | upper << 8, (rest & 0x8000) != 0, scale * to_float(factor),
                     out + 8 * k);
    }
}

// 32 lower bytes of the indices; per 8 columns 3 upper bits and the sign of the shift; four words of factors of 3 bits
// per 16 columns, whose upper nibbles are the scale.
void decode_iq1_m(const std::byte* block, float* out) {
    uint16_t words[4], bits = 0;
    for (int i = 0; i < 4; ++i) {
        words[i] = load_unaligned<uint16_t>(block + 48 + 2 * i);
        bits = static_cast<uint16_t>(bits | words[i] >> 12 << (4 * i));
    }
    const float scale = f16_to_float(bits);
    for (int k = 0; k < 32; ++k) {
        const auto rest = static_cast<unsigned>(byte_at(block, 32 + k / 2) >> (k % 2 * 4));
        const int factor = 2 * (words[k / 8] >> (k / 2 % 4 * 3) & 7) + 1;
        decode_eight(static_cast<size_t>(block[k]) | static_cast<size_t>(rest & 7) << 8, (rest & 8) != 0,
                     scale * to_float(factor), out + 8 * k);
    }
}

}  // namespace

constinit const Codec kIq1SCodec = block_codec<256, 50, decode_iq1_s>("iq1_s", &kIq1SCodec, 1);
constinit const Codec kIq1MCodec = block_codec<256, 56, decode_iq1_m>("iq1_m", &kIq1MCodec, 1);

}  // namespace sluice
