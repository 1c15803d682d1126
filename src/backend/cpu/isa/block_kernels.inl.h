#pragma once

// What the table has for GGUF's formats.

#include "backend/cpu/isa/factor_blocks.inl.h"
#include "backend/cpu/isa/iq_formats.inl.h"
#include "backend/cpu/isa/plain_blocks.inl.h"
#include "backend/cpu/isa/tiled_blocks.inl.h"
#ifdef __AVX512VBMI__
#include "backend/cpu/isa/block_planes.inl.h"
#endif

namespace sluice {
namespace {

// A format that is read in tiles names these, too; void: it is not.
template <typename Tiles>
constexpr bool kHasTiles = kReadsTiles && !std::is_void_v<Tiles>;

template <typename Format, typename Tiles>
inline void pack_factors_of(const WeightView& w, BlockTile& tile) {
    if constexpr (kHasTiles<Tiles>) {
        if (w.tiled) return pack_tiled_factors<Tiles>(w, tile);
    }
    factor_pack<Format>(w, tile);
}
template <typename Format, typename Tiles>
inline void pack_plain_of(const WeightView& w, BlockTile& tile) {
    if constexpr (kHasTiles<Tiles>) {
        if (w.tiled) return pack_tiled_plain<Tiles>(w, tile);
    }
    plain_pack<Format>(w, tile);
}

using VectorKernel = decltype(BlockKernels::tiled_vector);
template <typename Tiles>
constexpr int64_t vector_tokens() {
    if constexpr (kHasTiles<Tiles>) return kWordRuns ? Tiles::kVectorTokens : 3;
    return 0;
}
template <typename Tiles>
constexpr VectorKernel tiled_factor_kernel() {
    if constexpr (kHasTiles<Tiles>) return tiled_factor_vector<Tiles>;
    return nullptr;
}
template <typename Tiles>
constexpr VectorKernel tiled_plain_kernel() {
    if constexpr (kHasTiles<Tiles>) return tiled_plain_vector<Tiles>;
    return nullptr;
}

template <typename Format, typename Tiles>
constexpr BlockKernels kFactorKernels = {
    .group = kHalf,
    .minima = Format::kMinima,
    .vector = factor_vector<Format>,
    .pack = pack_factors_of<Format, Tiles>,
    .matrix = factor_matrix<Format>,
    .tiled_vector = tiled_factor_kernel<Tiles>(),
    .vector_tokens = vector_tokens<Tiles>(),
#ifdef __AVX512VBMI__
    .planes = Format::kPlanes,
    .pack_planes = pack_factor_planes<Format>,
#endif
};

template <typename Format, typename Tiles>
constexpr BlockKernels kPlainKernels = {
    .group = kPlainBlock,
    .minima = Format::kMinima,
    .vector = plain_vector<Format>,
    .pack = pack_plain_of<Format, Tiles>,
    .matrix = plain_matrix<Format>,
    .tiled_vector = tiled_plain_kernel<Tiles>(),
    .vector_tokens = vector_tokens<Tiles>(),
#ifdef __AVX512VBMI__
    .planes = 1,
    .pack_planes = pack_plain_planes<Format>,
#endif
};

}  // namespace
}  // namespace sluice
