#pragma once

// Affine weights in tiles (tensor/row_tiles.h) times a few rows of int8 activations: lanes are rows of the weight,
// activations are broadcast, and memory is read as one stream; a second turn of activations finds the tile in the first
// cache. The operations and their order are those of affine.inl.h.

#include "backend/cpu/isa/affine_tile.inl.h"

namespace sluice {
namespace {

constexpr int kRowVectors = static_cast<int>(kTileRows) / kLanes;  // of a tile

// A tile of a weight, and what will be read after it.
struct TileAt {
    Block here, ahead;
};

// The tile times kTokens rows, while the one ahead comes to the cache.
template <TileKind kKind, int kTokens>
inline void tile_products(const WeightView& w, const TileAt& tile, const QuantizedRow* x, Stream& ahead,
                          F (&acc)[kRowVectors][kTokens]) {
    constexpr int kCodes = kKind == TileKind::kNibbles ? 8 : 4;  // of a dword
    const int64_t groups = w.columns / w.format.group_size, dwords = w.format.group_size / kCodes;
    const int64_t width = factor_row_bytes(w) / groups;
    const int8_t* values[kTokens];
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
        values[t] = x[t].values;
#pragma GCC unroll 4
        for (int v = 0; v < kRowVectors; ++v) acc[v][t] = zero();
    }
    for (int64_t g = 0; g < groups; ++g) {
        const int64_t begin = g * dwords, factors = g * kTileRows * width;
        prefetch(tile.ahead.scales + factors);
        prefetch(tile.ahead.zero_points + factors);
        ahead.advance();
        I sums[kRowVectors][kTokens];
#pragma GCC unroll 4
        for (int v = 0; v < kRowVectors; ++v) {
#pragma GCC unroll 8
            for (int t = 0; t < kTokens; ++t) sums[v][t] = izero();
        }
        add_run<kKind>(tile.here.data, begin, begin + dwords, values, sums);
#pragma GCC unroll 4
        for (int v = 0; v < kRowVectors; ++v) {
            const int64_t at = factors + v * kLanes * width;
            const F scale = turned_factors(w.format.dtype, tile.here.scales + at);
            const F zero_point = turned_factors(w.format.dtype, tile.here.zero_points + at);
#pragma GCC unroll 8
            for (int t = 0; t < kTokens; ++t) {
                acc[v][t] = add_group(acc[v][t], scale, zero_point, sums[v][t], x[t].scales[g], x[t].sums[g]);
            }
        }
    }
}

// `count` rows of activations, at most kTokens.
template <TileKind kKind, int kTokens>
inline void tile_turn(const WeightView& w, const TileAt& tile, const QuantizedRow* x, int64_t count, Stream& ahead,
                      float* const* out, int64_t row, bool accumulate) {
    if constexpr (kTokens > 1) {
        if (count < kTokens) return tile_turn<kKind, kTokens - 1>(w, tile, x, count, ahead, out, row, accumulate);
    }
    F acc[kRowVectors][kTokens];
    tile_products<kKind>(w, tile, x, ahead, acc);
    for (int t = 0; t < kTokens; ++t) {
        for (int v = 0; v < kRowVectors; ++v) {
            float* to = out[t] + row + v * kLanes;
            store(to, accumulate ? add(load(to), acc[v][t]) : acc[v][t]);
        }
    }
}

template <TileKind kKind>
inline void tiled_rows(const WeightView& w, const QuantizedRow* x, int64_t tokens, float* const* out, int64_t first,
                       bool accumulate, const WeightView* next) {
    const int64_t tile_bytes = kTileRows * w.columns * w.format.bits / 8, tile_lines = tile_bytes / kLineBytes;
    const int64_t distance = (kAheadBytes + tile_bytes - 1) / tile_bytes * kTileRows;
    const int64_t turns = (tokens + kTileTokens - 1) / kTileTokens * (w.columns / w.format.group_size);
    for (int64_t row = 0; row < w.rows; row += kTileRows) {
        const TileAt tile{block_ahead<kTileRows>(w, row, 0, nullptr), block_ahead<kTileRows>(w, row, distance, next)};
        Stream ahead{.at = tile.ahead.data, .lines = tile_lines, .per_turn = (tile_lines + turns - 1) / turns};
        for (int64_t done = 0; done < tokens;) {
            const int64_t count = rows_of_turn(tokens - done, kTileTokens);
            tile_turn<kKind, kTileTokens>(w, tile, x + done, count, ahead, out + done, first + row, accumulate);
            done += count;
        }
    }
}

inline void tiled_affine_rows(const WeightView& weight, const QuantizedRow* x, int64_t tokens, float* const* out,
                              int64_t first, bool accumulate, const WeightView* next) {
    if (next != nullptr && !is_alike(weight, *next)) next = nullptr;
    constexpr TileKind kBytes = kWideDiffers ? TileKind::kWideBytes : TileKind::kBytes;
    auto* const multiply = weight.format.bits == 4 ? tiled_rows<TileKind::kNibbles> : tiled_rows<kBytes>;
    multiply(weight, x, tokens, out, first, accumulate, next);
}

// A packed tile holds whole tiles of memory.
constexpr bool kReadsTiles = kTileVectors * kLanes % kTileRows == 0;
// Then packing would copy them as they are.
constexpr bool kPackedIsTiled = kTileVectors * kLanes == kTileRows;

}  // namespace
}  // namespace sluice
