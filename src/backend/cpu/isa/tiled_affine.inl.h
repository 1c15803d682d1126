#pragma once

// Affine weights in tiles (tensor/row_tiles.h) times a few rows of int8 activations: lanes are rows of the weight,
// activations are broadcast, and memory is read as one stream; a second turn of activations finds the tile in the first
// cache. The operations and their order are those of affine.inl.h.

#include "backend/cpu/isa/affine_tile.inl.h"

namespace sluice {
namespace {

constexpr int kRowVectors = static_cast<int>(kTileRows) / kLanes;  // of a tile

// Tiles that are read side by side, a group of each by turns: a processor brings two streams from memory sooner than
// one. More streams add nothing.
constexpr int kAffineStreams = 2;

// A tile of a weight, and what will be read after it.
struct TileAt {
    Block here, ahead;
    Stream data_ahead;
};

// `count` tiles times kTokens rows, while those ahead come to the cache.
template <TileKind kKind, int kTokens>
inline void tile_products(const WeightView& w, TileAt* tiles, int count, const QuantizedRow* x,
                          F (&acc)[kAffineStreams][kRowVectors][kTokens]) {
    constexpr int kCodes = kKind == TileKind::kNibbles ? 8 : 4;  // of a dword
    const int64_t groups = w.columns / w.format.group_size, dwords = w.format.group_size / kCodes;
    const int64_t width = factor_row_bytes(w) / groups;
    const int8_t* values[kTokens];
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
        values[t] = x[t].values;
#pragma GCC unroll 4
        for (int v = 0; v < kAffineStreams * kRowVectors; ++v) acc[v / kRowVectors][v % kRowVectors][t] = zero();
    }
    for (int64_t g = 0; g < groups; ++g) {
        const int64_t begin = g * dwords, factors = g * kTileRows * width;
        for (int s = 0; s < count; ++s) {
            TileAt& tile = tiles[s];
            prefetch(tile.ahead.scales + factors);
            prefetch(tile.ahead.zero_points + factors);
            tile.data_ahead.advance();
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
                    F& sum = acc[s][v][t];
                    sum = add_group(sum, scale, zero_point, sums[v][t], x[t].scales[g], x[t].sums[g]);
                }
            }
        }
    }
}

// The tiles that stand at `row` of each part of a weight, times rows of activations.
struct TilesOfParts {
    const WeightView& weight;
    int64_t row, part_rows;
    int count;
    TileAt tiles[kAffineStreams];
};

// `count` rows of activations, at most kTokens.
template <TileKind kKind, int kTokens>
inline void tile_turn(TilesOfParts& parts, const QuantizedRow* x, int64_t count, float* const* out, int64_t first,
                      bool accumulate) {
    if constexpr (kTokens > 1) {
        if (count < kTokens) return tile_turn<kKind, kTokens - 1>(parts, x, count, out, first, accumulate);
    }
    F acc[kAffineStreams][kRowVectors][kTokens];
    tile_products<kKind>(parts.weight, parts.tiles, parts.count, x, acc);
    for (int t = 0; t < kTokens; ++t) {
        for (int v = 0; v < parts.count * kRowVectors; ++v) {
            const int s = v / kRowVectors, inside = v % kRowVectors;
            float* to = out[t] + first + parts.row + s * parts.part_rows + inside * kLanes;
            store(to, accumulate ? add(load(to), acc[s][inside][t]) : acc[s][inside][t]);
        }
    }
}

template <TileKind kKind>
inline void tiled_rows(const WeightView& w, const QuantizedRow* x, int64_t tokens, float* const* out, int64_t first,
                       bool accumulate, const WeightView* next) {
    // Further turns find one tile in the first cache.
    const int streams = tokens <= kTileTokens ? kAffineStreams : 1;
    const int64_t part_rows = (w.rows / kTileRows + streams - 1) / streams * kTileRows;
    const int64_t tile_lines = kTileRows * w.columns * w.format.bits / 8 / kLineBytes;
    const int64_t turns = (tokens + kTileTokens - 1) / kTileTokens * (w.columns / w.format.group_size);
    const auto block = [](const WeightView& of, int64_t row) { return block_ahead<kTileRows>(of, row, 0, nullptr); };
    for (int64_t row = 0; row < part_rows; row += kTileRows) {
        TilesOfParts parts{w, row, part_rows, 0, {}};
        const bool last = row + kTileRows >= part_rows;
        for (int64_t at = row; at < w.rows && parts.count < streams; at += part_rows, ++parts.count) {
            TileAt& tile = parts.tiles[parts.count];
            tile = {block(w, at), block(w, at), {}};
            if (!last && at + kTileRows < w.rows) tile.ahead = block(w, at + kTileRows);
            if (last && next != nullptr && at - row < next->rows) tile.ahead = block(*next, at - row);
            tile.data_ahead = {
                .at = tile.ahead.data, .lines = tile_lines, .per_turn = (tile_lines + turns - 1) / turns};
        }
        for (int64_t done = 0; done < tokens;) {
            const int64_t count = rows_of_turn(tokens - done, kTileTokens);
            tile_turn<kKind, kTileTokens>(parts, x + done, count, out + done, first, accumulate);
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
