#pragma once

// All kernels of the instruction set whose simd_*.h was included before.

#include "backend/cpu/isa/affine_tile.inl.h"
#include "backend/cpu/isa/attention.inl.h"
#include "backend/cpu/isa/delta.inl.h"
#include "backend/cpu/isa/rows.inl.h"
#include "tensor/codecs.h"

namespace sluice {
namespace {

constexpr CodecKernels of_blocks(const Codec* codec) {
    return {codec, decode_blocks, float_vector<decode_blocks, nullptr>};
}

constexpr CodecKernels kCodecKernels[] = {
    {&kFloatCodec, decode_float, float_vector<decode_float, add_plain>},
    {&kAffineCodec, decode_affine, float_vector<decode_affine, add_affine>},
    {&kFp8BlockCodec, decode_fp8_block, float_vector<decode_fp8_block, add_codes_if_whole<E4m3Unit, BlockFactors, 0>>},
    {&kMxfp4Codec, decode_groups<4, e8m0_to_float>,
     float_vector<decode_groups<4, e8m0_to_float>, add_codes_if_whole<E2m1Unit, E8m0Factors, 32>>},
    {&kMxfp8Codec, decode_groups<8, e8m0_to_float>,
     float_vector<decode_groups<8, e8m0_to_float>, add_codes_if_whole<E4m3Unit, E8m0Factors, 32>>},
    {&kNvfp4Codec, decode_groups<4, e4m3_to_float>,
     float_vector<decode_groups<4, e4m3_to_float>, add_codes_if_whole<E2m1Unit, E4m3Factors, 16>>},
    {&kQ8_0Codec, decode_q8_0, float_vector<decode_q8_0, nullptr>},
    of_blocks(&kQ4_0Codec),
    of_blocks(&kQ4_1Codec),
    of_blocks(&kQ5_0Codec),
    of_blocks(&kQ5_1Codec),
    of_blocks(&kQ2_KCodec),
    of_blocks(&kQ3_KCodec),
    of_blocks(&kQ4_KCodec),
    of_blocks(&kQ5_KCodec),
    of_blocks(&kQ6_KCodec),
    of_blocks(&kIq4NlCodec),
    of_blocks(&kIq4XsCodec),
    of_blocks(&kIq3XxsCodec),
    of_blocks(&kIq3SCodec),
    of_blocks(&kIq2XxsCodec),
    of_blocks(&kIq2XsCodec),
    of_blocks(&kIq2SCodec),
    of_blocks(&kIq1SCodec),
    of_blocks(&kIq1MCodec),
    of_blocks(&kMxfp4BlockCodec),
    of_blocks(&kNvfp4BlockCodec),
    of_blocks(&kScaledNvfp4BlockCodec),
    of_blocks(&kTq1_0Codec),
    of_blocks(&kTq2_0Codec),
    of_blocks(&kQ1_0Codec),
    of_blocks(&kQ2_0Codec),
};

constexpr KernelTable make_table(const char* name) {
    return {
        .name = name,
        .lanes = kLanes,
        .tile_rows = kTileVectors * kLanes,
        .matrix_tokens = 3,
        .quantized_bytes = quantized_bytes,
        .quantize = quantize,
        .affine_vector = affine_vector_any,
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
        .gated_rms_norm = gated_rms_norm,
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
