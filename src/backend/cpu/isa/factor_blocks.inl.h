#pragma once

// Blocks of 256 columns with whole factors times int8 activations, which have a scale per kHalf columns. Products times
// factors are added up exactly in int32 over kHalf columns; then row by row in lanes, in ascending order:
// acc -= minimum scale * (scale_x * sum(minimum * sum of 16 x)); acc += scale * (scale_x * sum(factor * q x)).

#include "backend/cpu/isa/block_formats.inl.h"

namespace sluice {
namespace {

constexpr int kFactorBlock = 256, kHalf = 128, kHalfRuns = kHalf / kPartColumns;

// Part j of the vector: word kFirst + j of eight, in all its words.
struct WordSpread {
    alignas(64) uint8_t index[kHalf / kVectorBytes][kVectorBytes];

    constexpr WordSpread() : index{} {
        for (int v = 0; v < kHalf / kVectorBytes; ++v) {
            for (int i = 0; i < kVectorBytes; ++i) {
                index[v][i] = static_cast<uint8_t>(2 * (v * kVectorParts + i / kPartColumns) + i % 2);
            }
        }
    }
};
constexpr WordSpread kWordSpread{};

// What a format finds out about all columns of a block at once, for its codes: nothing, but for those with kSigns.
template <typename Format>
constexpr bool kHasSigns = requires {
    Format::kSigns;
};
template <typename Format>
inline auto block_signs(const std::byte* block) {
    if constexpr (kHasSigns<Format>) {
        return Format::signs(block);
    } else {
        return nullptr;
    }
}
template <typename Format, int kVector, typename Signs>
inline I block_codes(const std::byte* block, const Signs& signs) {
    if constexpr (kHasSigns<Format>) return Format::template codes<kVector>(block, signs);
    return Format::template codes<kVector>(block);
}

// Half of a block times x: the sum over the lanes. Signs are given to x, so that nothing is to be taken away.
template <typename Format, int kIndex, typename Signs>
inline I half_products(const std::byte* block, const Signs& signs, const int8_t* x, const int16_t* factors) {
    constexpr int kVectors = kHalf / kVectorBytes;
    const I words = broadcast16(factors + kIndex * kHalfRuns);
    I sum = izero();
    unrolled<kVectors>([&]<int kVector>() {
        constexpr int kOfBlock = kIndex * kVectors + kVector;
        const I factor = shuffle_bytes(words, iload(kWordSpread.index[kVector]));
        const I values = iload(x + kVector * kVectorBytes);
        if constexpr (kHasSigns<Format>) {
            const I signed_values = Format::template signed_by<kOfBlock>(signs, values);
            sum = dot4_times(sum, Format::template magnitudes<kOfBlock>(block), signed_values, factor);
            return;
        }
        const I codes = Format::template codes<kOfBlock>(block);
        if constexpr (Format::kWide) {
            sum = iadd(sum, imul(dot4<true>(izero(), codes, values), upper_words(factor)));
        } else {
            sum = dot4_times(sum, codes, values, factor);
        }
    });
    return sum;
}

// Factors of a block; minima are what is to be added to the products, which for codes about a center they finish.
template <typename Format>
inline void signed_factors(const std::byte* block, RunFactors& out) {
    Format::factors(block, out);
    if constexpr (!Format::kMinima) store_products(out.minima, out.factors, -Format::kCenter);
}

// A run's factor as add_run takes it, out of a dword with those of two runs.
inline I lower_factor(I pair) {
    if constexpr (kWordRuns) return ior(shift_left<16>(pair), iand(pair, set1_i32(0xffff)));
    return upper_words(shift_left<16>(pair));
}
inline I upper_factor(I pair) {
    if constexpr (kWordRuns) return ior(iand(pair, set1_i32(~0xffff)), iand(upper_words(pair), set1_i32(0xffff)));
    return upper_words(pair);
}

template <typename Format>
inline float scale_of(const std::byte* block) {
    return half_to_float(Format::scale_bits(block)) * Format::kUnit;
}
template <typename Format>
inline float minimum_scale_of(const std::byte* block) {
    return -half_to_float(load_unaligned<uint16_t>(block + Format::kMinimumScale));
}

// acc with a half's products and minima, which have a scale of their own with kMinima.
template <bool kMinima>
inline F add_half(F acc, const float* scale, const float* minimum_scale, I total, I minima, float x_scale) {
    if constexpr (kMinima) {
        acc = fma(load(minimum_scale), mul(to_float(minima), set1(x_scale)), acc);
    } else {
        total = iadd(total, minima);
    }
    return fma(load(scale), mul(to_float(total), set1(x_scale)), acc);
}

// The sums of a half's minima times those of x: words of pairs of runs, a vector for each pair.
template <typename Vectors>
inline I minima_sum(Vectors&& pair, const int16_t* sums) {
    I total = izero();
#pragma GCC unroll 4
    for (int i = 0; i < kHalfRuns / 2; ++i) total = dot2(total, pair(i), broadcast4(sums + 2 * i));
    return total;
}

// kLanes rows from `row` on, the last one again where there are fewer, in lanes.
template <typename Format>
inline F factor_rows(const WeightView& w, int64_t row, const BlockRow& x, const ReadAhead& ahead) {
    constexpr int kBlocks = 8;  // at a time: what the first cache holds the sums of
    const int64_t blocks = w.columns / kFactorBlock, stride = blocks * Format::kBytes;
    alignas(64) int32_t sums[2 * kBlocks][kLanes][kLanes];
    alignas(64) int16_t minima[kLanes][16 * kBlocks];
    alignas(64) float scales[kBlocks][kLanes], minimum_scales[kBlocks][kLanes];
    const std::byte* lines[kLanes];
    for (int r = 0; r < kLanes; ++r) lines[r] = reinterpret_cast<const std::byte*>(minima[r]);
    F acc = zero();
    for (int64_t base = 0; base < blocks; base += kBlocks) {
        const int count = static_cast<int>(smaller<int64_t>(kBlocks, blocks - base));
        for (int r = 0; r < kLanes; ++r) {
            const std::byte* block = w.data + smaller(row + r, w.rows - 1) * stride + base * Format::kBytes;
            const int8_t* values = x.values + base * kFactorBlock;
            for (int b = 0; b < count; ++b, block += Format::kBytes, values += kFactorBlock) {
                ahead.prefetch_from(block, Format::kBytes);
                RunFactors factors;
                if constexpr (kHasSigns<Format>) {
                    Format::factors(block, factors);
                } else {
                    signed_factors<Format>(block, factors);
                    __builtin_memcpy(minima[r] + 16 * b, factors.minima, sizeof factors.minima);
                }
                scales[b][r] = scale_of<Format>(block);
                if constexpr (Format::kMinima) minimum_scales[b][r] = minimum_scale_of<Format>(block);
                const auto signs = block_signs<Format>(block);
                istore(sums[2 * b][r], half_products<Format, 0>(block, signs, values, factors.factors));
                istore(sums[2 * b + 1][r], half_products<Format, 1>(block, signs, values + kHalf, factors.factors));
            }
        }
        I pairs[kLanes];
        for (int half = 0; half < 2 * count; ++half) {
            constexpr int kPairs = kHalfRuns / 2;
            const int at = half * kPairs % kLanes;
            if (at == 0 && !kHasSigns<Format>) load_transposed(lines, half * kPairs * 4, pairs);
            const int64_t group = 2 * base + half;
            I total[1];
            reduce_rows<1>(sums[half], total);
            I low = izero();
            if constexpr (!kHasSigns<Format>) {
                low = minima_sum([&](int i) { return pairs[at + i]; }, x.sums + group * kHalfRuns);
            }
            acc = add_half<Format::kMinima>(acc, scales[half / 2], minimum_scales[half / 2], total[0], low,
                                            x.scales[group]);
        }
    }
    return acc;
}

template <typename Format>
inline void factor_vector(const WeightView& weight, const BlockRow& x, float* out, bool accumulate,
                          const WeightView* next) {
    const ReadAhead ahead(weight, weight.columns / kFactorBlock * Format::kBytes, next);
    for (int64_t row = 0; row < weight.rows; row += kLanes) {
        const int rows = static_cast<int>(smaller<int64_t>(kLanes, weight.rows - row));
        const F result = factor_rows<Format>(weight, row, x, ahead);
        store_some(out + row, accumulate ? add(load_some(out + row, rows), result) : result, rows);
    }
}

// Words of a tile's row per half: its factors, the minima of pairs of runs, the two scales.
enum HalfWord : int { kFactorWord = 0, kMinimaWord = kHalfRuns, kScaleWord = 12, kMinimumScaleWord = 13, kHalfWords };
static_assert(kHalf == BlockTile::kFactorColumns && kHalfWords == BlockTile::kFactorWords);

// Whether nothing is to be taken away from the products of packed codes.
template <typename Format>
constexpr bool kFinished = kCentered<Format> || kSignedCodes<Format>;

// The factors of kLanes rows of block b to row vector v of a tile.
template <typename Format>
inline void pack_run_factors(const std::byte* const (&blocks)[kLanes], BlockTile& tile, int v, int64_t b) {
    constexpr int kPairs = kHalfRuns / 2, kLineWords = 2 * kVectorBytes / 4 > 16 ? 2 * kVectorBytes / 4 : 16;
    alignas(64) int16_t factors[kLanes][2 * kLineWords], minima[kLanes][2 * kLineWords];
    const std::byte *factor_lines[kLanes], *minima_lines[kLanes];
    for (int r = 0; r < kLanes; ++r) {
        RunFactors of_row;
        signed_factors<Format>(blocks[r], of_row);
        __builtin_memset(factors[r], 0, sizeof factors[r]);
        __builtin_memset(minima[r], 0, sizeof minima[r]);
        __builtin_memcpy(factors[r], of_row.factors, sizeof of_row.factors);
        __builtin_memcpy(minima[r], of_row.minima, sizeof of_row.minima);
        factor_lines[r] = reinterpret_cast<const std::byte*>(factors[r]);
        minima_lines[r] = reinterpret_cast<const std::byte*>(minima[r]);
        for (int64_t half = 2 * b; half < 2 * b + 2; ++half) {
            tile_floats(tile, half, kHalfWords, kScaleWord, v)[r] = scale_of<Format>(blocks[r]);
            if constexpr (Format::kMinima) {
                tile_floats(tile, half, kHalfWords, kMinimumScaleWord, v)[r] = minimum_scale_of<Format>(blocks[r]);
            }
        }
    }
    for (int first = 0; first < 2 * kPairs; first += kLanes) {
        I pairs[kLanes], low[kLanes];
        load_transposed(factor_lines, 4 * first, pairs);
        load_transposed(minima_lines, 4 * first, low);
        for (int i = 0; i < smaller(kLanes, 2 * kPairs - first); ++i) {
            const int64_t half = 2 * b + (first + i) / kPairs;
            const int pair = (first + i) % kPairs;
            istore(tile_factors(tile, half, kHalfWords, kFactorWord + 2 * pair, v), lower_factor(pairs[i]));
            istore(tile_factors(tile, half, kHalfWords, kFactorWord + 2 * pair + 1, v), upper_factor(pairs[i]));
            istore(tile_factors(tile, half, kHalfWords, kMinimaWord + pair, v), kFinished<Format> ? izero() : low[i]);
        }
    }
}

template <typename Format>
inline void pack_factor_block(const std::byte* const (&blocks)[kLanes], BlockTile& tile, int v, int64_t b) {
    pack_run_factors<Format>(blocks, tile, v, b);
    decltype(block_signs<Format>(blocks[0])) signs[kLanes];
    for (int r = 0; r < kLanes; ++r) signs[r] = block_signs<Format>(blocks[r]);
    unrolled<kFactorBlock / kVectorBytes>([&]<int kVector>() {
        I codes[kLanes];
        for (int r = 0; r < kLanes; ++r) {
            if constexpr (kSignedCodes<Format>) {
                codes[r] =
                    Format::template signed_by<kVector>(signs[r], Format::template magnitudes<kVector>(blocks[r]));
            } else {
                codes[r] = block_codes<Format, kVector>(blocks[r], signs[r]);
            }
        }
        transpose(codes);
        store_turned(tile, v, b * kFactorBlock + kVector * kVectorBytes, codes);
    });
}

// pack(blocks, v, b) for kLanes rows of every block b, the last row again where there are fewer.
template <typename Format, typename Pack>
inline void for_factor_blocks(const WeightView& w, BlockTile& tile, Pack&& pack) {
    describe_block_tile<Format>(w, tile);
    const int64_t blocks = w.columns / kFactorBlock, stride = blocks * Format::kBytes;
    for (int v = 0; v < kTileVectors; ++v) {
        for (int64_t b = 0; b < blocks; ++b) {
            const std::byte* at[kLanes];
            for (int r = 0; r < kLanes; ++r) {
                at[r] = w.data + smaller<int64_t>(v * kLanes + r, w.rows - 1) * stride + b * Format::kBytes;
            }
            pack(at, v, b);
        }
    }
}

template <typename Format>
inline void factor_pack(const WeightView& w, BlockTile& tile) {
    for_factor_blocks<Format>(w, tile, [&](const std::byte* const(&blocks)[kLanes], int v, int64_t b) {
        pack_factor_block<Format>(blocks, tile, v, b);
    });
}

template <typename Shape>
struct FactorDot {
    template <int kTokens>
    struct Of {
        static void run(const BlockTile& tile, const BlockRow* rows, float* const* out, int64_t first,
                        bool accumulate) {
            const int8_t* x[kTokens];
            F acc[kTileVectors][kTokens];
            for (int t = 0; t < kTokens; ++t) x[t] = rows[t].values;
            fill_sums(zero(), acc);
            for (int64_t half = 0; half < tile.columns / kHalf; ++half) {
                I totals[kTileVectors][kTokens];
                half_totals(tile, x, half, totals);
                for (int t = 0; t < kTokens; ++t) {
                    for (int v = 0; v < kTileVectors; ++v) add(acc[v][t], tile, v, half, totals[v][t], rows[t]);
                }
            }
            store_block_sums(tile, acc, out, first, accumulate);
        }

        static void add(F& acc, const BlockTile& tile, int v, int64_t half, I total, const BlockRow& x) {
            const float* scale = tile_floats(tile, half, kHalfWords, kScaleWord, v);
            const float* minimum_scale = tile_floats(tile, half, kHalfWords, kMinimumScaleWord, v);
            I low = izero();
            if constexpr (!Shape::kSigned) {
                low = minima_sum([&](int i) { return iload(tile_factors(tile, half, kHalfWords, kMinimaWord + i, v)); },
                                 x.sums + half * kHalfRuns);
            }
            acc = tile.minima ? add_half<true>(acc, scale, minimum_scale, total, low, x.scales[half])
                              : add_half<false>(acc, scale, minimum_scale, total, low, x.scales[half]);
        }

        static void half_totals(const BlockTile& tile, const int8_t* const (&x)[kTokens], int64_t half,
                                I (&totals)[kTileVectors][kTokens]) {
            fill_sums(izero(), totals);
            for (int64_t column = half * kHalf; column < (half + 1) * kHalf; column += 4 * Shape::kDwords) {
                const auto run = static_cast<int>(column % kHalf / kPartColumns);
                const auto factor = [&](int v) {
                    return iload(tile_factors(tile, half, kHalfWords, kFactorWord + run, v));
                };
                add_block_run<Shape>(tile, x, column, factor, totals);
            }
        }
    };
};

template <typename Format>
inline void factor_matrix(const BlockTile& tile, const BlockRow* x, int64_t tokens, float* const* out, int64_t first,
                          bool accumulate) {
    all_block_rows<FactorDot<RunShapeOf<Format, Format::kRun>>::template Of>(tile, x, tokens, out, first, accumulate);
}

// Columns [first, first + count) of a row, whole halves, as the codec defines them.
template <typename Format>
inline void decode_factor_blocks(const WeightView& w, int64_t row, int64_t first, int64_t count, float* out) {
    alignas(64) uint8_t codes[kFactorBlock];
    const int64_t end = first + count;
    for (int64_t b = first / kFactorBlock; b * kFactorBlock < end; ++b) {
        const std::byte* block = w.data + (row * (w.columns / kFactorBlock) + b) * Format::kBytes;
        RunFactors factors;
        Format::factors(block, factors);
        unrolled<kFactorBlock / kVectorBytes>(
            [&]<int kVector>() { istore(codes + kVector * kVectorBytes, Format::template codes<kVector>(block)); });
        const int64_t start = b * kFactorBlock;
        const int64_t from = first > start ? first - start : 0, to = smaller<int64_t>(kFactorBlock, end - start);
        for (int64_t i = from; i < to; i += kLanes, out += kLanes) {
            const auto run = static_cast<size_t>(i / kPartColumns);
            const float step = scale_of<Format>(block) * static_cast<float>(factors.factors[run]);
            F value = mul(sub(load_u8(codes + i), set1(Format::kCenter)), set1(step));
            if constexpr (Format::kMinima) {
                const float minimum = minimum_scale_of<Format>(block) * static_cast<float>(factors.minima[run]);
                value = add(value, set1(minimum));
            }
            store(out, value);
        }
    }
}

}  // namespace
}  // namespace sluice
