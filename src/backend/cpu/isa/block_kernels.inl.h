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

using TiledKernel = decltype(BlockKernels::tiled);

// Of a format in tiles; void: it is not read so.
template <typename Tiles>
constexpr TiledKernel tiled_kernel() {
    if constexpr (kReadsTiles && !std::is_void_v<Tiles>) return tiled_blocks<Tiles>;
    return nullptr;
}

template <typename Format, typename Tiles>
constexpr BlockKernels kFactorKernels = {
    .group = kHalf,
    .minima = Format::kMinima,
    .vector = factor_vector<Format>,
    .pack = factor_pack<Format>,
    .matrix = factor_matrix<Format>,
    .tiled = tiled_kernel<Tiles>(),
#ifdef __AVX512VBMI__
    .planes = Format::kPlanes,
    .pack_planes = pack_factor_planes<Format>,
#endif
};

template <typename Format>
constexpr BlockKernels kPlainKernels = {
    .group = kPlainBlock,
    .minima = Format::kMinima,
    .vector = plain_vector<Format>,
    .pack = plain_pack<Format>,
    .matrix = plain_matrix<Format>,
#ifdef __AVX512VBMI__
    .planes = 1,
    .pack_planes = pack_plain_planes<Format>,
#endif
};

}  // namespace
}  // namespace sluice
