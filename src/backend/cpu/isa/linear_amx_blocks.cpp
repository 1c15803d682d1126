// GGUF's blocks times int8 activations with AMX: one instruction multiplies kAmxColumns columns of sixteen rows of a
// weight with sixteen rows of activations. Whole numbers are added up as everywhere, so that not a bit differs from the
// other kernels.

#include "backend/cpu/isa/simd_avx512.h"
// The vector type must be known first.
#include "backend/cpu/isa/block_planes.inl.h"
#include "base/amx_configuration.h"

namespace sluice {
namespace {

constexpr int64_t kRegisterBytes = kAmxTokens * kAmxColumns;

// Registers of half the columns, for blocks of 32: 4 and 6 hold activations, 5 and 7 weights.
constexpr AmxConfiguration half_registers() {
    AmxConfiguration configuration;
    configuration.row_bytes[4] = configuration.row_bytes[6] = kPlainBlock;
    configuration.rows[5] = configuration.rows[7] = kPlainBlock / 4;
    return configuration;
}
constexpr AmxConfiguration kHalfRegisters = half_registers();

void gather_block(const BlockRow* x, int64_t count, AmxBlockActivations& out, int64_t block) {
    int8_t* values = out.values + block * kAmxTokens * out.whole_columns();
    for (int64_t column = 0; column < out.whole_columns(); column += kAmxColumns) {
        for (int64_t t = 0; t < kAmxTokens; ++t, values += kAmxColumns) {
            istore(values, iload(x[smaller(t, count - 1)].values + column));
        }
    }
    const int64_t groups = out.groups(), halves = out.halves();
    for (int64_t t = 0; t < kAmxTokens; ++t) {
        const BlockRow& row = x[smaller(t, count - 1)];
        for (int64_t g = 0; g < groups; ++g) out.scales[(block * groups + g) * kAmxTokens + t] = row.scales[g];
        for (int64_t half = 0; half < halves; ++half) {
            const int64_t there = smaller<int64_t>(kHalfRuns, out.columns / kPartColumns - half * kHalfRuns);
            __builtin_memcpy(out.sums + ((block * halves + half) * kAmxTokens + t) * kHalfRuns,
                             row.sums + half * kHalfRuns, static_cast<size_t>(there) * sizeof(int16_t));
        }
    }
}

void gather(const BlockRow* x, AmxBlockActivations& out) {
    for (int64_t block = 0; block < amx_blocks(out.tokens); ++block) {
        const int64_t first = block * kAmxTokens;
        gather_block(x + first, smaller(kAmxTokens, out.tokens - first), out, block);
    }
}

// A half's products, a sum per plane. Two sets of registers let one half start before the last one is stored.
template <int kPlanes, bool kOdd>
inline void multiply_half(const int8_t* x, const std::byte* w, int32_t* sums) {
    if constexpr (kOdd) {
        _tile_zero(2);
        if constexpr (kPlanes == 2) _tile_zero(3);
    } else {
        _tile_zero(0);
        if constexpr (kPlanes == 2) _tile_zero(1);
    }
#pragma GCC unroll 2
    for (int i = 0; i < kHalf / kAmxColumns; ++i, x += kRegisterBytes, w += kPlanes * kRegisterBytes) {
        _tile_loadd(4, x, kAmxColumns);
        _tile_loadd(5, w, kVectorBytes);
        if constexpr (kOdd) {
            _tile_dpbssd(2, 4, 5);
        } else {
            _tile_dpbssd(0, 4, 5);
        }
        if constexpr (kPlanes == 2) {
            _tile_loadd(6, w + kRegisterBytes, kVectorBytes);
            if constexpr (kOdd) {
                _tile_dpbssd(3, 4, 6);
            } else {
                _tile_dpbssd(1, 4, 6);
            }
        }
    }
    constexpr int kSums = kAmxTokens * kLanes;
    if constexpr (kOdd) {
        _tile_stored(2, sums, kVectorBytes);
        if constexpr (kPlanes == 2) _tile_stored(3, sums + kSums, kVectorBytes);
    } else {
        _tile_stored(0, sums, kVectorBytes);
        if constexpr (kPlanes == 2) _tile_stored(1, sums + kSums, kVectorBytes);
    }
}

// A block's products.
template <bool kOdd>
inline void multiply_plain(const int8_t* x, const std::byte* w, int32_t* sums) {
    if constexpr (kOdd) {
        _tile_zero(1);
        _tile_loadd(6, x, kAmxColumns);
        _tile_loadd(7, w, kVectorBytes);
        _tile_dpbssd(1, 6, 7);
        _tile_stored(1, sums, kVectorBytes);
    } else {
        _tile_zero(0);
        _tile_loadd(4, x, kAmxColumns);
        _tile_loadd(5, w, kVectorBytes);
        _tile_dpbssd(0, 4, 5);
        _tile_stored(0, sums, kVectorBytes);
    }
}

// acc[t] over `groups` groups: multiply(g, sums) and, one group later, since what was just stored from a tile register
// is slow to come back, add(g, sums).
template <int kPlanes, typename Multiply, typename Add>
inline void for_groups(int64_t groups, Multiply&& multiply, Add&& add_sums) {
    alignas(64) int32_t sums[2][kPlanes][kAmxTokens][kLanes];
    multiply(0, sums[0][0][0]);
    for (int64_t g = 0; g < groups; ++g) {
        if (g + 1 < groups) multiply(g + 1, sums[(g + 1) % 2][0][0]);
        add_sums(g, sums[g % 2]);
    }
}

// Row vector v of a tile times a block of activations.
struct TileBlock {
    const BlockTile& tile;
    const AmxBlockActivations& x;
    int v;
    int64_t block;
    float* const* out;
    int64_t first;
    bool accumulate;

    const int8_t* values() const { return x.values + block * kAmxTokens * x.whole_columns(); }
    const float* scales(int64_t group) const { return x.scales + (block * x.groups() + group) * kAmxTokens; }
    const int16_t* sums(int64_t half) const { return x.sums + (block * x.halves() + half) * kAmxTokens * kHalfRuns; }

    void store_all(const F (&acc)[kAmxTokens]) const {
        const int64_t done = block * kAmxTokens;
        for (int t = 0; t < smaller(kAmxTokens, x.tokens - done); ++t) {
            store_block_rows(tile, v, acc[t], out[done + t] + first, accumulate);
        }
    }
};

template <bool kMinima, int kPlanes>
inline void factor_block(const TileBlock& at) {
    const int8_t* values = at.values();
    const std::byte* weights = plane_register(at.tile, kPlanes, at.v, 0, 0);
    constexpr int64_t kStep = kHalf / kAmxColumns * kRegisterBytes;
    F acc[kAmxTokens];
#pragma GCC unroll 16
    for (int t = 0; t < kAmxTokens; ++t) acc[t] = zero();
    const auto multiply = [&](int64_t half, int32_t* sums) {
        if (half % 2 == 0) {
            multiply_half<kPlanes, false>(values + half * kStep, weights + half * kPlanes * kStep, sums);
        } else {
            multiply_half<kPlanes, true>(values + half * kStep, weights + half * kPlanes * kStep, sums);
        }
    };
    const auto add_sums = [&](int64_t half, const int32_t(&sums)[kPlanes][kAmxTokens][kLanes]) {
        const float* scales = at.scales(half);
        const int16_t* run_sums = at.sums(half);
        I pairs[kHalfRuns / 2];
        for (int i = 0; i < kHalfRuns / 2; ++i) {
            pairs[i] = iload(tile_factors(at.tile, half, kHalfWords, kMinimaWord + i, at.v));
        }
#pragma GCC unroll 16
        for (int t = 0; t < kAmxTokens; ++t) {
            I total = iload(sums[0][t]);
            if constexpr (kPlanes == 2) total = iadd(total, shift_left<7>(iload(sums[1][t])));
            I low = izero();
            if constexpr (kMinima) low = minima_sum([&](int i) { return pairs[i]; }, run_sums + t * kHalfRuns);
            acc[t] = add_half<kMinima>(acc[t], tile_floats(at.tile, half, kHalfWords, kScaleWord, at.v),
                                       tile_floats(at.tile, half, kHalfWords, kMinimumScaleWord, at.v), total, low,
                                       scales[t]);
        }
    };
    for_groups<kPlanes>(at.tile.columns / kHalf, multiply, add_sums);
    at.store_all(acc);
}

template <bool kMinima>
inline void plain_block(const TileBlock& at) {
    const int8_t* values = at.values();
    const std::byte* weights = plane_register(at.tile, 1, at.v, 0, 0);
    F acc[kAmxTokens];
#pragma GCC unroll 16
    for (int t = 0; t < kAmxTokens; ++t) acc[t] = zero();
    const auto multiply = [&](int64_t b, int32_t* sums) {
        const int8_t* x = values + b / 2 * kRegisterBytes;
        const std::byte* w = weights + b / 2 * kRegisterBytes;
        if (b % 2 == 0) {
            multiply_plain<false>(x, w, sums);
        } else {
            multiply_plain<true>(x + kPlainBlock, w + kRegisterBytes / 2, sums);
        }
    };
    const auto add_sums = [&](int64_t b, const int32_t(&sums)[1][kAmxTokens][kLanes]) {
        constexpr int kHalfBlocks = kHalf / kPlainBlock;
        const float* scales = at.scales(b);
        const int16_t* run_sums = at.sums(b / kHalfBlocks) + b % kHalfBlocks * 2;
#pragma GCC unroll 16
        for (int t = 0; t < kAmxTokens; ++t) {
            const int x_sum = run_sums[t * kHalfRuns] + run_sums[t * kHalfRuns + 1];
            if constexpr (kMinima) {
                acc[t] = add_minimum(acc[t], tile_floats(at.tile, b, kPlainWords, 1, at.v), scales[t], x_sum);
            }
            acc[t] = add_block(acc[t], load(tile_floats(at.tile, b, kPlainWords, 0, at.v)), 0, iload(sums[0][t]),
                               scales[t], x_sum);
        }
    };
    for_groups<1>(at.tile.columns / kPlainBlock, multiply, add_sums);
    at.store_all(acc);
}

void matrix(const BlockKernels& kernels, const BlockTile& tile, const AmxBlockActivations& x, float* const* out,
            int64_t first, bool accumulate) {
    const bool plain = kernels.group == kPlainBlock;
    void (*multiply)(const TileBlock&) = kernels.minima ? plain_block<true> : plain_block<false>;
    if (!plain && kernels.planes == 2) multiply = kernels.minima ? factor_block<true, 2> : factor_block<false, 2>;
    if (!plain && kernels.planes == 1) multiply = kernels.minima ? factor_block<true, 1> : factor_block<false, 1>;
    _tile_loadconfig(plain ? &kHalfRegisters : &kAmxConfiguration);
    for (int64_t block = 0; block < amx_blocks(x.tokens); ++block) {
        for (int v = 0; v * kLanes < tile.rows; ++v) {
            multiply(
                {.tile = tile, .x = x, .v = v, .block = block, .out = out, .first = first, .accumulate = accumulate});
        }
    }
    _tile_release();
}

}  // namespace

const AmxBlockKernels& amx_blocks_linear() {
    static constexpr AmxBlockKernels kTable = {gather, matrix};
    return kTable;
}

}  // namespace sluice
