// Products of BF16 with AMX, for one row of activations as for many: an instruction multiplies 32 columns of sixteen
// rows of a weight with one or with sixteen rows of activations, the even columns and the odd ones in a chain of sums
// each, and adds both chains to what the columns before gave. The processor's vectors have another order, so no row may
// meet them.

#include "backend/cpu/isa/simd_avx512.h"
// The vector type must be known first.
#include "backend/cpu/isa/bf16_rows.inl.h"
#include "base/amx_configuration.h"

namespace sluice {
namespace {

constexpr int64_t kHalfRows = kBf16TileRows / 2;  // those of one register
constexpr int64_t kStepColumns = 32;              // those of one instruction
static_assert(kHalfRows == kLanes && kAmxTokens == kLanes && kPairUnit % kStepColumns == 0);

// For one row of activations: sums in registers 0 and 1, weights in 2 and 3, activations in 4. A register of four bytes
// a row takes activations where they lie.
constexpr AmxConfiguration one_token_configuration() {
    AmxConfiguration configuration;
    for (const int narrow : {0, 1, 4}) configuration.row_bytes[narrow] = 4;
    return configuration;
}
constexpr AmxConfiguration kOneTokenConfiguration = one_token_configuration();

// Keeps what fills a buffer on its side of the tile loads: GCC does not know that these read memory.
inline void order_tile_loads(const uint16_t* buffer) {
    asm volatile("" : : "r"(buffer) : "memory");
}

inline void add_to_rows(F sums, int64_t rows, float* out, bool accumulate) {
    if (rows <= 0) return;
    const int count = static_cast<int>(smaller<int64_t>(rows, kLanes));
    store_n(out, accumulate ? add(load_n(out, count), sums) : sums, count);
}

// Adds `columns` columns of kBf16TileRows rows of a weight, `stride` bytes from row to row. prefetch_step(i) is called
// on the way.
template <typename PrefetchStep>
inline void add_columns(const std::byte* w, int64_t stride, const uint16_t* x, int64_t columns,
                        PrefetchStep&& prefetch_step) {
    for (int64_t i = 0; i < columns; i += kStepColumns, w += kVectorBytes) {
        prefetch_step(i);
        _tile_loadd(4, x + i, 4);
        _tile_loadd(2, w, stride);
        _tile_dpbf16ps(0, 2, 4);
        _tile_loadd(3, w + kHalfRows * stride, stride);
        _tile_dpbf16ps(1, 3, 4);
    }
}

// Rows [row, row + kBf16TileRows) of a weight times x; those that it lacks are the last one again. Goes through a
// buffer in the first cache, but for whole rows of BF16.
template <typename Codec>
inline void multiply_row_block(const WeightView& w, int64_t row, const Codec& codec, const uint16_t* x,
                               float (&sums)[kBf16TileRows]) {
    constexpr int64_t kPartColumns = 4 * kPairUnit, kPartStride = kPartColumns + kPairUnit / 2;
    alignas(64) uint16_t part[kBf16TileRows * kPartStride];
    const int64_t row_bytes = w.columns * Codec::kBits / 8;
    const bool all_rows = row + kBf16TileRows <= w.rows;
    _tile_zero(0);
    _tile_zero(1);
    for (int64_t first = 0; first < w.columns; first += kPartColumns) {
        const int64_t last = smaller(first + kPartColumns, w.columns), at = first * Codec::kBits / 8;
        // From here to the part that comes next: of these rows, or of the ones below.
        const int64_t ahead = last < w.columns ? kPartColumns * Codec::kBits / 8 : kBf16TileRows * row_bytes - at;
        if (Codec::kBits == 16 && all_rows && (last - first) % kPairUnit == 0) {
            const std::byte* from = w.data + row * row_bytes + at;
            add_columns(from, row_bytes, x + first, last - first, [&](int64_t i) {
                for (int64_t r = 0; r < kBf16TileRows; ++r) prefetch(from + r * row_bytes + ahead + 2 * i);
            });
            continue;
        }
        for (int64_t r = 0; r < kBf16TileRows; r += kPairRows) {
            unpack_columns(codec, CodeRows<Codec>(w, row + r), first, last, ahead, part + r * kPartStride, kPartStride);
        }
        order_tile_loads(part);
        add_columns(reinterpret_cast<const std::byte*>(part), 2 * kPartStride, x + first,
                    whole_bf16_units(last - first), [](int64_t) {});
        order_tile_loads(part);
    }
    _tile_stored(0, sums, 4);
    _tile_stored(1, sums + kHalfRows, 4);
}

void amx_vector(const WeightView& w, const uint16_t* x, float* out, bool accumulate) {
    _tile_loadconfig(&kOneTokenConfiguration);
    with_codec(w.format, [&](const auto& codec) {
        for (int64_t row = 0; row < w.rows; row += kBf16TileRows) {
            alignas(64) float sums[kBf16TileRows];
            multiply_row_block(w, row, codec, x, sums);
            for (int64_t r = 0; r < kBf16TileRows; r += kLanes)
                add_to_rows(load(sums + r), w.rows - row - r, out + row + r, accumulate);
        }
    });
    _tile_release();
}

void amx_gather(const Bf16Activations& x, int64_t columns) {
    uint16_t* out = x.blocks;
    for (int64_t token = 0; token < x.tokens; token += kAmxTokens) {
        const std::byte* rows[kLanes];
        for (int64_t t = 0; t < kLanes; ++t)
            rows[t] = reinterpret_cast<const std::byte*>(x.rows[smaller(token + t, x.tokens - 1)]);
        for (int64_t i = 0; i < whole_bf16_units(columns); i += kStepColumns) {
            I pairs[kLanes];
            load_transposed(rows, 2 * i, pairs);
            for (const I pair : pairs) {
                istore(out, pair);
                out += 2 * kAmxTokens;
            }
        }
    }
}

// A register of sums: rows of the tile times tokens.
using Sums = float[kHalfRows][kAmxTokens];

// The tile times one or two blocks of activations: sums[2 b + h] are those of block b and half h of its rows.
template <int kBlocks>
inline void multiply_blocks(const Bf16Tile& tile, const uint16_t* x, Sums (&sums)[4]) {
    const uint16_t *upper = tile.values, *lower = tile.values + kHalfRows * tile.stride;
    const uint16_t* second = x + tile.columns * kAmxTokens;
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (kBlocks == 2) {
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t i = 0; i < tile.columns; i += kStepColumns) {
        _tile_loadd(4, upper + i, 2 * tile.stride);
        _tile_loadd(5, lower + i, 2 * tile.stride);
        _tile_loadd(6, x + i * kAmxTokens, kVectorBytes);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 5, 6);
        if constexpr (kBlocks == 2) {
            _tile_loadd(7, second + i * kAmxTokens, kVectorBytes);
            _tile_dpbf16ps(2, 4, 7);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, sums[0], kVectorBytes);
    _tile_stored(1, sums[1], kVectorBytes);
    if constexpr (kBlocks == 2) {
        _tile_stored(2, sums[2], kVectorBytes);
        _tile_stored(3, sums[3], kVectorBytes);
    }
}

// Sums of `rows` rows, at most those of a register, to out[t] + first.
inline void store_register(const Sums& sums, int64_t rows, int64_t tokens, float* const* out, int64_t first,
                           bool accumulate) {
    const std::byte* lines[kLanes];
    for (int r = 0; r < kLanes; ++r) lines[r] = reinterpret_cast<const std::byte*>(sums[r]);
    I by_token[kLanes];
    load_transposed(lines, 0, by_token);
    for (int64_t t = 0; t < smaller(tokens, kAmxTokens); ++t)
        add_to_rows(as_float(by_token[t]), rows, out[t] + first, accumulate);
}

void amx_matrix(const Bf16Tile& tile, const Bf16Activations& x, float* const* out, int64_t first, bool accumulate) {
    alignas(64) Sums sums[4];
    _tile_loadconfig(&kAmxConfiguration);
    for (int64_t token = 0; token < x.tokens; token += 2 * kAmxTokens) {
        const uint16_t* blocks = x.blocks + token * tile.columns;
        const int64_t left = x.tokens - token;
        if (left > kAmxTokens) {
            multiply_blocks<2>(tile, blocks, sums);
        } else {
            multiply_blocks<1>(tile, blocks, sums);
        }
        for (int64_t i = 0; i < (left > kAmxTokens ? 4 : 2); ++i) {
            const int64_t row = i % 2 * kHalfRows, done = i / 2 * kAmxTokens;
            store_register(sums[i], tile.rows - row, left - done, out + token + done, first + row, accumulate);
        }
    }
    _tile_release();
}

}  // namespace

const Bf16Kernels& amxbf16_linear() {
    static constexpr Bf16Kernels kTable = {
        round_to_bf16, round_scaled_to_bf16, amx_vector, bf16_pack<kBf16TileRows>, amx_gather, amx_matrix};
    return kTable;
}

}  // namespace sluice
