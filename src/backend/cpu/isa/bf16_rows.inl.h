#pragma once

// Rows of weights that are exact in BF16, and of activations, as they meet in products of BF16. Needs AVX-512 BF16 and
// VBMI.

#include "backend/cpu/isa/bf16_codes.inl.h"
#include "backend/cpu/isa/decode.inl.h"
#include "backend/cpu/kernels.h"
#include "tensor/codecs.h"

namespace sluice {
namespace {

constexpr int kPairRows = 4;

// Rows of a weight, kPairRows of them; the last one again where there are fewer.
template <typename Codec>
struct CodeRows {
    const std::byte *data[kPairRows], *factors[kPairRows];
    int64_t row_bytes;

    CodeRows(const WeightView& w, int64_t row) : row_bytes(w.columns * Codec::kBits / 8) {
        const int64_t row_factors = w.columns * Codec::kFactorBytes / kPairUnit;
        for (int r = 0; r < kPairRows; ++r) {
            const int64_t at = smaller(row + r, w.rows - 1);
            data[r] = w.data + at * row_bytes;
            factors[r] = w.scales + at * row_factors;
        }
    }
};

template <typename Codec>
inline void read_whole(const Codec& codec, const std::byte* data, const std::byte* factors, int64_t column,
                       I (&out)[2]) {
    codec.read(data + column * Codec::kBits / 8, factors + column * Codec::kFactorBytes / kPairUnit, out);
}

// The `count` columns that are left of a row, and zeros; what is behind them is not read.
template <typename Codec>
inline void read_rest(const Codec& codec, const std::byte* data, const std::byte* factors, int64_t column,
                      int64_t count, I (&out)[2]) {
    alignas(64) std::byte codes[kPairUnit * Codec::kBits / 8 + kVectorBytes] = {}, scales[kVectorBytes] = {};
    __builtin_memcpy(codes, data + column * Codec::kBits / 8, static_cast<size_t>(count * Codec::kBits / 8));
    if constexpr (Codec::kFactorBytes > 0) {
        __builtin_memcpy(scales, factors + column * Codec::kFactorBytes / kPairUnit,
                         static_cast<size_t>(count * Codec::kFactorBytes / kPairUnit));
    }
    codec.read(codes, scales, out);
}

// The codes of a unit, to the second cache.
template <typename Codec>
inline void prefetch_unit(const std::byte* p) {
    prefetch(p);
    if constexpr (Codec::kBits == 16) prefetch(p + kLineBytes);
}

// The table of what reads a codec, or BF16, whose codec holds wider floats too.
template <const Codec& kStored, typename Reader>
struct Bf16Row {
    // Calls function(reader) where it is of this format.
    template <typename Function>
    static bool read(const WeightFormat& format, Function& function) {
        if (format.codec != &kStored) return false;
        function(Reader{});
        return true;
    }
};

template <typename... Rows>
struct Bf16Rows {
    template <typename Function>
    static void read(const WeightFormat& format, Function& function) {
        (Rows::read(format, function) || ...);
    }
};

using Bf16Table =
    Bf16Rows<Bf16Row<kFloatCodec, Bf16Codec>, Bf16Row<kFp8BlockCodec, E4m3Codec>, Bf16Row<kMxfp4Codec, Mxfp4Codec>,
             Bf16Row<kMxfp8Codec, Mxfp8Codec>, Bf16Row<kNvfp4Codec, Nvfp4Codec>>;

// Calls function(codec) with what reads this format.
template <typename Function>
inline void with_codec(const WeightFormat& format, Function&& function) {
    Bf16Table::read(format, function);
}

// Columns [first, last) of the rows to out, `stride` values from row to row, padded with zeros to whole units. What
// lies `ahead` bytes behind each is brought to the second cache.
template <typename Codec>
inline void unpack_columns(const Codec& codec, const CodeRows<Codec>& rows, int64_t first, int64_t last, int64_t ahead,
                           uint16_t* out, int64_t stride) {
    for (int r = 0; r < kPairRows; ++r, out += stride) {
        uint16_t* to = out;
        for (int64_t i = first; i < last; i += kPairUnit, to += kPairUnit) {
            prefetch_unit<Codec>(rows.data[r] + i * Codec::kBits / 8 + ahead);
            I pairs[2];
            if (i + kPairUnit <= last) {
                read_whole(codec, rows.data[r], rows.factors[r], i, pairs);
            } else {
                read_rest(codec, rows.data[r], rows.factors[r], i, last - i, pairs);
            }
            istore(to, pairs[0]);
            istore(to + kPairUnit / 2, pairs[1]);
        }
    }
}

// The tile's rows are filled up to a multiple of kWhole with the last one.
template <int kWhole>
inline void bf16_pack(const WeightView& w, Bf16Tile& tile) {
    static_assert(kWhole % kPairRows == 0 && kBf16TileRows % kWhole == 0);
    tile.columns = whole_bf16_units(w.columns);
    tile.stride = bf16_row_values(w.columns);
    tile.rows = w.rows;
    with_codec(w.format, [&]<typename Codec>(const Codec& codec) {
        const int64_t rows = (w.rows + kWhole - 1) / kWhole * kWhole;
        for (int64_t row = 0; row < rows; row += kPairRows) {
            unpack_columns(codec, CodeRows<Codec>(w, row), 0, w.columns, kAheadBytes, tile.values + row * tile.stride,
                           tile.stride);
        }
    });
}

// vector_at(i, n): n values from column i on, and zeros. Writes whole units.
template <typename Function>
inline void round_columns(int64_t count, uint16_t* out, Function&& vector_at) {
    const auto part = [&](int64_t i) {
        const int64_t n = smaller<int64_t>(count - i, kLanes);
        return n > 0 ? vector_at(i, static_cast<int>(n)) : zero();
    };
    for (int64_t i = 0; i < whole_bf16_units(count); i += 2 * kLanes)
        istore(out + i, reinterpret_cast<I>(_mm512_cvtne2ps_pbh(part(i + kLanes), part(i))));
}

inline void round_to_bf16(const float* x, int64_t count, uint16_t* out) {
    round_columns(count, out, [&](int64_t i, int n) { return load_some(x + i, n); });
}

inline void round_scaled_to_bf16(const WeightView& w, int64_t row, const float* x, uint16_t* out) {
    const int64_t width = w.format.group_size, blocks = (w.columns + width - 1) / width;
    const int64_t block_row = (w.block_row_offset + row) / w.format.group_rows;
    for (int64_t block = 0; block < blocks; ++block) {
        const int64_t first = block * width;
        const F factor = set1(load_scale(w.scales, w.format.dtype, block_row * blocks + block));
        round_columns(smaller(width, w.columns - first), out + first,
                      [&](int64_t i, int n) { return mul(load_some(x + first + i, n), factor); });
    }
}

}  // namespace
}  // namespace sluice
