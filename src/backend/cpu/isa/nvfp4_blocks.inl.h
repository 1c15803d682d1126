#pragma once

// NVFP4 in GGUF's blocks times int8 activations, which have a scale per kPlainBlock columns: 64 columns, four unsigned
// E4M3 scales, and for every 16 columns 8 bytes of low and high nibbles; a factor of the matrix may stand beside them.
// The products of 16 columns are added up exactly in int32; then row by row in lanes, in ascending order:
// acc += scale * (scale_x * sum(q x)).

#include "backend/cpu/isa/tiled_blocks.inl.h"

namespace sluice {
namespace {

constexpr int kNvfp4Columns = 64, kNvfp4Bytes = 36, kNvfp4Runs = kNvfp4Columns / kPartColumns;
constexpr int kNvfp4Vectors = kNvfp4Columns / kVectorBytes;

// Codes as kE2m1Table has them.
struct Nvfp4Codes {
    static constexpr int kCenter = 12, kLargest = 24, kMagnitude = 0;
    static constexpr bool kMinima = false, kWide = false;
};

// Halves of the scales, by code; NaN is zero.
struct Nvfp4Scales {
    float half[128];

    constexpr Nvfp4Scales() : half{} {
        for (int code = 0; code < 127; ++code) {
            const int exponent = code >> 3, fraction = code & 7;
            half[code] = static_cast<float>(exponent == 0 ? fraction : 8 + fraction) * 0x1p-10F;
            for (int i = 1; i < exponent; ++i) half[code] *= 2;
        }
    }
};
constexpr Nvfp4Scales kNvfp4Scales{};

inline float nvfp4_factor(const WeightView& w) {
    return w.format.has_scales() ? load_unaligned<float>(w.scales) : 1.0F;
}
inline float half_nvfp4_scale(const std::byte* block, int run) {
    return kNvfp4Scales.half[static_cast<unsigned>(block[run]) & 127];
}

// The kVector-th vector of a block's codes.
template <int kVector>
inline I nvfp4_codes(const std::byte* block) {
    alignas(64) uint64_t halves[kVectorBytes / 8];
    for (int i = 0; i < kVectorBytes / 8; ++i) {
        const auto bytes = load_unaligned<uint64_t>(block + kNvfp4Runs + 8 * (kVector * kVectorParts + i / 2));
        halves[i] = bytes >> (i % 2 * 4) & 0x0f0f0f0f0f0f0f0f;
    }
    return look_up(kE2m1Table, iload(halves));
}

// acc with the products of run `run` of x.
inline F add_nvfp4_run(F acc, F scale, I sum, const BlockRow& x, int64_t run) {
    return add_block(acc, scale, Nvfp4Codes::kCenter, sum, x.scales[run * kPartColumns / kPlainBlock], x.sums[run]);
}

// kLanes rows from `row` on, the last one again where there are fewer, in lanes.
inline F nvfp4_rows(const WeightView& w, int64_t row, const BlockRow& x, const ReadAhead& ahead) {
    constexpr int kBlocks = 8;  // at a time: the first cache holds the sums of so many
    const int64_t blocks = w.columns / kNvfp4Columns, stride = blocks * kNvfp4Bytes;
    const float factor = nvfp4_factor(w);
    alignas(64) int32_t sums[kBlocks * kNvfp4Vectors][kLanes][kLanes];
    alignas(64) float scales[kBlocks * kNvfp4Runs][kLanes];
    F acc = zero();
    for (int64_t base = 0; base < blocks; base += kBlocks) {
        const int count = static_cast<int>(smaller<int64_t>(kBlocks, blocks - base));
        for (int r = 0; r < kLanes; ++r) {
            const std::byte* block = w.data + smaller(row + r, w.rows - 1) * stride + base * kNvfp4Bytes;
            const int8_t* values = x.values + base * kNvfp4Columns;
            ahead.prefetch_from(block, count * kNvfp4Bytes);
            for (int b = 0; b < count; ++b, block += kNvfp4Bytes, values += kNvfp4Columns) {
                for (int run = 0; run < kNvfp4Runs; ++run) {
                    scales[b * kNvfp4Runs + run][r] = half_nvfp4_scale(block, run) * factor;
                }
                unrolled<kNvfp4Vectors>([&]<int kVector>() {
                    const I products =
                        dot4<false>(izero(), nvfp4_codes<kVector>(block), iload(values + kVector * kVectorBytes));
                    istore(sums[b * kNvfp4Vectors + kVector][r], products);
                });
            }
        }
        for (int vector = 0; vector < count * kNvfp4Vectors; ++vector) {
            I totals[kVectorParts];
            reduce_rows<kVectorParts>(sums[vector], totals);
            for (int part = 0; part < kVectorParts; ++part) {
                const int run = vector * kVectorParts + part;
                acc = add_nvfp4_run(acc, load(scales[run]), totals[part], x, base * kNvfp4Runs + run);
            }
        }
    }
    return acc;
}

inline void nvfp4_vector(const WeightView& weight, const BlockRow& x, float* out, bool accumulate,
                         const WeightView* next) {
    const ReadAhead ahead(weight, weight.columns / kNvfp4Columns * kNvfp4Bytes, next);
    for (int64_t row = 0; row < weight.rows; row += kLanes) {
        const int rows = static_cast<int>(smaller<int64_t>(kLanes, weight.rows - row));
        const F result = nvfp4_rows(weight, row, x, ahead);
        store_some(out + row, accumulate ? add(load_some(out + row, rows), result) : result, rows);
    }
}

// The scales of run `run` in a packed tile: a word of every row.
inline float* nvfp4_tile_scales(const BlockTile& tile, int64_t run, int v) {
    return tile_floats(tile, run, 1, 0, v);
}

inline void nvfp4_pack_rows(const WeightView& w, BlockTile& tile) {
    const int64_t blocks = w.columns / kNvfp4Columns;
    const float factor = nvfp4_factor(w);
    for (int v = 0; v < kTileVectors; ++v) {
        for (int64_t b = 0; b < blocks; ++b) {
            const std::byte* at[kLanes];
            for (int r = 0; r < kLanes; ++r) {
                at[r] = w.data + (smaller<int64_t>(v * kLanes + r, w.rows - 1) * blocks + b) * kNvfp4Bytes;
                for (int run = 0; run < kNvfp4Runs; ++run) {
                    nvfp4_tile_scales(tile, b * kNvfp4Runs + run, v)[r] = half_nvfp4_scale(at[r], run) * factor;
                }
            }
            unrolled<kNvfp4Vectors>([&]<int kVector>() {
                I codes[kLanes];
                for (int r = 0; r < kLanes; ++r) codes[r] = nvfp4_codes<kVector>(at[r]);
                transpose(codes);
                store_turned(tile, v, b * kNvfp4Columns + kVector * kVectorBytes, codes);
            });
        }
    }
}

template <int kTokens>
struct Nvfp4Dot {
    static void run(const BlockTile& tile, const BlockRow* rows, float* const* out, int64_t first, bool accumulate) {
        using Shape = RunShapeOf<Nvfp4Codes, kPartColumns>;
        const int8_t* x[kTokens];
        F acc[kTileVectors][kTokens];
        for (int t = 0; t < kTokens; ++t) x[t] = rows[t].values;
        fill_sums(zero(), acc);
        const I one = set1_i32(kWordRuns ? 0x00010001 : 1);
        for (int64_t run = 0; run < tile.columns / kPartColumns; ++run) {
            I sums[kTileVectors][kTokens];
            fill_sums(izero(), sums);
            for (int dword = 0; dword < kPartColumns / 4; dword += Shape::kDwords) {
                add_block_run<Shape>(
                    tile, x, run * kPartColumns + 4 * dword, [&](int) { return one; }, sums);
            }
            for (int t = 0; t < kTokens; ++t) {
                for (int v = 0; v < kTileVectors; ++v) {
                    acc[v][t] =
                        add_nvfp4_run(acc[v][t], load(nvfp4_tile_scales(tile, run, v)), sums[v][t], rows[t], run);
                }
            }
        }
        store_block_sums(tile, acc, out, first, accumulate);
    }
};

inline void nvfp4_matrix(const BlockTile& tile, const BlockRow* x, int64_t tokens, float* const* out, int64_t first,
                         bool accumulate) {
    all_block_rows<Nvfp4Dot>(tile, x, tokens, out, first, accumulate);
}

// Columns [first, first + count) of a row, whole runs, as the codec defines them.
inline void decode_nvfp4_blocks(const WeightView& w, int64_t row, int64_t first, int64_t count, float* out) {
    alignas(64) uint8_t codes[kNvfp4Columns];
    const float factor = nvfp4_factor(w);
    const int64_t end = first + count;
    for (int64_t b = first / kNvfp4Columns; b * kNvfp4Columns < end; ++b) {
        const std::byte* block = w.data + (row * (w.columns / kNvfp4Columns) + b) * kNvfp4Bytes;
        unrolled<kNvfp4Vectors>(
            [&]<int kVector>() { istore(codes + kVector * kVectorBytes, nvfp4_codes<kVector>(block)); });
        const int64_t start = b * kNvfp4Columns;
        const int64_t from = first > start ? first - start : 0, to = smaller<int64_t>(kNvfp4Columns, end - start);
        for (int64_t i = from; i < to; i += kLanes, out += kLanes) {
            const F scale = set1(half_nvfp4_scale(block, static_cast<int>(i / kPartColumns)));
            store(out, mul(mul(sub(load_u8(codes + i), set1(Nvfp4Codes::kCenter)), scale), set1(factor)));
        }
    }
}

// Dword i of run `run` of a vector of rows in tiles, and the scales of run kRun.
inline I nvfp4_tile_codes(const std::byte* block, int run, int i) {
    const I packed = tile_dword(block, 1 + 2 * run + i % 2);
    return look_up(kE2m1Table, i < 2 ? low_nibbles(packed) : high_nibbles(packed));
}
template <int kRun>
inline F nvfp4_scales_of_tile(const std::byte* block, F factor) {
    const I code = iand(shift_right<8 * kRun>(tile_dword(block, 0)), set1_i32(127));
    const F tiny = as_float(shift_left<20>(code)), scale = mul(tiny, set1(0x1p119F));
    return mul(select_less(tiny, set1(480 * 0x1p-120F), scale, zero()), factor);
}

struct Nvfp4TiledBlocks {
    static constexpr int kStreams = 1;
    F factor;

    explicit Nvfp4TiledBlocks(const WeightView& w) : factor(set1(nvfp4_factor(w))) {}

    void add(TileInTurn* tiles, int count, const BlockRow& x, int64_t b) const {
        for (int s = 0; s < count; ++s) add_tile(tiles[s], x, b);
    }

  private:
    void add_tile(TileInTurn& tile, const BlockRow& x, int64_t b) const {
        using Shape = RunShapeOf<Nvfp4Codes, kPartColumns>;
        for (int line = 0; line < kNvfp4Bytes / kTileDwordBytes; ++line) prefetch(tile.ahead + line * kLineBytes);
        unrolled<kNvfp4Runs>([&]<int kRun>() {
            const int64_t run = b * kNvfp4Runs + kRun;
            I sums[kRowVectors];
#pragma GCC unroll 4
            for (int i = 0; i < kPartColumns / 4; ++i) {
                const I values = broadcast4(x.values + run * kPartColumns + 4 * i);
#pragma GCC unroll 4
                for (int v = 0; v < kRowVectors; ++v) {
                    sums[v] = run_products<Shape>(i == 0 ? izero() : sums[v],
                                                  nvfp4_tile_codes(tile.at[v].dwords, kRun, i), values);
                }
            }
#pragma GCC unroll 4
            for (int v = 0; v < kRowVectors; ++v) {
                const I sum = kWordRuns ? add_run(izero(), sums[v], set1_i32(0x00010001)) : sums[v];
                tile.acc[v] =
                    add_nvfp4_run(tile.acc[v], nvfp4_scales_of_tile<kRun>(tile.at[v].dwords, factor), sum, x, run);
            }
        });
    }
};

inline void nvfp4_tiled_vector(const WeightView& w, const BlockRow& x, float* out, bool accumulate,
                               const WeightView* next) {
    tiled_vector_of_blocks<Nvfp4TiledBlocks, kNvfp4Columns, kNvfp4Bytes>(w, x, out, accumulate, next);
}

inline void nvfp4_pack_tiles(const WeightView& w, BlockTile& tile) {
    using Rows = TiledRows<kNvfp4Columns, kNvfp4Bytes>;
    const F factor = set1(nvfp4_factor(w));
    for_tiled_vectors<Rows>(w, [&](const Rows& rows, int v) {
        for (int64_t b = 0; b < w.columns / kNvfp4Columns; ++b) {
            const std::byte* block = rows.at(b).dwords;
            unrolled<kNvfp4Runs>([&]<int kRun>() {
                const int64_t run = b * kNvfp4Runs + kRun;
                store(nvfp4_tile_scales(tile, run, v), nvfp4_scales_of_tile<kRun>(block, factor));
                for (int i = 0; i < kPartColumns / 4; ++i) {
                    istore(tile_values(tile, run * kPartColumns / 4 + i, v), nvfp4_tile_codes(block, kRun, i));
                }
            });
        }
    });
}

inline void nvfp4_pack(const WeightView& w, BlockTile& tile) {
    static_assert(BlockTile::kFactorColumns / kPartColumns <= BlockTile::kFactorWords);
    describe_block_tile<Nvfp4Codes>(w, tile);
    if constexpr (kReadsTiles) {
        if (w.tiled) return nvfp4_pack_tiles(w, tile);
    }
    nvfp4_pack_rows(w, tile);
}

constexpr BlockKernels kNvfp4Kernels = {
    .group = kPlainBlock,
    .minima = Nvfp4Codes::kMinima,
    .vector = nvfp4_vector,
    .pack = nvfp4_pack,
    .matrix = nvfp4_matrix,
    .tiled_vector = kReadsTiles ? nvfp4_tiled_vector : nullptr,
    .vector_tokens = kReadsTiles ? (kWordRuns ? 8 : 3) : 0,
};

}  // namespace
}  // namespace sluice
