// GGUF's formats of one or two bits without factors: TQ1_0 and TQ2_0 hold -1, 0 and 1, Q1_0 the signs of one number,
// Q2_0 -1 to 2. All have one F16 scale per block.

#include "tensor/block_codec.h"
#include "tensor/codecs.h"

namespace sluice {

namespace {

// Digit n of five in a byte: multiplied by 3^n, what overflows is gone, and a third of the byte is left to ask for.
int ternary_digit(int byte, int n) {
    constexpr int kPowers[] = {1, 3, 9, 27, 81};
    return (byte * kPowers[n] % 256 * 3) >> 8;
}

// 32 bytes of five digits, 16 of five, 4 of four; the columns of one digit stand together. Then the scale.
void decode_tq1_0(const std::byte* block, float* out) {
    const float scale = half_at(block + 52);
    const auto decode_bytes = [&](int first, int bytes, int digits) {
        for (int n = 0; n < digits; ++n) {
            for (int i = 0; i < bytes; ++i) {
                *out++ = scale * to_float(ternary_digit(byte_at(block, first + i), n) - 1);
            }
        }
    };
    decode_bytes(0, 32, 5);
    decode_bytes(32, 16, 5);
    decode_bytes(48, 4, 4);
}

void decode_tq2_0(const std::byte* block, float* out) {
    const float scale = half_at(block + 64);
    for (int i = 0; i < 256; ++i) {
        const int code = byte_at(block, i / 128 * 32 + i % 32) >> (i % 128 / 32 * 2) & 3;
        out[i] = scale * to_float(code - 1);
    }
}

void decode_q1_0(const std::byte* block, float* out) {
    const float scale = half_at(block);
    for (int i = 0; i < 128; ++i) out[i] = (byte_at(block, 2 + i / 8) >> (i % 8) & 1) != 0 ? scale : -scale;
}

void decode_q2_0(const std::byte* block, float* out) {
    const float scale = half_at(block);
    for (int i = 0; i < 64; ++i) {
        const int code = byte_at(block, 2 + i / 4) >> (i % 4 * 2) & 3;
        out[i] = scale * to_float(code - 1);
    }
}

}  // namespace

constinit const Codec kTq1_0Codec = block_codec<256, 54, decode_tq1_0>("tq1_0", &kTq1_0Codec, 2);
constinit const Codec kTq2_0Codec = block_codec<256, 66, decode_tq2_0>("tq2_0", &kTq2_0Codec, 2);
constinit const Codec kQ1_0Codec = block_codec<128, 18, decode_q1_0>("q1_0", &kQ1_0Codec, 1);
constinit const Codec kQ2_0Codec = block_codec<64, 18, decode_q2_0>("q2_0", &kQ2_0Codec, 2);

}  // namespace sluice
