#pragma once

// GGUF's blocks in tiles (tensor/row_tiles.h): one row of int8 activations times them, lanes being
// rows; and what many rows meet, which unpacks them once. The operations in float, and their order, are those of
// factor_blocks.inl.h and plain_blocks.inl.h.

#include "backend/cpu/isa/tiled_affine.inl.h"
#include "backend/cpu/isa/tiled_formats.inl.h"

namespace sluice {
namespace {

// A vector of rows at a block: its dwords, and the words that stand behind those of all blocks.
struct RowsAtBlock {
    const std::byte *dwords, *words;
};

// Where rows [first, first + kLanes) of a weight in tiles begin; blocks of kColumns columns and kBytes bytes.
template <int kColumns, int kBytes>
struct TiledRows {
    static constexpr int kWordBytes = kBytes % kTileDwordBytes, kDwordBytes = kBytes - kWordBytes;

    const std::byte *dwords, *words;

    TiledRows(const WeightView& w, int64_t first) {
        const int64_t blocks = w.columns / kColumns, inside = first % kTileRows;
        const std::byte* tile = w.data + (first - inside) * blocks * kBytes;
        dwords = tile + inside * kTileDwordBytes;
        words = tile + kTileRows * blocks * kDwordBytes + inside * kWordBytes;
    }
    RowsAtBlock at(int64_t block) const {
        return {dwords + block * kTileRows * kDwordBytes, words + block * kTileRows * kWordBytes};
    }
};

// Two bytes of every dword as its words.
template <bool kSigned, int kLow, int kHigh>
struct ByteWords {
    alignas(64) uint8_t index[kVectorBytes];

    constexpr ByteWords() : index{} {
        for (int i = 0; i < kVectorBytes; ++i) {
            const int byte = i % kPartColumns / 4 * 4 + (i % 4 < 2 ? kLow : kHigh);
            const bool filled = i % 2 == (kSigned ? 1 : 0);
            index[i] = static_cast<uint8_t>(filled ? byte : 128);
        }
    }
};
template <bool kSigned, int kLow, int kHigh>
constexpr ByteWords<kSigned, kLow, kHigh> kByteWords{};
template <bool kSigned, int kLow, int kHigh>
inline I byte_words(I v) {
    const I words = shuffle_bytes(v, iload(kByteWords<kSigned, kLow, kHigh>.index));
    return kSigned ? upper_bytes(words) : words;
}

// Factors of half a block as add_run takes them, one for every kColumns columns, to out(index).
template <typename Format, int kColumns, typename Out>
inline void spread_factors(const RunBytes& runs, Out&& out) {
    unrolled<kHalf / kColumns>([&]<int kIndex>() {
        constexpr int kRun = kIndex * kColumns / Format::Rows::kRun;
        const I words = byte_words<Format::kSigned, kRun % 4, kRun % 4>(runs.factors[kRun / 4]);
        istore(out(kIndex), kWordRuns ? words : upper_words(words));
    });
}

// What is to be added to the products by the sums of 16 columns of x: words of pairs of these, as minima_sum takes
// them. For codes about a center they are factors, to be multiplied by less than nothing.
template <typename Format>
inline void pair_minima(const RunBytes& runs, I (&pairs)[kHalfRuns / 2]) {
    constexpr int kRunParts = Format::Rows::kRun / kPartColumns;
    constexpr bool kMinima = Format::Rows::kMinima;
    unrolled<kHalfRuns / 2>([&]<int i>() {
        constexpr int kLow = 2 * i / kRunParts, kHigh = (2 * i + 1) / kRunParts;
        const I bytes = kMinima ? runs.minima[kLow / 4] : runs.factors[kLow / 4];
        pairs[i] = byte_words < Format::kSigned && !kMinima, kLow % 4, kHigh % 4 > (bytes);
    });
}

// Rows of a tile at a block, what half of the block has, and the sums of the rows. Some tiles stand side by side and
// are read by turns, some lines of each: a processor brings two streams from memory sooner than one. Turns of much more
// than eight lines undo that; more streams add nothing, and where memory does not wait for products, one is sooner.
struct TileInTurn {
    RowsAtBlock at[kRowVectors];
    const std::byte* ahead;  // what will be read some time after the block
    alignas(64) int32_t factors[kHalfRuns][kRowVectors][kLanes];
    alignas(64) float scales[2][kRowVectors][kLanes];
    I totals[kRowVectors], minima[kRowVectors];
    F acc[kRowVectors];
};

// What comes to the cache while a half of a block is multiplied: some lines with every set of codes.
template <typename Format>
struct HalfAhead {
    static constexpr int kSets = Format::kSteps * Format::kRunDwords;
    static constexpr int kLines = (kTileRows * Format::Rows::kBytes / 2 + kLineBytes - 1) / kLineBytes;
    static constexpr int kPerSet = kLines / kSets;

    const std::byte* from;

    void with_set(int set) const {
#pragma GCC unroll 4
        for (int i = 0; i < kPerSet; ++i) prefetch(from + (set * kPerSet + i) * kLineBytes);
    }
    void rest() const {
        for (int i = kSets * kPerSet; i < kLines; ++i) prefetch(from + i * kLineBytes);
    }
};

// The products of dwords [begin, begin + Shape::kDwords) of the runs of a step of half kIndex, times x.
template <typename Format, typename Shape, int kIndex>
inline void add_step_products(TileInTurn& tile, const int8_t* x, int step, int begin) {
    using Rows = typename Format::Rows;
    constexpr int kRunDwords = Format::kRunDwords;
    const HalfAhead<Format> ahead{tile.ahead + kIndex * HalfAhead<Format>::kLines * kLineBytes};
    I totals[kRowVectors], sums[Format::kRuns][kRowVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kRowVectors; ++v) totals[v] = tile.totals[v];
#pragma GCC unroll 8
    for (int i = 0; i < Shape::kDwords; ++i) {
        ahead.with_set(step * kRunDwords + begin + i);
#pragma GCC unroll 4
        for (int v = 0; v < kRowVectors; ++v) {
            I codes[Format::kRuns];
            Format::template codes<kIndex>(tile.at[v].dwords, step, begin + i, codes);
#pragma GCC unroll 4
            for (int k = 0; k < Format::kRuns; ++k) {
                const int run = Format::run(step, k);
                const I values = broadcast4(x + 4 * (run * kRunDwords + begin + i));
                if constexpr (kCentered<Rows>) {
                    totals[v] = add_signed_products(totals[v], codes[k], values, iload(tile.factors[run][v]));
                } else {
                    sums[k][v] = run_products<Shape>(i == 0 ? izero() : sums[k][v], codes[k], values);
                }
            }
        }
    }
#pragma GCC unroll 4
    for (int v = 0; v < kRowVectors; ++v) {
#pragma GCC unroll 4
        for (int k = 0; k < Format::kRuns && !kCentered<Rows>; ++k) {
            totals[v] = add_run(totals[v], sums[k][v], iload(tile.factors[Format::run(step, k)][v]));
        }
        tile.totals[v] = totals[v];
    }
}

template <typename Format>
struct TiledFactorBlocks {
    using Rows = TiledRows<kFactorBlock, Format::Rows::kBytes>;
    static constexpr int kStreams = Format::kStreams;

    // Adds block b of `count` tiles.
    static void add(TileInTurn* tiles, int count, const BlockRow& x, int64_t b) {
        for (int s = 0; s < count; ++s) {
            for (int v = 0; v < kRowVectors; ++v) {
                const RowsAtBlock& at = tiles[s].at[v];
                store(tiles[s].scales[0][v], Format::scales(at.dwords, at.words));
                if constexpr (Format::Rows::kMinima) store(tiles[s].scales[1][v], Format::minimum_scales(at.dwords));
            }
        }
        unrolled<2>([&]<int kIndex>() { add_half_of<kIndex>(tiles, count, x, 2 * b + kIndex); });
    }

  private:
    template <int kIndex>
    static void add_half_of(TileInTurn* tiles, int count, const BlockRow& x, int64_t group) {
        using Shape = RunShapeOf<typename Format::Rows, Format::kRun>;
        for (int s = 0; s < count; ++s) begin_half<kIndex>(tiles[s], x.sums + group * kHalfRuns);
        for (int step = 0; step < Format::kSteps; ++step) {
            for (int begin = 0; begin < Format::kRunDwords; begin += Shape::kDwords) {
                for (int s = 0; s < count; ++s) {
                    add_step_products<Format, Shape, kIndex>(tiles[s], x.values + group * kHalf, step, begin);
                }
            }
        }
        for (int s = 0; s < count; ++s) {
            TileInTurn& tile = tiles[s];
            HalfAhead<Format>{tile.ahead + kIndex * HalfAhead<Format>::kLines * kLineBytes}.rest();
#pragma GCC unroll 4
            for (int v = 0; v < kRowVectors; ++v) {
                tile.acc[v] = add_half<Format::Rows::kMinima>(tile.acc[v], tile.scales[0][v], tile.scales[1][v],
                                                              tile.totals[v], tile.minima[v], x.scales[group]);
            }
        }
    }

    // Factors and minima of a half, of which x has these sums.
    template <int kIndex>
    static void begin_half(TileInTurn& tile, const int16_t* x_sums) {
#pragma GCC unroll 4
        for (int v = 0; v < kRowVectors; ++v) {
            RunBytes runs;
            Format::template run_bytes<kIndex>(tile.at[v].dwords, runs);
            spread_factors<Format, Format::kRun>(runs, [&](int run) { return tile.factors[run][v]; });
            tile.totals[v] = tile.minima[v] = izero();
            if constexpr (kCentered<typename Format::Rows>) continue;
            I pairs[kHalfRuns / 2];
            pair_minima<Format>(runs, pairs);
            const I minima = minima_sum([&](int i) { return pairs[i]; }, x_sums);
            tile.minima[v] = Format::Rows::kMinima ? minima : imul(minima, set1_i32(-Format::Rows::kCenter));
        }
    }
};

template <typename Format>
struct TiledPlainBlocks {
    using Rows = TiledRows<kPlainBlock, Format::Rows::kBytes>;
    static constexpr int kStreams = 2;

    static void add(TileInTurn* tiles, int count, const BlockRow& x, int64_t b) {
        for (int s = 0; s < count; ++s) add_tile(tiles[s], x, b);
    }

  private:
    static void add_tile(TileInTurn& tile, const BlockRow& x, int64_t b) {
        using Shape = RunShapeOf<typename Format::Rows, kPlainBlock>;
        constexpr bool kRuns = kWordRuns && !kCentered<typename Format::Rows>;
        constexpr int kLines = kTileRows * Format::Rows::kBytes / kLineBytes;
        const I one = set1_i32(0x00010001);
        I sums[kRowVectors], words[kRowVectors];
        for (int v = 0; v < kRowVectors; ++v) sums[v] = izero();
#pragma GCC unroll 8
        for (int i = 0; i < kPlainBlock / 4; ++i) {
            if (i < kLines) prefetch(tile.ahead + i * kLineBytes);
            const I values = broadcast4(x.values + b * kPlainBlock + 4 * i);
#pragma GCC unroll 4
            for (int v = 0; v < kRowVectors; ++v) {
                const I codes = Format::codes(tile.at[v].dwords, i);
                if constexpr (kCentered<typename Format::Rows>) {
                    sums[v] = add_signed_products(sums[v], codes, values, one);
                } else if constexpr (kRuns) {
                    words[v] = add_run_products(i % Shape::kDwords == 0 ? izero() : words[v], codes, values);
                    if (i % Shape::kDwords == Shape::kDwords - 1) sums[v] = add_run(sums[v], words[v], one);
                } else {
                    sums[v] = run_products<Shape>(sums[v], codes, values);
                }
            }
        }
        constexpr int kCenter = kCentered<typename Format::Rows> ? 0 : Format::Rows::kCenter;
#pragma GCC unroll 4
        for (int v = 0; v < kRowVectors; ++v) {
            tile.acc[v] = add_block(tile.acc[v], Format::scales(tile.at[v].words), kCenter, sums[v], x.scales[b],
                                    block_sum(x, b));
        }
    }
};

// A weight in tiles as Blocks::kStreams parts, a tile of each by turns, times x.
template <typename Blocks, int kColumns, int kBytes>
inline void tiled_vector_of_blocks(const WeightView& w, const BlockRow& x, float* out, bool accumulate,
                                   const WeightView* next) {
    using Rows = TiledRows<kColumns, kBytes>;
    constexpr int kStreams = Blocks::kStreams;
    const int64_t blocks = w.columns / kColumns;
    const int64_t part_rows = (w.rows / kTileRows + kStreams - 1) / kStreams * kTileRows;
    const int64_t part_bytes = part_rows * blocks * kBytes;
    const std::ptrdiff_t jump = next != nullptr ? next->data - w.data - part_bytes : 0;
    const auto of_weight = [&] {
        if constexpr (std::is_empty_v<Blocks>)
            return Blocks{};
        else
            return Blocks(w);
    }();
    TileInTurn tiles[kStreams];
    for (int64_t row = 0; row < part_rows; row += kTileRows) {
        const int count = kStreams > 1 && row + part_rows >= w.rows ? 1 : kStreams;
        for (int s = 0; s < count; ++s) {
            for (int v = 0; v < kRowVectors; ++v) tiles[s].acc[v] = zero();
        }
        for (int64_t b = 0; b < blocks; ++b) {
            for (int s = 0; s < count; ++s) {
                TileInTurn& tile = tiles[s];
                for (int v = 0; v < kRowVectors; ++v) tile.at[v] = Rows(w, row + s * part_rows + v * kLanes).at(b);
                const std::byte* p = tile.at[0].dwords + kAheadBytes / kStreams;
                tile.ahead = p >= w.data + (s + 1) * part_bytes ? p + jump : p;
                if constexpr (Rows::kWordBytes > 0) prefetch(tile.at[0].words + kTileRows * blocks * kBytes);
            }
            of_weight.add(tiles, count, x, b);
        }
        for (int s = 0; s < count; ++s) {
            for (int v = 0; v < kRowVectors; ++v) {
                float* to = out + row + s * part_rows + v * kLanes;
                store(to, accumulate ? add(load(to), tiles[s].acc[v]) : tiles[s].acc[v]);
            }
        }
    }
}

template <typename Format>
inline void tiled_factor_vector(const WeightView& w, const BlockRow& x, float* out, bool accumulate,
                                const WeightView* next) {
    tiled_vector_of_blocks<TiledFactorBlocks<Format>, kFactorBlock, Format::Rows::kBytes>(w, x, out, accumulate, next);
}
template <typename Format>
inline void tiled_plain_vector(const WeightView& w, const BlockRow& x, float* out, bool accumulate,
                               const WeightView* next) {
    tiled_vector_of_blocks<TiledPlainBlocks<Format>, kPlainBlock, Format::Rows::kBytes>(w, x, out, accumulate, next);
}

// pack(rows, v) for the row vectors of a packed tile, the last rows again where there are fewer.
template <typename Rows, typename Pack>
inline void for_tiled_vectors(const WeightView& w, Pack&& pack) {
    for (int v = 0; v < kTileVectors; ++v) {
        pack(Rows(w, smaller<int64_t>(v * kLanes, w.rows - kLanes)), v);
    }
}

// Half kIndex of block b of a vector of rows to a packed tile.
template <typename Format, int kIndex>
inline void pack_tiled_half(const RowsAtBlock& at, BlockTile& tile, int v, int64_t half) {
    using Rows = typename Format::Rows;
    constexpr int kRunDwords = Format::kRunDwords;
    RunBytes runs;
    I pairs[kHalfRuns / 2];
    Format::template run_bytes<kIndex>(at.dwords, runs);
    const auto word = [&](int index) { return tile_factors(tile, half, kHalfWords, index, v); };
    spread_factors<Format, kPartColumns>(runs, [&](int part) { return word(kFactorWord + part); });
    pair_minima<Format>(runs, pairs);
    for (int i = 0; i < kHalfRuns / 2; ++i) {
        if constexpr (!Rows::kMinima) {
            constexpr int kCenter = kCentered<Rows> ? 0 : -Rows::kCenter;
            pairs[i] = multiply_words(pairs[i], set1_i32(kCenter << 16 | (kCenter & 0xffff)));
        }
        istore(word(kMinimaWord + i), pairs[i]);
    }
    store(tile_floats(tile, half, kHalfWords, kScaleWord, v), Format::scales(at.dwords, at.words));
    if constexpr (Rows::kMinima) {
        store(tile_floats(tile, half, kHalfWords, kMinimumScaleWord, v), Format::minimum_scales(at.dwords));
    }
    for (int step = 0; step < Format::kSteps; ++step) {
        for (int i = 0; i < kRunDwords; ++i) {
            I codes[Format::kRuns];
            Format::template codes<kIndex>(at.dwords, step, i, codes);
#pragma GCC unroll 4
            for (int k = 0; k < Format::kRuns; ++k) {
                const int64_t dword = half * kHalf / 4 + Format::run(step, k) * kRunDwords + i;
                istore(tile_values(tile, dword, v), codes[k]);
            }
        }
    }
}

template <typename Format>
inline void pack_tiled_factors(const WeightView& w, BlockTile& tile) {
    using Rows = typename TiledFactorBlocks<Format>::Rows;
    describe_block_tile<typename Format::Rows>(w, tile);
    for_tiled_vectors<Rows>(w, [&](const Rows& rows, int v) {
        for (int64_t b = 0; b < w.columns / kFactorBlock; ++b) {
            unrolled<2>([&]<int kIndex>() { pack_tiled_half<Format, kIndex>(rows.at(b), tile, v, 2 * b + kIndex); });
        }
    });
}

template <typename Format>
inline void pack_tiled_plain(const WeightView& w, BlockTile& tile) {
    using Rows = typename TiledPlainBlocks<Format>::Rows;
    describe_block_tile<typename Format::Rows>(w, tile);
    for_tiled_vectors<Rows>(w, [&](const Rows& rows, int v) {
        for (int64_t b = 0; b < w.columns / kPlainBlock; ++b) {
            const RowsAtBlock at = rows.at(b);
            store(tile_floats(tile, b, kPlainWords, 0, v), Format::scales(at.words));
            for (int i = 0; i < kPlainBlock / 4; ++i) {
                istore(tile_values(tile, b * kPlainBlock / 4 + i, v), Format::codes(at.dwords, i));
            }
        }
    });
}

}  // namespace
}  // namespace sluice
