// GGUF's IQ2 and IQ3: blocks of 256 columns, whose codes choose the magnitudes of eight (IQ2) or four (IQ3) columns
// together; signs stand beside them, plain or as seven bits whose eighth makes the number of minus signs even.

#include "tensor/block_codec.h"
#include "tensor/codecs.h"
#include "tensor/iq_grids.h"

namespace sluice {

namespace {

// Eight columns, their magnitudes in the bytes of a number.
void decode_eight(uint64_t magnitudes, unsigned signs, float scale, float* out) {
    for (int i = 0; i < 8; ++i) {
        const int magnitude = static_cast<int>(magnitudes >> (8 * i) & 0xff);
        out[i] = scale * to_float((signs >> i & 1) != 0 ? -magnitude : magnitude);
    }
}

uint64_t eight_of(uint32_t low, uint32_t high) {
    return static_cast<uint64_t>(high) << 32 | low;
}

// A factor of whole numbers and a half, and a quarter or half of that.
float half_step(float scale, int factor, float part) {
    return scale * (0.5f + to_float(factor)) * part;
}

size_t index_at(const std::byte* bytes, int index) {
    return static_cast<size_t>(bytes[index]);
}

// Per 32 columns four indices of a byte, then four codes of signs and the factor in four bytes.
void decode_iq2_xxs(const std::byte* block, float* out) {
    const float scale = half_at(block);
    const std::byte* run = block + 2;
    for (int start = 0; start < 256; start += 32, run += 8) {
        const auto rest = load_unaligned<uint32_t>(run + 4);
        const float step = half_step(scale, static_cast<int>(rest >> 28), 0.25f);
        for (int k = 0; k < 4; ++k) {
            const unsigned signs = kEvenSigns[rest >> (7 * k) & 127];
            decode_eight(kIq2XxsGrid[index_at(run, k)], signs, step, out + start + 8 * k);
        }
    }
}

// Per 8 columns 9 bits of index and 7 of signs; then a nibble of factor per 16.
void decode_iq2_xs(const std::byte* block, float* out) {
    const float scale = half_at(block);
    for (int k = 0; k < 32; ++k) {
        const auto code = load_unaligned<uint16_t>(block + 2 + 2 * k);
        const int factor = byte_at(block, 66 + k / 4) >> (k / 2 % 2 * 4) & 15;
        decode_eight(kIq2XsGrid[code & 511], kEvenSigns[code >> 9], half_step(scale, factor, 0.25f), out + 8 * k);
    }
}

// Per 8 columns a byte of index and one of signs; two upper bits of each index, then a nibble of factor per 16.
void decode_iq2_s(const std::byte* block, float* out) {
    const float scale = half_at(block);
    for (int k = 0; k < 32; ++k) {
        const size_t upper = index_at(block, 66 + k / 4) >> (k % 4 * 2) & 3;
        const int factor = byte_at(block, 74 + k / 4) >> (k / 2 % 2 * 4) & 15;
        decode_eight(kIq2SGrid[index_at(block, 2 + k) | upper << 8], static_cast<unsigned>(block[34 + k]),
                     half_step(scale, factor, 0.25f), out + 8 * k);
    }
}

// All indices, then per 32 columns four codes of signs and the factor in four bytes.
void decode_iq3_xxs(const std::byte* block, float* out) {
    const float scale = half_at(block);
    for (int k = 0; k < 32; ++k) {
        const auto rest = load_unaligned<uint32_t>(block + 66 + k / 4 * 4);
        const float step = half_step(scale, static_cast<int>(rest >> 28), 0.5f);
        const std::byte* indices = block + 2 + 2 * k;
        decode_eight(eight_of(kIq3XxsGrid[index_at(indices, 0)], kIq3XxsGrid[index_at(indices, 1)]),
                     kEvenSigns[rest >> (k % 4 * 7) & 127], step, out + 8 * k);
    }
}

// All indices, an upper bit of each, signs, a nibble of factor per 32.
void decode_iq3_s(const std::byte* block, float* out) {
    const float scale = half_at(block);
    for (int k = 0; k < 32; ++k) {
        const size_t upper = index_at(block, 66 + k / 4) >> (k % 4 * 2);
        const int factor = byte_at(block, 106 + k / 8) >> (k / 4 % 2 * 4) & 15;
        const size_t first = index_at(block, 2 + 2 * k) | (upper & 1) << 8;
        const size_t second = index_at(block, 3 + 2 * k) | (upper >> 1 & 1) << 8;
        decode_eight(eight_of(kIq3SGrid[first], kIq3SGrid[second]), static_cast<unsigned>(block[74 + k]),
                     scale * to_float(1 + 2 * factor), out + 8 * k);
    }
}

}  // namespace

constinit const Codec kIq2XxsCodec = block_codec<256, 66, decode_iq2_xxs>("iq2_xxs", &kIq2XxsCodec, 2);
constinit const Codec kIq2XsCodec = block_codec<256, 74, decode_iq2_xs>("iq2_xs", &kIq2XsCodec, 2);
constinit const Codec kIq2SCodec = block_codec<256, 82, decode_iq2_s>("iq2_s", &kIq2SCodec, 2);
constinit const Codec kIq3XxsCodec = block_codec<256, 98, decode_iq3_xxs>("iq3_xxs", &kIq3XxsCodec, 3);
constinit const Codec kIq3SCodec = block_codec<256, 110, decode_iq3_s>("iq3_s", &kIq3SCodec, 3);

}  // namespace sluice
