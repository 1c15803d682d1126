#pragma once

// Tiles of blocks for AMX, which multiplies signed bytes: codes less their center, or products of those and their
// factors, which are too large for a byte and lie in two planes, p = 128 * upper + lower.

#include "backend/cpu/isa/factor_blocks.inl.h"
#include "backend/cpu/isa/plain_blocks.inl.h"

namespace sluice {
namespace {

static_assert(kVectorBytes == kAmxColumns && kLanes == kAmxTokens);

// A register of kAmxColumns columns of row vector v and its plane; registers of `planes` each.
inline std::byte* plane_register(const BlockTile& tile, int planes, int v, int64_t column, int plane) {
    const int64_t registers = (tile.columns + kAmxColumns - 1) / kAmxColumns;
    return tile.values + ((v * registers + column / kAmxColumns) * planes + plane) * kAmxTokens * kAmxColumns;
}

// Words of the even and the odd bytes to bytes again: their lower halves.
inline I join_bytes(I even, I odd) {
    return ior(iand(even, _mm512_set1_epi16(0xff)), _mm512_slli_epi16(odd, 8));
}

// kLanes rows of kAmxColumns columns, whose runs have these factors.
template <typename Format>
inline void pack_products(const I (&codes)[kLanes], const int32_t* factors, std::byte* out) {
    constexpr int kWordStride = kTileVectors * kLanes, kRunDwords = kPartColumns / 4;
    for (int i = 0; i < kLanes; ++i) {
        const I factor = iload(factors + i / kRunDwords * kWordStride);
        const I words = _mm512_mask_blend_epi16(0xaaaaaaaa, factor, _mm512_slli_epi32(factor, 16));
        const I even = _mm512_mullo_epi16(_mm512_srai_epi16(_mm512_slli_epi16(codes[i], 8), 8), words);
        const I odd = _mm512_mullo_epi16(_mm512_srai_epi16(codes[i], 8), words);
        std::byte* to = out + i * kVectorBytes;
        if constexpr (Format::kPlanes == 1) {
            istore(to, join_bytes(even, odd));
        } else {
            const I lower = set1_i8(127);
            istore(to, iand(join_bytes(even, odd), lower));
            istore(to + kAmxTokens * kAmxColumns, join_bytes(_mm512_srai_epi16(even, 7), _mm512_srai_epi16(odd, 7)));
        }
    }
}

template <typename Format>
inline void pack_factor_planes(const WeightView& w, BlockTile& tile) {
    for_factor_blocks<Format>(w, tile, [&](const std::byte* const(&blocks)[kLanes], int v, int64_t b) {
        pack_run_factors<Format>(blocks, tile, v, b);
        unrolled<kFactorBlock / kVectorBytes>([&]<int kVector>() {
            I codes[kLanes];
            for (int r = 0; r < kLanes; ++r) {
                codes[r] = Format::template codes<kVector>(blocks[r]);
                if constexpr (Format::kCenter != 0) codes[r] = add_bytes(codes[r], set1_i8(-Format::kCenter));
            }
            transpose(codes);
            const int64_t column = b * kFactorBlock + kVector * kVectorBytes;
            const int word = kFactorWord + static_cast<int>(column % kHalf) / kPartColumns;
            pack_products<Format>(codes, tile_factors(tile, column / kHalf, kHalfWords, word, v),
                                  plane_register(tile, Format::kPlanes, v, column, 0));
        });
    });
}

template <typename Format>
inline void pack_plain_planes(const WeightView& w, BlockTile& tile) {
    turn_plain_blocks<Format>(w, tile, [&](int v, int64_t column, const I(&lines)[kLanes]) {
        std::byte* out = plane_register(tile, 1, v, column, 0);
        for (int i = 0; i < kLanes; ++i) {
            istore(out + i * kVectorBytes, add_bytes(lines[i], set1_i8(-Format::kCenter)));
        }
    });
}

}  // namespace
}  // namespace sluice
