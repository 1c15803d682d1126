// GGUF's K-quants: blocks of 256 columns; runs of 16 or 32 of them have whole factors of 4 to 8 bits, which one or two
// F16 scales of the block make floats. The factor meets its scale before the code does.

#include "tensor/block_codec.h"
#include "tensor/codecs.h"

namespace sluice {

namespace {

constexpr int kColumns = 256;

// Code of column i where 128 columns share 32 bytes: two bits of each for every 32 columns.
int two_bits(const std::byte* bytes, int i) {
    return byte_at(bytes, i / 128 * 32 + i % 32) >> (i % 128 / 32 * 2) & 3;
}

// Bit i / 32 of byte i % 32.
int high_bit(const std::byte* bytes, int i) {
    return byte_at(bytes, i % 32) >> (i / 32) & 1;
}

// 16 bytes of factor and minimum, a nibble each, 64 of codes, scale, scale of the minima.
void decode_q2_k(const std::byte* block, float* out) {
    const float scale = half_at(block + 80), minimum_scale = half_at(block + 82);
    for (int i = 0; i < kColumns; ++i) {
        const int factors = byte_at(block, i / 16);
        const float step = scale * to_float(factors & 15), minimum = minimum_scale * to_float(factors >> 4);
        out[i] = step * to_float(two_bits(block + 16, i)) - minimum;
    }
}

// Factors of 6 bits, less 32, for 16 runs: four bits of each in 8 bytes, two in the 4 after them.
int q3_k_factor(const std::byte* bytes, int run) {
    const int low = run < 8 ? byte_at(bytes, run) & 15 : byte_at(bytes, run - 8) >> 4;
    return (low | (byte_at(bytes, 8 + run % 4) >> (run / 4 * 2) & 3) << 4) - 32;
}

// 32 bytes of high bits, 64 of low ones, 12 of factors, scale.
constexpr int kQ3KScale = 108;
void decode_q3_k(const std::byte* block, float* out) {
    const float scale = half_at(block + kQ3KScale);
    for (int i = 0; i < kColumns; ++i) {
        const float step = scale * to_float(q3_k_factor(block + 96, i / 16));
        out[i] = step * to_float(two_bits(block + 32, i) + 4 * high_bit(block, i) - 4);
    }
}

struct FactorAndMinimum {
    int factor, minimum;
};

// Six bits each for eight runs in 12 bytes: the last four runs keep their upper two bits above those of the first four.
FactorAndMinimum q4_k_factors(const std::byte* bytes, int run) {
    const int low = byte_at(bytes, run % 4), middle = byte_at(bytes, run % 4 + 4);
    if (run < 4) return {low & 63, middle & 63};
    const int nibbles = byte_at(bytes, run + 4);
    return {(nibbles & 15) | low >> 6 << 4, nibbles >> 4 | middle >> 6 << 4};
}

// Scale, scale of the minima, 12 bytes of factors, for five bits 32 bytes of high bits, 128 of nibbles: low ones are 32
// columns, high ones the next 32.
template <int kBits>
void decode_q4_k(const std::byte* block, float* out) {
    constexpr int kNibbles = kBits == 5 ? 48 : 16;
    const float scale = half_at(block), minimum_scale = half_at(block + 2);
    for (int i = 0; i < kColumns; ++i) {
        const auto [factor, minimum] = q4_k_factors(block + 4, i / 32);
        int code = byte_at(block, kNibbles + i / 64 * 32 + i % 32) >> (i / 32 % 2 * 4) & 15;
        if constexpr (kBits == 5) code |= high_bit(block + 16, i) << 4;
        out[i] = scale * to_float(factor) * to_float(code) - minimum_scale * to_float(minimum);
    }
}

// Per 128 columns 64 bytes of nibbles, low ones first, and 32 of upper bits, two for each 32 columns: all nibbles come
// first, then all upper bits, 16 signed factors, scale.
constexpr int kQ6KScale = 208;
void decode_q6_k(const std::byte* block, float* out) {
    const float scale = half_at(block + kQ6KScale);
    for (int i = 0; i < kColumns; ++i) {
        const int low = byte_at(block, i / 128 * 64 + i % 64) >> (i / 64 % 2 * 4) & 15;
        const int code = low | two_bits(block + 128, i) << 4;
        out[i] = scale * to_float(signed_byte_at(block, 192 + i / 16)) * to_float(code - 32);
    }
}

}  // namespace

constinit const Codec kQ2_KCodec = in_tiles(block_codec<kColumns, 84, decode_q2_k>("q2_k", &kQ2_KCodec, 2));
constinit const Codec kQ3_KCodec = in_tiles(block_codec<kColumns, 110, decode_q3_k>("q3_k", &kQ3_KCodec, 3), kQ3KScale);
constinit const Codec kQ4_KCodec = in_tiles(block_codec<kColumns, 144, decode_q4_k<4>>("q4_k", &kQ4_KCodec, 4));
constinit const Codec kQ5_KCodec = in_tiles(block_codec<kColumns, 176, decode_q4_k<5>>("q5_k", &kQ5_KCodec, 5));
constinit const Codec kQ6_KCodec = in_tiles(block_codec<kColumns, 210, decode_q6_k>("q6_k", &kQ6_KCodec, 6), kQ6KScale);

}  // namespace sluice
