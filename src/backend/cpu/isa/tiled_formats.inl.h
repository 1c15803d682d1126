#pragma once

// GGUF's formats in tiles (tensor/row_tiles.h), as the kernel in tiled_blocks.inl.h takes them: what it reads at a
// block are the same bytes of as many rows as a vector has lanes, the next four of them a line further on.

#include "backend/cpu/isa/factor_blocks.inl.h"
#include "tensor/row_tiles.h"

namespace sluice {
namespace {

constexpr int kTileLineBytes = kTileRows * kTileDwordBytes;

constexpr int32_t kSignBit = INT32_MIN;

inline I tile_dword(const std::byte* block, int dword) {
    return iload(block + dword * kTileLineBytes);
}

// Blocks of 256 columns with whole factors, a byte each, of runs of kColumns. kWordDwords dwords of codes at their
// largest, times activations, add up in words. The codes of runs run(k) and run(k + 1), for even k, share bytes.
template <typename Format, int kColumns, int kLargestCode>
struct TiledFormat {
    using Rows = Format;
    static constexpr int kRunDwords = kColumns / 4, kRuns = kHalf / kColumns;
    static constexpr int kWordProducts = 32767 / (kLargestCode * 127);
    static constexpr int kWordDwords = kWordProducts >= 2 * kRunDwords ? kRunDwords
                                       : kWordProducts >= 8            ? 4
                                       : kWordProducts >= 4            ? 2
                                                                       : 1;
    static_assert(kWordProducts >= 2);
    static constexpr int kCenterBits = 0;

    static constexpr int run(int k) { return k; }
};

// Bytes of four runs, one after the other in a dword.
using RunBytes = I[kHalfRuns / 4];

template <typename Format, int kLargestCode>
struct PairedTiles : TiledFormat<Format, 32, kLargestCode> {
    template <int kIndex>
    static void factors(const std::byte* block, RunBytes& factors, RunBytes& minima) {
        const I first = tile_dword(block, 1), second = tile_dword(block, 2);
        if constexpr (kIndex == 0) {
            factors[0] = iand(first, set1_i8(63));
            minima[0] = iand(second, set1_i8(63));
        } else {
            const I third = tile_dword(block, 3);
            const auto upper = [](I v) { return iand(shift_right<2>(v), set1_i8(48)); };
            factors[0] = ior(low_nibbles(third), upper(first));
            minima[0] = ior(high_nibbles(third), upper(second));
        }
    }
    static F scales(const std::byte* block, const std::byte*) { return low_f16(tile_dword(block, 0)); }
    static F minimum_scales(const std::byte* block) {
        return as_float(ixor(as_int(high_f16(tile_dword(block, 0))), set1_i32(kSignBit)));
    }

    // Of run kRun of half kIndex, where the nibbles of a block begin with dword kFirst.
    template <int kFirst, int kIndex, int kRun>
    static I nibbles(const std::byte* block, int i) {
        const I packed = tile_dword(block, kFirst + 16 * kIndex + kRun / 2 * 8 + i);
        return kRun % 2 == 0 ? low_nibbles(packed) : high_nibbles(packed);
    }
};

// Bits of every byte, moved from place kFrom to place kTo.
template <int kFrom, int kTo>
inline I move_bits(I v, int mask) {
    if constexpr (kFrom < kTo) v = shift_left<kTo - kFrom>(v);
    if constexpr (kFrom > kTo) v = shift_right<kFrom - kTo>(v);
    return iand(v, set1_i8(mask));
}

struct Q4KTiles : PairedTiles<Q4K, 15> {
    template <int kIndex, int kRun>
    static I codes(const std::byte* block, int i) {
        return nibbles<4, kIndex, kRun>(block, i);
    }
};

struct Q5KTiles : PairedTiles<Q5K, 31> {
    template <int kIndex, int kRun>
    static I codes(const std::byte* block, int i) {
        const I upper = move_bits<4 * kIndex + kRun, 4>(tile_dword(block, 4 + i), 16);
        return ior(nibbles<12, kIndex, kRun>(block, i), upper);
    }
};

struct Q6KTiles : TiledFormat<Q6K, 16, 63> {
    static constexpr int kCenterBits = 5;

    static constexpr int run(int k) { return k % 2 * 4 + k / 2; }

    template <int kIndex>
    static void factors(const std::byte* block, RunBytes& factors, RunBytes&) {
        for (int i = 0; i < 2; ++i) factors[i] = tile_dword(block, 48 + 2 * kIndex + i);
    }
    static F scales(const std::byte*, const std::byte* words) { return load_f16(words); }

    template <int kIndex, int kRun>
    static I codes(const std::byte* block, int i) {
        constexpr int kQuarter = kRun / 2, kDword = kRun % 2 * 4;
        const I packed = tile_dword(block, 16 * kIndex + kQuarter % 2 * 8 + kDword + i);
        const I upper = move_bits<2 * kQuarter, 4>(tile_dword(block, 32 + 8 * kIndex + kDword + i), 48);
        return ior(kQuarter < 2 ? low_nibbles(packed) : high_nibbles(packed), upper);
    }
};

}  // namespace
}  // namespace sluice
