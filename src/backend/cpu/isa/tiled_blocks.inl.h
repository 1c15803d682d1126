#pragma once

// GGUF's blocks in tiles (tensor/row_tiles.h) times int8 activations, of one row as of many: lanes are rows,
// activations are broadcast, and memory is read as one stream. Whole numbers add up exactly; the operations in float,
// and their order, are those of factor_blocks.inl.h.

#include "backend/cpu/isa/tiled_affine.inl.h"
#include "backend/cpu/isa/tiled_formats.inl.h"

namespace sluice {
namespace {

// Many rows of x meet so many vectors of rows at once, so many of them: the registers hold as many sums, and totals.
constexpr int kBlockVectors = kLanes == 8 ? 1 : 2;
constexpr int kBlockTokens = kLanes == 8 ? 5 : 6;
constexpr int kRunSums = kLanes == 8 ? 6 : 12;

// kVectors vectors of rows, at a block.
template <int kVectors>
struct RowsAtBlock {
    const std::byte *dwords[kVectors], *words[kVectors];
    const std::byte* ahead;
};

// totals += runs run(kFirst), run(kFirst + 1), ... of half kIndex of a block, kTogether of them, times x.
template <typename Format, int kIndex, int kFirst, int kTogether, int kVectors, int kTokens>
[[gnu::always_inline]] inline void add_runs(const RowsAtBlock<kVectors>& at, const RunBytes (&factors)[kVectors],
                                            const int8_t* const (&x)[kTokens], I (&totals)[kVectors][kTokens]) {
    constexpr int kChunk = kWordRuns ? Format::kWordDwords : Format::kRunDwords;
    // Of the lines of half a block that come to the cache meanwhile, some with every dword.
    constexpr int kLines = (kTileRows * Format::Rows::kBytes / 2 + kLineBytes - 1) / kLineBytes;
    constexpr int kSteps = Format::kRuns / kTogether * Format::kRunDwords;
    constexpr int kFirstStep = kFirst / kTogether * Format::kRunDwords;
    const std::byte* ahead = at.ahead + kIndex * kLines * kLineBytes;
#pragma GCC unroll 4
    for (int begin = 0; begin < Format::kRunDwords; begin += kChunk) {
        I sums[kTogether][kVectors][kTokens];
#pragma GCC unroll 8
        for (int i = 0; i < kChunk; ++i) {
            const int step = kFirstStep + begin + i;
#pragma GCC unroll 4
            for (int line = step * kLines / kSteps; line < (step + 1) * kLines / kSteps; ++line) {
                prefetch(ahead + line * kLineBytes);
            }
            unrolled<kTogether>([&]<int k>() {
                constexpr int kRun = Format::run(kFirst + k);
                I codes[kVectors];
#pragma GCC unroll 4
                for (int v = 0; v < kVectors; ++v) {
                    codes[v] = Format::template codes<kIndex, kRun>(at.dwords[v], begin + i);
                }
#pragma GCC unroll 8
                for (int t = 0; t < kTokens; ++t) {
                    const I values = broadcast4(x[t] + 4 * (kRun * Format::kRunDwords + begin + i));
#pragma GCC unroll 4
                    for (int v = 0; v < kVectors; ++v) {
                        sums[k][v][t] = add_run_products(i == 0 ? izero() : sums[k][v][t], codes[v], values);
                    }
                }
            });
        }
        unrolled<kTogether>([&]<int k>() {
            constexpr int kRun = Format::run(kFirst + k);
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; ++v) {
                const I factor = byte_words<kRun % 4, kRun % 4>(factors[v][kRun / 4]);
#pragma GCC unroll 8
                for (int t = 0; t < kTokens; ++t) totals[v][t] = add_run(totals[v][t], sums[k][v][t], factor);
            }
        });
    }
}

// What is to be added to the products of pairs of 16 columns, by the sums of x: words of pairs, as minima_sum takes
// them.
template <typename Format>
inline void minima_pairs(const RunBytes& bytes, I (&pairs)[kHalfRuns / 2]) {
    constexpr int kRunParts = 4 * Format::kRunDwords / kPartColumns;
    unrolled<kHalfRuns / 2>([&]<int i>() {
        constexpr int kLow = 2 * i / kRunParts, kHigh = (2 * i + 1) / kRunParts;
        pairs[i] = byte_words<kLow % 4, kHigh % 4>(bytes[kLow / 4]);
    });
}

// acc with half kIndex of a block, which is group `group` of x.
template <typename Format, int kIndex, int kVectors, int kTokens>
[[gnu::always_inline]] inline void add_tiled_half(const RowsAtBlock<kVectors>& at,
                                                  const float (&scales)[2][kVectors][kLanes], const BlockRow* rows,
                                                  int64_t group, F (&acc)[kVectors][kTokens]) {
    constexpr int kTogether = 2 * kVectors * kTokens <= kRunSums ? 2 : 1;
    constexpr int kSteps = Format::kRuns / kTogether;
    const int8_t* x[kTokens];
    I totals[kVectors][kTokens];
    RunBytes factors[kVectors], minima[kVectors];
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
        x[t] = rows[t].values + group * kHalf;
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) totals[v][t] = izero();
    }
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) Format::template factors<kIndex>(at.dwords[v], factors[v], minima[v]);
    unrolled<kSteps>(
        [&]<int kStep>() { add_runs<Format, kIndex, kStep * kTogether, kTogether>(at, factors, x, totals); });
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
        I pairs[kHalfRuns / 2];
        minima_pairs<Format>(Format::Rows::kMinima ? minima[v] : factors[v], pairs);
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) {
            I low = minima_sum([&](int i) { return pairs[i]; }, rows[t].sums + group * kHalfRuns);
            if constexpr (!Format::Rows::kMinima) low = isub(izero(), shift_left<Format::kCenterBits>(low));
            acc[v][t] = add_half<typename Format::Rows>(acc[v][t], scales[0][v], scales[1][v], totals[v][t], low,
                                                        rows[t].scales[group]);
        }
    }
}

// Rows of a weight in tiles, from `row` on.
struct TiledRows {
    const WeightView& weight;
    int64_t row;
    const ReadAhead& ahead;
    int64_t row_bytes;

    // What the vector of rows from `first` on finds at `offset` of each.
    const std::byte* vector_at(int64_t first, int64_t offset, int element) const {
        return weight.data + first / kTileRows * kTileRows * row_bytes + kTileRows * offset +
               first % kTileRows * element;
    }
};

template <typename Format, int kVectors>
struct TiledDot {
    template <int kTokens>
    struct Of {
        static void run(const TiledRows& rows, const BlockRow* x, float* const* out, int64_t first, bool accumulate) {
            constexpr int kWordBytes = Format::Rows::kBytes % kTileDwordBytes;
            constexpr int kDwordBytes = Format::Rows::kBytes - kWordBytes;
            const int64_t blocks = rows.weight.columns / kFactorBlock;
            F acc[kVectors][kTokens];
            RowsAtBlock<kVectors> at;
            for (int v = 0; v < kVectors; ++v) {
                at.dwords[v] = rows.vector_at(rows.row + v * kLanes, 0, kTileDwordBytes);
                at.words[v] = rows.vector_at(rows.row + v * kLanes, blocks * kDwordBytes, 2);
                for (int t = 0; t < kTokens; ++t) acc[v][t] = zero();
            }
            for (int64_t b = 0; b < blocks; ++b) {
                alignas(64) float scales[2][kVectors][kLanes];
                at.ahead = rows.ahead.after(at.dwords[0]);
                if constexpr (kWordBytes > 0) prefetch(at.words[0] + kTileRows * rows.row_bytes);
                for (int v = 0; v < kVectors; ++v) {
                    store(scales[0][v], Format::scales(at.dwords[v], at.words[v]));
                    if constexpr (Format::Rows::kMinima) {
                        store(scales[1][v], Format::minimum_scales(at.dwords[v]));
                    }
                }
                unrolled<2>([&]<int kIndex>() { add_tiled_half<Format, kIndex>(at, scales, x, 2 * b + kIndex, acc); });
                for (int v = 0; v < kVectors; ++v) {
                    at.dwords[v] += kTileRows * kDwordBytes;
                    at.words[v] += kTileRows * kWordBytes;
                }
            }
            for (int t = 0; t < kTokens; ++t) {
                for (int v = 0; v < kVectors; ++v) {
                    float* to = out[t] + first + v * kLanes;
                    store(to, accumulate ? add(load(to), acc[v][t]) : acc[v][t]);
                }
            }
        }
    };
};

template <typename Format>
inline void tiled_blocks(const WeightView& w, const BlockRow* x, int64_t tokens, float* const* out, int64_t first,
                         bool accumulate, const WeightView* next) {
    const int64_t row_bytes = w.columns / kFactorBlock * Format::Rows::kBytes;
    const ReadAhead ahead(w, row_bytes, next);
    constexpr int64_t kRows = kBlockVectors * kLanes;
    for (int64_t row = 0, count = 0; row < w.rows; row += count) {
        const TiledRows rows{w, row, ahead, row_bytes};
        if (tokens > 1 && w.rows - row >= kRows) {
            count = kRows;
            all_block_rows<TiledDot<Format, kBlockVectors>::template Of, kBlockTokens>(rows, x, tokens, out,
                                                                                       first + row, accumulate);
            continue;
        }
        count = kTileRows;
        for (int64_t t = 0; t < tokens; ++t) {
            TiledDot<Format, kRowVectors>::template Of<1>::run(rows, x + t, out + t, first + row, accumulate);
        }
    }
}

}  // namespace
}  // namespace sluice
