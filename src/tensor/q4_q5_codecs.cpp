// GGUF's Q4_0, Q4_1, Q5_0 and Q5_1: blocks of 32 codes behind an F16 scale and, for _1, an F16 minimum; a fifth bit of
// each code stands in four bytes before the nibbles.

#include "tensor/block_codec.h"
#include "tensor/codecs.h"

namespace sluice {

namespace {

template <int kBits, bool kMinimum>
void decode_block(const std::byte* block, float* out) {
    constexpr int kFactorBytes = kMinimum ? 4 : 2, kHighBytes = kBits == 5 ? 4 : 0;
    constexpr int kCenter = kMinimum ? 0 : 1 << (kBits - 1);
    const float scale = half_at(block), minimum = kMinimum ? half_at(block + 2) : 0.0f;
    const uint32_t high = kBits == 5 ? load_unaligned<uint32_t>(block + kFactorBytes) : 0;
    for (int i = 0; i < 32; ++i) {
        const int code =
            nibble_of_halves(block + kFactorBytes + kHighBytes, i) | static_cast<int>((high >> i & 1) << 4);
        const float product = scale * to_float(code - kCenter);
        out[i] = kMinimum ? product + minimum : product;
    }
}

}  // namespace

constinit const Codec kQ4_0Codec = in_tiles(block_codec<32, 18, decode_block<4, false>>("q4_0", &kQ4_0Codec, 4), 0);
constinit const Codec kQ4_1Codec = block_codec<32, 20, decode_block<4, true>>("q4_1", &kQ4_1Codec, 4);
constinit const Codec kQ5_0Codec = block_codec<32, 22, decode_block<5, false>>("q5_0", &kQ5_0Codec, 5);
constinit const Codec kQ5_1Codec = block_codec<32, 24, decode_block<5, true>>("q5_1", &kQ5_1Codec, 5);

}  // namespace sluice
