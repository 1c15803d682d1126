// Affine weights times int8 activations with AMX: one instruction multiplies kAmxColumns columns of sixteen rows of a
// weight with sixteen rows of activations. Groups are added as in affine.inl.h, so that not a bit differs from the
// other kernels.

#include "backend/cpu/isa/simd_avx512.h"
// The vector type must be known first.
#include "backend/cpu/isa/affine_tile.inl.h"
#include "base/amx_configuration.h"

namespace sluice {
namespace {

static_assert(kLanes == kAmxTokens && kVectorBytes == kAmxColumns);
static_assert(kAmxConfiguration.rows[0] == kAmxTokens && kAmxConfiguration.row_bytes[0] == kAmxColumns);
// A block of activations, and a row vector of a tile: what a tile register holds.
constexpr int64_t kRegisterBytes = kAmxTokens * kAmxColumns;

// Where kAmxColumns columns lie in a row of int8 activations: in two halves for 4 bits, whose even columns come before
// the odd ones of a unit of 128.
struct HalfColumns {
    int64_t first, second;

    HalfColumns(int bits, int64_t index)
        : first(bits == 4 ? index / 2 * 128 + index % 2 * 32 : index * kAmxColumns),
          second(first + (bits == 4 ? 64 : 32)) {}
};

void gather_block(const QuantizedRow* x, int64_t count, int bits, const AmxActivations& out, int64_t block) {
    int8_t* values = out.values + block * kAmxTokens * out.columns;
    for (int64_t i = 0; i < out.columns / kAmxColumns; ++i) {
        const HalfColumns columns(bits, i);
        for (int64_t t = 0; t < kAmxTokens; ++t, values += kAmxColumns) {
            const int8_t* from = x[smaller(t, count - 1)].values;
            __builtin_memcpy(values, from + columns.first, kAmxColumns / 2);
            __builtin_memcpy(values + kAmxColumns / 2, from + columns.second, kAmxColumns / 2);
        }
    }
    float* scales = out.scales + block * kAmxTokens * out.groups;
    float* sums = out.sums + block * kAmxTokens * out.groups;
    for (int64_t g = 0; g < out.groups; ++g) {
        for (int64_t t = 0; t < kAmxTokens; ++t) {
            const QuantizedRow& row = x[smaller(t, count - 1)];
            *scales++ = row.scales[g];
            *sums++ = row.sums[g];
        }
    }
}

void amx_gather(const QuantizedRow* x, int bits, int group, AmxActivations& out) {
    out.groups = out.columns / group;
    for (int64_t block = 0; block < out.blocks(); ++block) {
        const int64_t first = block * kAmxTokens;
        gather_block(x + first, smaller(kAmxTokens, out.tokens - first), bits, out, block);
    }
}

// To [row vector, columns / kAmxColumns, dword, row], the columns of a register in the order of gather_block.
void amx_pack(const WeightView& weight, AffineTile& tile) {
    describe_tile(weight, tile);
    const int64_t registers = weight.columns / kAmxColumns;
    const auto at = [&](int v, int64_t index) { return tile.values + (v * registers + index) * kRegisterBytes; };
    if (weight.format.bits == 8) {
        turn_rows<8>(weight, tile, [&](int v, int64_t unit, const I(&lines)[kLanes]) {
            for (int i = 0; i < kLanes; ++i) istore(at(v, unit) + i * kVectorBytes, lines[i]);
        });
        return;
    }
    turn_rows<4>(weight, tile, [&](int v, int64_t unit, const I(&lines)[kLanes]) {
        constexpr int kHalf = kLanes / 2;
        for (int half = 0; half < 2 && 2 * unit + half < registers; ++half) {
            std::byte* out = at(v, 2 * unit + half);
            for (int i = 0; i < kHalf; ++i) {
                istore(out + i * kVectorBytes, low_nibbles(lines[half * kHalf + i]));
                istore(out + (kHalf + i) * kVectorBytes, high_nibbles(lines[half * kHalf + i]));
            }
        }
    });
}

// A group's products. The compiler wants the numbers of registers written out, and two sets of them let one group start
// before the last one is stored.
template <int kRegisters, bool kOdd>
inline void multiply_group(const int8_t* x, const std::byte* w, int32_t* sums) {
    if constexpr (kOdd) {
        _tile_zero(1);
    } else {
        _tile_zero(0);
    }
    for (int i = 0; i < kRegisters; ++i, x += kRegisterBytes, w += kRegisterBytes) {
        if constexpr (kOdd) {
            _tile_loadd(4, x, kAmxColumns);
            _tile_loadd(5, w, kAmxColumns);
            _tile_dpbsud(1, 4, 5);
        } else {
            _tile_loadd(2, x, kAmxColumns);
            _tile_loadd(3, w, kAmxColumns);
            _tile_dpbsud(0, 2, 3);
        }
    }
    if constexpr (kOdd) {
        _tile_stored(1, sums, kVectorBytes);
    } else {
        _tile_stored(0, sums, kVectorBytes);
    }
}

// Row vector v of the tile times a block of activations. Sums are read one group late: what was just stored from a tile
// register is slow to come back.
template <int kRegisters>
inline void multiply_block(const AffineTile& tile, int v, const AmxActivations& x, int64_t block, float* const* out,
                           int64_t first, bool accumulate, Stream& ahead) {
    const int64_t groups = tile.columns / tile.group, step = kRegisters * kRegisterBytes;
    const int8_t* values = x.values + block * kAmxTokens * x.columns;
    const std::byte* weights = tile.values + v * kLanes * tile.columns;
    const float* scales = x.scales + block * kAmxTokens * x.groups;
    const float* x_sums = x.sums + block * kAmxTokens * x.groups;
    alignas(64) int32_t sums[2][kAmxTokens][kLanes];
    F acc[kAmxTokens];
#pragma GCC unroll 16
    for (int t = 0; t < kAmxTokens; ++t) acc[t] = zero();
    const auto multiply = [&](int64_t g) {
        if (g % 2 == 0) {
            multiply_group<kRegisters, false>(values + g * step, weights + g * step, sums[0][0]);
        } else {
            multiply_group<kRegisters, true>(values + g * step, weights + g * step, sums[1][0]);
        }
    };
    multiply(0);
    for (int64_t g = 0; g < groups; ++g) {
        ahead.advance();
        if (g + 1 < groups) multiply(g + 1);
        const F scale = load(tile.scales + (g * kTileVectors + v) * kLanes);
        const F zero_point = load(tile.zero_points + (g * kTileVectors + v) * kLanes);
#pragma GCC unroll 16
        for (int t = 0; t < kAmxTokens; ++t) {
            acc[t] = add_group(acc[t], scale, zero_point, iload(sums[g % 2][t]), scales[g * kAmxTokens + t],
                               x_sums[g * kAmxTokens + t]);
        }
    }
    const int64_t done = block * kAmxTokens;
    for (int t = 0; t < smaller(kAmxTokens, x.tokens - done); ++t)
        store_tile_rows(tile, v, acc[t], out[done + t] + first, accumulate);
}

void amx_matrix(const AffineTile& tile, const AmxActivations& x, float* const* out, int64_t first, bool accumulate,
                const WeightView* next) {
    Stream ahead = stream_of(next, x.blocks() * kTileVectors * (tile.columns / tile.group));
    _tile_loadconfig(&kAmxConfiguration);
    for (int64_t block = 0; block < x.blocks(); ++block) {
        for (int v = 0; v * kLanes < tile.rows; ++v) {
            if (tile.group == kAmxColumns) {
                multiply_block<1>(tile, v, x, block, out, first, accumulate, ahead);
            } else {
                multiply_block<2>(tile, v, x, block, out, first, accumulate, ahead);
            }
        }
    }
    _tile_release();
}

}  // namespace

const AmxKernels& amx_linear() {
    static constexpr AmxKernels kTable = {amx_gather, amx_pack, amx_matrix};
    return kTable;
}

}  // namespace sluice
