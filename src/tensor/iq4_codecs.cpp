// GGUF's IQ4_NL and IQ4_XS: nibbles that choose one of sixteen whole numbers. NL has blocks of 32 and an F16 scale; XS
// blocks of 256, whose runs of 32 have factors of 6 bits.

#include "tensor/block_codec.h"
#include "tensor/codecs.h"
#include "tensor/iq_grids.h"

namespace sluice {

namespace {

void decode_run(const std::byte* nibbles, float scale, float* out) {
    for (int i = 0; i < 32; ++i) {
        out[i] = scale * to_float(kIq4Values[static_cast<size_t>(nibble_of_halves(nibbles, i))]);
    }
}

void decode_iq4_nl(const std::byte* block, float* out) {
    decode_run(block + 2, half_at(block), out);
}

// Scale, two bytes of upper bits and four of lower ones of the eight factors, 128 bytes of nibbles.
void decode_iq4_xs(const std::byte* block, float* out) {
    const float scale = half_at(block);
    const int upper = load_unaligned<uint16_t>(block + 2);
    for (int run = 0; run < 8; ++run) {
        const int lower = byte_at(block, 4 + run / 2) >> (run % 2 * 4) & 15;
        const int factor = (lower | (upper >> (2 * run) & 3) << 4) - 32;
        decode_run(block + 8 + 16 * run, scale * to_float(factor), out + 32 * run);
    }
}

}  // namespace

constinit const Codec kIq4NlCodec = in_tiles(block_codec<32, 18, decode_iq4_nl>("iq4_nl", &kIq4NlCodec, 4), 0);
constinit const Codec kIq4XsCodec = in_tiles(block_codec<256, 136, decode_iq4_xs>("iq4_xs", &kIq4XsCodec, 4));

}  // namespace sluice
