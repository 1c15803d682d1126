#pragma once

// All kernels of the instruction set whose simd_*.h was included before.

#include "backend/cpu/isa/affine_tile.inl.h"
#include "backend/cpu/isa/attention.inl.h"
#include "backend/cpu/isa/block_kernels.inl.h"
#include "backend/cpu/isa/delta.inl.h"
#include "backend/cpu/isa/nvfp4_blocks.inl.h"
#include "backend/cpu/isa/rows.inl.h"
#include "backend/cpu/isa/tiled_affine.inl.h"
#include "backend/cpu/isa/tiled_codes.inl.h"
#include "tensor/codecs.h"

namespace sluice {
namespace {

// What the table has for the codec: formats in blocks share float_vector.
inline DecodeColumns decoder_of(const Codec* codec);
inline void decode_by_table(const WeightView& w, int64_t row, int64_t first, int64_t count, float* out) {
    decoder_of(w.format.codec)(w, row, first, count, out);
}

constexpr CodecKernels of_blocks(const Codec* codec) {
    return {codec, decode_blocks, float_vector<decode_by_table, nullptr>};
}
template <typename Format, typename Tiles = void>
constexpr CodecKernels of_factor_blocks(const Codec* codec) {
    return {codec, decode_factor_blocks<Format>, float_vector<decode_by_table, nullptr>,
            &kFactorKernels<Format, Tiles>};
}
template <typename Format, typename Tiles = void>
constexpr CodecKernels of_plain_blocks(const Codec* codec) {
    return {codec, decode_plain_blocks<Format>, float_vector<decode_by_table, nullptr>, &kPlainKernels<Format, Tiles>};
}

constexpr CodecKernels kCodecKernels[] = {
    {&kFloatCodec, decode_float, float_vector<decode_float, add_plain>},
    {&kAffineCodec, decode_affine, float_vector<decode_affine, add_affine>},
    {&kFp8BlockCodec, decode_fp8_block, float_vector<decode_fp8_block, add_codes_if_whole<E4m3Unit, BlockFactors, 0>>,
     nullptr, fp8_in_tiles()},
    {&kMxfp4Codec, decode_groups<4, e8m0_to_float>,
     float_vector<decode_groups<4, e8m0_to_float>, add_codes_if_whole<E2m1Unit, E8m0Factors, 32>>, nullptr,
     fp4_in_tiles<PowerFactors>()},
    {&kMxfp8Codec, decode_groups<8, e8m0_to_float>,
     float_vector<decode_groups<8, e8m0_to_float>, add_codes_if_whole<E4m3Unit, E8m0Factors, 32>>, nullptr,
     fp8_in_tiles()},
    {&kNvfp4Codec, decode_groups<4, e4m3_to_float>,
     float_vector<decode_groups<4, e4m3_to_float>, add_codes_if_whole<E2m1Unit, E4m3Factors, 16>>, nullptr,
     fp4_in_tiles<SmallFloatFactors>()},
    of_plain_blocks<Q80, Q80Tiles>(&kQ8_0Codec),
    of_plain_blocks<Q40, Q40Tiles>(&kQ4_0Codec),
    of_plain_blocks<Q41>(&kQ4_1Codec),
    of_plain_blocks<Q50>(&kQ5_0Codec),
    of_plain_blocks<Q51>(&kQ5_1Codec),
    of_factor_blocks<Q2K, Q2KTiles>(&kQ2_KCodec),
    of_factor_blocks<Q3K, Q3KTiles>(&kQ3_KCodec),
    of_factor_blocks<Q4K, Q4KTiles>(&kQ4_KCodec),
    of_factor_blocks<Q5K, Q5KTiles>(&kQ5_KCodec),
    of_factor_blocks<Q6K, Q6KTiles>(&kQ6_KCodec),
    of_plain_blocks<Iq4Nl, Iq4NlTiles>(&kIq4NlCodec),
    of_factor_blocks<Iq4Xs, Iq4XsTiles>(&kIq4XsCodec),
    of_factor_blocks<Iq3Xxs>(&kIq3XxsCodec),
    of_factor_blocks<Iq3S>(&kIq3SCodec),
    of_factor_blocks<Iq2Xxs>(&kIq2XxsCodec),
    of_factor_blocks<Iq2Xs>(&kIq2XsCodec),
    of_factor_blocks<Iq2S>(&kIq2SCodec),
    of_factor_blocks<Iq1S>(&kIq1SCodec),
    of_factor_blocks<Iq1M>(&kIq1MCodec),
    of_plain_blocks<Mxfp4Block, Mxfp4Tiles>(&kMxfp4BlockCodec),
    {&kNvfp4BlockCodec, decode_nvfp4_blocks, float_vector<decode_by_table, nullptr>, &kNvfp4Kernels},
    {&kScaledNvfp4BlockCodec, decode_nvfp4_blocks, float_vector<decode_by_table, nullptr>, &kNvfp4Kernels},
    of_blocks(&kTq1_0Codec),
    of_factor_blocks<Tq2>(&kTq2_0Codec),
    of_blocks(&kQ1_0Codec),
    of_blocks(&kQ2_0Codec),
};

inline DecodeColumns decoder_of(const Codec* codec) {
    for (const CodecKernels& row : kCodecKernels) {
        if (row.codec == codec) return row.decode;
    }
    return nullptr;
}

constexpr KernelTable make_table(const char* name) {
    return {
        .name = name,
        .lanes = kLanes,
        .tile_rows = kTileVectors * kLanes,
        .matrix_tokens = 3,
        .tiled_tokens = kPackedIsTiled ? INT64_MAX : kTileTokens,
        .quantized_bytes = quantized_bytes,
        .quantize = quantize,
        .quantize_row = quantize_row,
        .affine_vector = affine_vector_any,
        .tiled_affine_rows = kReadsTiles ? tiled_affine_rows : nullptr,
        .affine_pack = affine_pack_any,
        .affine_matrix = affine_matrix,
        .codecs = kCodecKernels,
        .float_matrix = float_matrix,
        .multiply = multiply,
        .attention = {attention_scratch<FloatTiles>, attend<FloatTiles>},
        .rounded_attention = {attention_scratch<FloatTiles>, attend<FloatTiles>},
        .delta_rows = delta_rows,
        .dot = dot,
        .rms_norm = rms_norm,
        .gated_rms_norm = {gated_rms_norm<false>, gated_rms_norm<true>},
        .normalize_l2 = normalize_l2,
        .silu_multiply = silu_multiply,
        .sigmoid_multiply = sigmoid_multiply,
        .sigmoid = sigmoid_row,
        .softmax = softmax,
        .add_scaled = add_scaled,
        .convolve_silu = convolve_silu,
        .rotate_halves = rotate_halves,
    };
}

}  // namespace
}  // namespace sluice
