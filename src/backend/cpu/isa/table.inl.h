#pragma once

// All kernels of the instruction set whose simd_*.h was included before.

#include "backend/cpu/isa/affine_tile.inl.h"
#include "backend/cpu/isa/attention.inl.h"
#include "backend/cpu/isa/delta.inl.h"
#include "backend/cpu/isa/rows.inl.h"

namespace sluice {
namespace {

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
        .decode = decode,
        .float_vector = float_vector,
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
