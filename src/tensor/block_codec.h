#pragma once

// What GGUF's formats share: a row is a run of blocks, each with all that its columns need.

#include <string_view>

#include "tensor/codec.h"
#include "tensor/float_types.h"

namespace sluice {

inline float half_at(const std::byte* bytes) {
    return f16_to_float(load_unaligned<uint16_t>(bytes));
}

inline int byte_at(const std::byte* bytes, int index) {
    return static_cast<int>(bytes[index]);
}

inline int signed_byte_at(const std::byte* bytes, int index) {
    return static_cast<int8_t>(bytes[index]);
}

// Code `index` of 32 in 16 bytes: the low nibbles come first, then the high ones.
inline int nibble_of_halves(const std::byte* bytes, int index) {
    return index < 16 ? byte_at(bytes, index) & 15 : byte_at(bytes, index - 16) >> 4;
}

inline float to_float(int value) {
    return static_cast<float>(value);
}

// One block to kColumns floats.
using DecodeBlock = void (*)(const std::byte* block, float* out);

template <int kColumns, int kBytes, DecodeBlock kDecode>
void decode_row_of_blocks(const WeightView& weight, int64_t row, float* out) {
    const std::byte* block = weight.data + static_cast<uint64_t>(row) * weight.format.data_row_bytes(weight.columns);
    for (int64_t start = 0; start < weight.columns; start += kColumns, block += kBytes) kDecode(block, out + start);
}

inline bool always_in_tiles(const WeightFormat&) {
    return true;
}

// The row of the table for blocks with codes of `bits`; `self` is where it will stand.
template <int kColumns, int kBytes, DecodeBlock kDecode>
constexpr Codec block_codec(std::string_view name, const Codec* self, int bits) {
    return {
        .name = name,
        .standard = {.codec = self, .dtype = DType::kF16, .bits = bits},
        .block = fixed_block<kColumns, kBytes>,
        .decode_row = decode_row_of_blocks<kColumns, kBytes, kDecode>,
    };
}

// The same for blocks whose rows kernels read sooner in tiles; see Codec::lone_word.
constexpr Codec in_tiles(Codec codec, int lone_word = -1) {
    codec.tiles = always_in_tiles;
    codec.lone_word = lone_word;
    return codec;
}

}  // namespace sluice
