#pragma once

// All kernels of the instruction set whose simd_*.h was included before.

#include "backend/cpu/isa/affine_tile.inl.h"
#include "backend/cpu/isa/attention.inl.h"
#include "backend/cpu/isa/delta.inl.h"
#include "backend/cpu/isa/rows.inl.h"
#include "tensor/codecs.h"

namespace sluice {
namespace {

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
