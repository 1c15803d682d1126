#pragma once

// What the formats of GGUF's blocks have in common: how their codes become vectors of unsigned bytes, in the order of
// the columns. A format says where every 16 columns, a 128-bit part of a vector, find their bits.

#include <cstddef>
#include <cstdint>
#include <utility>

#include "backend/cpu/isa/affine.inl.h"
#include "backend/cpu/kernels.h"
#include "tensor/float_types.h"

namespace sluice {
namespace {

constexpr int kPartColumns = 16;
constexpr int kVectorParts = kVectorBytes / kPartColumns;

// function.template operator()<i>() for i from 0 to kCount - 1.
template <int kCount, typename Function>
inline void unrolled(Function&& function) {
    [&]<int... kIndices>(std::integer_sequence<int, kIndices...>) {
        (function.template operator()<kIndices>(), ...);
    }
    (std::make_integer_sequence<int, kCount>());
}

// The bytes of 16 columns, and how far their bits must come down.
struct Piece {
    int offset, shift;
};

// Some bits of every code: Plane::piece(i) of the i-th 16 columns, of which kBits are put kPlace up.
template <typename Plane, int kFirst>
struct PlacedPieces {
    int offsets[kVectorParts] = {};
    alignas(64) int32_t shifts[kLanes] = {};
    bool shifted = false;

    constexpr PlacedPieces() {
        for (int part = 0; part < kVectorParts; ++part) {
            const Piece piece = Plane::piece(kFirst + part);
            offsets[part] = piece.offset;
            for (int lane = 0; lane < 4; ++lane) shifts[4 * part + lane] = piece.shift;
            shifted = shifted || piece.shift != 0;
        }
    }
};
template <typename Plane, int kFirst>
constexpr PlacedPieces<Plane, kFirst> kPieces{};

// The plane's bits of the kVector-th vector of a block.
template <typename Plane, int kVector>
inline I load_plane(const std::byte* block) {
    constexpr const auto& pieces = kPieces<Plane, kVector * kVectorParts>;
    I bits = load_parts(block, pieces.offsets);
    if constexpr (pieces.shifted) bits = shift_down(bits, iload(pieces.shifts));
    bits = iand(bits, set1_i8((1 << Plane::kBits) - 1));
    if constexpr (Plane::kPlace > 0) bits = shift_left<Plane::kPlace>(bits);
    return bits;
}

// 32 columns in 16 bytes, low nibbles first: kOffset bytes into blocks of kBytes, or into runs of a block.
template <int kOffset, int kBytes>
struct HalfNibbles {
    static constexpr int kBits = 4, kPlace = 0;
    static constexpr Piece piece(int i) { return {kOffset + i / 2 * kBytes, i % 2 * 4}; }
};

// Two bits of 128 columns in 32 bytes, those of 32 columns together.
template <int kOffset, int kUp = 0>
struct TwoBits {
    static constexpr int kBits = 2, kPlace = kUp;
    static constexpr Piece piece(int i) { return {kOffset + i / 8 * 32 + i % 2 * 16, i % 8 / 2 * 2}; }
};

// A bit of 256 columns in 32 bytes, likewise.
template <int kOffset, int kUp>
struct OneBit {
    static constexpr int kBits = 1, kPlace = kUp;
    static constexpr Piece piece(int i) { return {kOffset + i % 2 * 16, i / 2}; }
};

// The numbers that nibbles stand for, as unsigned bytes.
struct NibbleTable {
    alignas(16) uint8_t values[16];
};
inline I look_up(const NibbleTable& table, I nibbles) {
    return shuffle_bytes(broadcast16(table.values), nibbles);
}

// The sums of the lanes of `rows[r]`, by row in lanes; of a part of kParts of the vector each.
template <int kParts>
[[gnu::always_inline]] inline void reduce_rows(const int32_t (&rows)[kLanes][kLanes], I (&out)[kParts]) {
    constexpr int kQuads = kLanes / 4, kQuadsPerPart = kQuads / kParts;
    I quads[kQuads];
#pragma GCC unroll 4
    for (int q = 0; q < kQuads; ++q) {
        quads[q] = reduce4(iload(rows[4 * q]), iload(rows[4 * q + 1]), iload(rows[4 * q + 2]), iload(rows[4 * q + 3]));
    }
    transpose_parts(quads);
#pragma GCC unroll 4
    for (int part = 0; part < kParts; ++part) {
        out[part] = quads[part * kQuadsPerPart];
#pragma GCC unroll 4
        for (int i = 1; i < kQuadsPerPart; ++i) out[part] = iadd(out[part], quads[part * kQuadsPerPart + i]);
    }
}

// Where row vector v of a tile's dword is.
inline std::byte* tile_values(const BlockTile& tile, int64_t dword, int v) {
    return tile.values + (dword * kTileVectors + v) * kVectorBytes;
}

// To row vector v of dword `column` / 4 of a tile, dword i of every line for i below kLanes.
inline void store_turned(BlockTile& tile, int v, int64_t column, const I (&lines)[kLanes]) {
    for (int i = 0; i < kLanes; ++i) istore(tile_values(tile, column / 4 + i, v), lines[i]);
}

// Where row vector v of factor `word` of group `group` is, groups of `words` words a row.
inline int32_t* tile_factors(const BlockTile& tile, int64_t group, int words, int word, int v) {
    return tile.factors + ((group * words + word) * kTileVectors + v) * kLanes;
}
inline float* tile_floats(const BlockTile& tile, int64_t group, int words, int word, int v) {
    return reinterpret_cast<float*>(tile_factors(tile, group, words, word, v));
}

// How runs of columns that share a factor are multiplied: kDwords dwords at a time are added up, in words where
// kWordRuns says so, before they meet it. Codes of eight bits are wide.
// Signed codes give their signs to x.
template <int kDwordsAtOnce, bool kWideCodes, bool kWithSigns>
struct RunShape {
    static constexpr int kDwords = kDwordsAtOnce;
    static constexpr bool kWide = kWideCodes, kSigned = kWithSigns;
};

// Whether codes of eight bits meet x less their center, so that nothing is to be taken away from the products.
template <typename Format>
constexpr bool kCentered = Format::kWide&& kWordRuns;

// Whether codes stand in packed tiles with their signs, so that words hold more of their products: Format::kMagnitude
// is the largest of them, 0 where that does not pay.
template <typename Format>
constexpr bool kSignedCodes = kWordRuns&& Format::kMagnitude > 0;

template <typename Format>
constexpr int run_dwords(int columns) {
    int dwords = columns / 4;
    if (!kWordRuns) return dwords;
    if (Format::kWide) return 1;
    const int largest = kSignedCodes<Format> ? Format::kMagnitude : Format::kLargest;
    while (dwords > 1 && 2 * dwords * largest * 127 > 32767) dwords /= 2;
    return dwords;
}
template <typename Format, int kColumns>
using RunShapeOf = RunShape<run_dwords<Format>(kColumns), Format::kWide && kWideDiffers, kSignedCodes<Format>>;

template <typename Shape>
inline I run_products(I sum, I codes, I x) {
    if constexpr (Shape::kWide) return dot4<true>(sum, codes, x);
    if constexpr (Shape::kSigned) return add_signed_run_products(sum, codes, x);
    return add_run_products(sum, codes, x);
}

// totals += kDwords dwords of a tile's rows from `column` on, times those of kTokens rows and factor(v).
template <typename Shape, int kTokens, typename Factor>
inline void add_block_run(const BlockTile& tile, const int8_t* const (&x)[kTokens], int64_t column, Factor&& factor,
                          I (&totals)[kTileVectors][kTokens]) {
    const std::byte* w = tile_values(tile, column / 4, 0);
    I sums[kTileVectors][kTokens];
#pragma GCC unroll 8
    for (int i = 0; i < Shape::kDwords; ++i, w += kTileVectors * kVectorBytes) {
        I weights[kTileVectors];
#pragma GCC unroll 4
        for (int v = 0; v < kTileVectors; ++v) weights[v] = iload(w + v * kVectorBytes);
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) {
            const I values = broadcast4(x[t] + column + 4 * i);
#pragma GCC unroll 4
            for (int v = 0; v < kTileVectors; ++v) {
                if constexpr (kCentered<Shape>) {
                    totals[v][t] = add_signed_products(totals[v][t], weights[v], values, factor(v));
                } else {
                    sums[v][t] = run_products<Shape>(i == 0 ? izero() : sums[v][t], weights[v], values);
                }
            }
        }
    }
    if constexpr (kCentered<Shape>) return;
#pragma GCC unroll 4
    for (int v = 0; v < kTileVectors; ++v) {
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) totals[v][t] = add_run(totals[v][t], sums[v][t], factor(v));
    }
}

template <int kVectors, int kTokens, typename Vector>
inline void fill_sums(Vector value, Vector (&sums)[kVectors][kTokens]) {
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sums[v][t] = value;
    }
}

inline void store_block_rows(const BlockTile& tile, int v, F values, float* out, bool accumulate) {
    const int rows = smaller(kLanes, tile.rows - v * kLanes);
    if (rows <= 0) return;
    float* p = out + v * kLanes;
    store_some(p, accumulate ? add(load_some(p, rows), values) : values, rows);
}

template <int kTokens>
inline void store_block_sums(const BlockTile& tile, const F (&sums)[kTileVectors][kTokens], float* const* out,
                             int64_t first, bool accumulate) {
    for (int t = 0; t < kTokens; ++t) {
        for (int v = 0; v < kTileVectors; ++v) store_block_rows(tile, v, sums[v][t], out[t] + first, accumulate);
    }
}

template <typename Format>
inline void describe_block_tile(const WeightView& w, BlockTile& tile) {
    tile.columns = w.columns;
    tile.rows = static_cast<int>(w.rows);
    tile.minima = Format::kMinima;
    tile.center = kCentered<Format> ? 0 : Format::kCenter;
}

// Dot<kTokens>::run() for all rows of activations, as many at once as the registers hold.
template <template <int> typename Dot, int kTokens>
inline void few_block_rows(const BlockTile& tile, const BlockRow* x, int64_t count, float* const* out, int64_t first,
                           bool accumulate) {
    if (count == kTokens) return Dot<kTokens>::run(tile, x, out, first, accumulate);
    if constexpr (kTokens > 1) few_block_rows<Dot, kTokens - 1>(tile, x, count, out, first, accumulate);
}
template <template <int> typename Dot>
inline void all_block_rows(const BlockTile& tile, const BlockRow* x, int64_t tokens, float* const* out, int64_t first,
                           bool accumulate) {
    while (tokens > 0) {
        const int64_t count = rows_of_turn(tokens, kTileTokens);
        few_block_rows<Dot, kTileTokens>(tile, x, count, out, first, accumulate);
        tokens -= count;
        x += count;
        out += count;
    }
}

// What will be read some time after a block at hand: so much further on in the weight, or in the next one.
class ReadAhead {
  public:
    ReadAhead(const WeightView& w, int64_t row_bytes, const WeightView* next)
        : end_(w.data + w.rows * row_bytes), jump_(next != nullptr ? next->data - end_ : 0) {}

    const std::byte* after(const std::byte* block) const {
        const std::byte* p = block + kAheadBytes;
        return p >= end_ ? p + jump_ : p;
    }
    void prefetch_from(const std::byte* block, int64_t bytes) const {
        const std::byte* p = after(block);
        for (int64_t line = 0; line < bytes; line += kLineBytes) prefetch(p + line);
    }

  private:
    const std::byte* end_;
    std::ptrdiff_t jump_;
};

}  // namespace
}  // namespace sluice
