#pragma once

// What the table has for GGUF's formats.

#include "backend/cpu/isa/factor_blocks.inl.h"
#include "backend/cpu/isa/iq_formats.inl.h"
#include "backend/cpu/isa/plain_blocks.inl.h"
#ifdef __AVX512VBMI__
#include "backend/cpu/isa/block_planes.inl.h"
#endif

namespace sluice {
namespace {

template <typename Format>
constexpr BlockKernels kFactorKernels = {
    .group = kHalf,
    .minima = Format::kMinima,
    .vector = factor_vector<Format>,
    .pack = factor_pack<Format>,
    .matrix = factor_matrix<Format>,
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
