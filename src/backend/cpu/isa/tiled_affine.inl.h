#pragma once

// Affine weights in tiles (tensor/row_tiles.h) times one row of int8 activations: lanes are rows, activations are
// broadcast, and memory is read as one stream. The operations and their order are those of affine.inl.h.

#include "backend/cpu/isa/affine_tile.inl.h"

namespace sluice {
namespace {

constexpr int kRowVectors = static_cast<int>(kTileRows) / kLanes;  // of a tile

// A tile of a weight, and what will be read after it.
struct TileAt {
    Block here, ahead;
};

// The tile times x, while the one ahead comes to the cache.
template <TileKind kKind>
inline void tile_vector(const WeightView& w, const TileAt& tile, const QuantizedRow& x, F (&acc)[kRowVectors]) {
    constexpr int kCodes = kKind == TileKind::kNibbles ? 8 : 4;  // of a dword
    const int64_t groups = w.columns / w.format.group_size, dwords = w.format.group_size / kCodes;
    const int64_t width = factor_row_bytes(w) / groups;
    const int8_t* const values[1] = {x.values};
    for (int v = 0; v < kRowVectors; ++v) acc[v] = zero();
    for (int64_t g = 0; g < groups; ++g) {
        const int64_t begin = g * dwords, factors = g * kTileRows * width;
        prefetch(tile.ahead.scales + factors);
        prefetch(tile.ahead.zero_points + factors);
        I sums[kRowVectors][1];
#pragma GCC unroll 4
        for (int v = 0; v < kRowVectors; ++v) sums[v][0] = izero();
        for (int64_t d = begin; d < begin + dwords; d += kDwords) {
#pragma GCC unroll 4
            for (int i = 0; i < kDwords; ++i) prefetch(tile.ahead.data + (d + i) * kLineBytes);
            add_turn<kKind>(tile.here.data + d * kLineBytes, d, values, sums);
        }
#pragma GCC unroll 4
        for (int v = 0; v < kRowVectors; ++v) {
            const int64_t at = factors + v * kLanes * width;
            acc[v] = add_group(acc[v], turned_factors(w.format.dtype, tile.here.scales + at),
                               turned_factors(w.format.dtype, tile.here.zero_points + at), sums[v][0], x.scales[g],
                               x.sums[g]);
        }
    }
}

template <TileKind kKind>
inline void tiled_vector(const WeightView& w, const QuantizedRow& x, float* out, bool accumulate,
                         const WeightView* next) {
    const int64_t tile_bytes = kTileRows * w.columns * w.format.bits / 8;
    const int64_t distance = (kAheadBytes + tile_bytes - 1) / tile_bytes * kTileRows;
    for (int64_t row = 0; row < w.rows; row += kTileRows) {
        F acc[kRowVectors];
        const TileAt tile{block_ahead<kTileRows>(w, row, 0, nullptr), block_ahead<kTileRows>(w, row, distance, next)};
        tile_vector<kKind>(w, tile, x, acc);
        for (int v = 0; v < kRowVectors; ++v) {
            float* to = out + row + v * kLanes;
            store(to, accumulate ? add(load(to), acc[v]) : acc[v]);
        }
    }
}

inline void tiled_affine_vector(const WeightView& weight, const QuantizedRow& x, float* out, bool accumulate,
                                const WeightView* next) {
    if (next != nullptr && !is_alike(weight, *next)) next = nullptr;
    if (weight.format.bits == 4) return tiled_vector<TileKind::kNibbles>(weight, x, out, accumulate, next);
    tiled_vector<kWideDiffers ? TileKind::kWideBytes : TileKind::kBytes>(weight, x, out, accumulate, next);
}

// A packed tile holds whole tiles of memory.
constexpr bool kReadsTiles = kTileVectors * kLanes % kTileRows == 0;

}  // namespace
}  // namespace sluice
