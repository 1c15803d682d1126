#pragma once

// Blocks of 32 columns with a scale times int8 activations, which have a scale per block too. A block's products are
// added up exactly in int32; then row by row in lanes, in ascending order: acc += minimum * (scale_x * sum(x));
// acc += scale * (scale_x * sum(q x)).

#include "backend/cpu/isa/block_formats.inl.h"

namespace sluice {
namespace {

// A unit is as many blocks as fill a vector, one or more.
constexpr int kPlainBlock = 32, kUnitBlocks = kVectorBytes > kPlainBlock ? kVectorBytes / kPlainBlock : 1;
constexpr int kUnitColumns = kUnitBlocks * kPlainBlock, kUnitVectors = kUnitColumns / kVectorBytes;

// A unit at `block`, of which `there` blocks are there; what is missing is zero, in `copy`.
template <typename Format>
inline const std::byte* whole_unit(const std::byte* block, int64_t there,
                                   std::byte (&copy)[kUnitBlocks * Format::kBytes]) {
    if (there >= kUnitBlocks) return block;
    __builtin_memset(copy, 0, sizeof copy);
    for (int64_t i = 0; i < there; ++i) {
        __builtin_memcpy(copy + i * Format::kBytes, block + i * Format::kBytes, Format::kBytes);
    }
    return copy;
}

// acc with the products of a block; of x the scale and the sum of its bytes.
inline F add_minimum(F acc, const float* minimum, float x_scale, int x_sum) {
    return fma(load(minimum), set1(x_scale * static_cast<float>(x_sum)), acc);
}
inline F add_block(F acc, F scale, int center, I sum, float x_scale, int x_sum) {
    return fma(scale, mul(to_float(isub(sum, set1_i32(center * x_sum))), set1(x_scale)), acc);
}

inline int block_sum(const BlockRow& x, int64_t block) {
    return x.sums[2 * block] + x.sums[2 * block + 1];
}

template <typename Format>
inline F plain_rows(const WeightView& w, int64_t row, const BlockRow& x, const ReadAhead& ahead) {
    constexpr int kUnits = 16, kBlocks = kUnits * kUnitBlocks;  // at a time: the first cache holds the sums of so many
    const int64_t blocks = w.columns / kPlainBlock, stride = blocks * Format::kBytes;
    alignas(64) int32_t sums[kUnits][kLanes][kLanes];
    alignas(64) uint16_t scales[kBlocks][kLanes];
    alignas(64) float minima[kBlocks][kLanes];
    std::byte copy[kUnitBlocks * Format::kBytes];
    F acc = zero();
    for (int64_t base = 0; base < blocks; base += kBlocks) {
        const int count = static_cast<int>(smaller<int64_t>(kBlocks, blocks - base));
        for (int r = 0; r < kLanes; ++r) {
            const std::byte* first = w.data + smaller(row + r, w.rows - 1) * stride + base * Format::kBytes;
            ahead.prefetch_from(first, count * Format::kBytes);
            for (int b = 0; b < count; ++b) {
                scales[b][r] = Format::scale_word(first + b * Format::kBytes);
                if constexpr (Format::kMinima) minima[b][r] = Format::minimum(first + b * Format::kBytes);
            }
            for (int b = 0; b < count; b += kUnitBlocks) {
                const std::byte* unit = whole_unit<Format>(first + b * Format::kBytes, count - b, copy);
                const int8_t* values = x.values + (base + b) * kPlainBlock;
                I sum = izero();
                unrolled<kUnitVectors>([&]<int kVector>() {
                    sum = dot4<Format::kWide>(sum, Format::template codes<kVector>(unit),
                                              iload(values + kVector * kVectorBytes));
                });
                istore(sums[b / kUnitBlocks][r], sum);
            }
        }
        for (int b = 0; b < count; b += kUnitBlocks) {
            I totals[kUnitBlocks];
            reduce_rows<kUnitBlocks>(sums[b / kUnitBlocks], totals);
            for (int i = 0; i < smaller(kUnitBlocks, count - b); ++i) {
                const float x_scale = x.scales[base + b + i];
                const int x_sum = block_sum(x, base + b + i);
                if constexpr (Format::kMinima) acc = add_minimum(acc, minima[b + i], x_scale, x_sum);
                acc = add_block(acc, Format::load_scales(scales[b + i]), Format::kCenter, totals[i], x_scale, x_sum);
            }
        }
    }
    return acc;
}

template <typename Format>
inline void plain_vector(const WeightView& weight, const BlockRow& x, float* out, bool accumulate,
                         const WeightView* next) {
    const ReadAhead ahead(weight, weight.columns / kPlainBlock * Format::kBytes, next);
    for (int64_t row = 0; row < weight.rows; row += kLanes) {
        const int rows = static_cast<int>(smaller<int64_t>(kLanes, weight.rows - row));
        const F result = plain_rows<Format>(weight, row, x, ahead);
        store_some(out + row, accumulate ? add(load_some(out + row, rows), result) : result, rows);
    }
}

// Words of a tile's row per block.
constexpr int kPlainWords = 2;
static_assert(kPlainWords * BlockTile::kFactorColumns / kPlainBlock <= BlockTile::kFactorWords);

// The scales of kLanes rows to a tile, and store(v, column, lines) for every vector of columns: dword i of each row.
template <typename Format, typename Store>
inline void turn_plain_blocks(const WeightView& w, BlockTile& tile, Store&& store) {
    describe_block_tile<Format>(w, tile);
    const int64_t blocks = w.columns / kPlainBlock, stride = blocks * Format::kBytes;
    alignas(64) std::byte copies[kLanes][kUnitBlocks * Format::kBytes];
    for (int v = 0; v < kTileVectors; ++v) {
        for (int64_t b = 0; b < blocks; b += kUnitBlocks) {
            const std::byte* units[kLanes];
            for (int r = 0; r < kLanes; ++r) {
                const int64_t row = smaller<int64_t>(v * kLanes + r, w.rows - 1);
                units[r] = whole_unit<Format>(w.data + row * stride + b * Format::kBytes, blocks - b, copies[r]);
                for (int i = 0; i < smaller<int64_t>(kUnitBlocks, blocks - b); ++i) {
                    const std::byte* block = units[r] + i * Format::kBytes;
                    tile_floats(tile, b + i, kPlainWords, 0, v)[r] = Format::scale(block);
                    if constexpr (Format::kMinima) {
                        tile_floats(tile, b + i, kPlainWords, 1, v)[r] = Format::minimum(block);
                    }
                }
            }
            unrolled<kUnitVectors>([&]<int kVector>() {
                I codes[kLanes];
                for (int r = 0; r < kLanes; ++r) codes[r] = Format::template codes<kVector>(units[r]);
                transpose(codes);
                store(v, b * kPlainBlock + kVector * kVectorBytes, codes);
            });
        }
    }
}

template <typename Format>
inline void plain_pack(const WeightView& w, BlockTile& tile) {
    turn_plain_blocks<Format>(
        w, tile, [&](int v, int64_t column, const I(&lines)[kLanes]) { store_turned(tile, v, column, lines); });
}

template <typename Shape>
struct PlainDot {
    template <int kTokens>
    struct Of {
        static void run(const BlockTile& tile, const BlockRow* rows, float* const* out, int64_t first,
                        bool accumulate) {
            const int8_t* x[kTokens];
            F acc[kTileVectors][kTokens];
            for (int t = 0; t < kTokens; ++t) x[t] = rows[t].values;
            fill_sums(zero(), acc);
            const I one = set1_i32(kWordRuns ? 0x00010001 : 1);
            for (int64_t b = 0; b < tile.columns / kPlainBlock; ++b) {
                I sums[kTileVectors][kTokens];
                fill_sums(izero(), sums);
                for (int64_t column = b * kPlainBlock; column < (b + 1) * kPlainBlock; column += 4 * Shape::kDwords) {
                    add_block_run<Shape>(
                        tile, x, column, [&](int) { return one; }, sums);
                }
                for (int t = 0; t < kTokens; ++t) {
                    for (int v = 0; v < kTileVectors; ++v) add(acc[v][t], tile, v, b, sums[v][t], rows[t]);
                }
            }
            store_block_sums(tile, acc, out, first, accumulate);
        }

        static void add(F& acc, const BlockTile& tile, int v, int64_t b, I sum, const BlockRow& x) {
            const int x_sum = block_sum(x, b);
            if (tile.minima) {
                acc = add_minimum(acc, tile_floats(tile, b, kPlainWords, 1, v), x.scales[b], x_sum);
            }
            acc = add_block(acc, load(tile_floats(tile, b, kPlainWords, 0, v)), tile.center, sum, x.scales[b], x_sum);
        }
    };
};

template <typename Format>
inline void plain_matrix(const BlockTile& tile, const BlockRow* x, int64_t tokens, float* const* out, int64_t first,
                         bool accumulate) {
    all_block_rows<PlainDot<RunShapeOf<Format, kPlainBlock>>::template Of>(tile, x, tokens, out, first, accumulate);
}

// Columns [first, first + count) of a row, whole blocks, as the codec defines them.
template <typename Format>
inline void decode_plain_blocks(const WeightView& w, int64_t row, int64_t first, int64_t count, float* out) {
    alignas(64) uint8_t codes[kUnitColumns];
    std::byte copy[kUnitBlocks * Format::kBytes];
    const int64_t blocks = count / kPlainBlock;
    const std::byte* block = w.data + (row * (w.columns / kPlainBlock) + first / kPlainBlock) * Format::kBytes;
    for (int64_t b = 0; b < blocks; b += kUnitBlocks, block += kUnitBlocks * Format::kBytes) {
        const std::byte* unit = whole_unit<Format>(block, blocks - b, copy);
        unrolled<kUnitVectors>(
            [&]<int kVector>() { istore(codes + kVector * kVectorBytes, Format::template codes<kVector>(unit)); });
        const int64_t columns = smaller<int64_t>(kUnitBlocks, blocks - b) * kPlainBlock;
        for (int64_t i = 0; i < columns; i += kLanes, out += kLanes) {
            const std::byte* of_column = unit + i / kPlainBlock * Format::kBytes;
            F value = mul(sub(load_u8(codes + i), set1(Format::kCenter)), set1(Format::scale(of_column)));
            if constexpr (Format::kMinima) value = add(value, set1(Format::minimum(of_column)));
            store(out, value);
        }
    }
}

}  // namespace
}  // namespace sluice
