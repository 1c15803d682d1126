#pragma once

// GGUF's formats in tiles (tensor/row_tiles.h), as the kernel in tiled_blocks.inl.h takes them: what it reads at a
// block are the same bytes of as many rows as a vector has lanes, the next four of them a line further on.

#include "backend/cpu/isa/factor_blocks.inl.h"
#include "backend/cpu/isa/plain_blocks.inl.h"
#include "tensor/row_tiles.h"

namespace sluice {
namespace {

constexpr int kTileLineBytes = kTileRows * kTileDwordBytes;

inline I tile_dword(const std::byte* block, int dword) {
    return iload(block + dword * kTileLineBytes);
}

inline F negative(F v) {
    return as_float(ixor(as_int(v), set1_i32(INT32_MIN)));
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

// Bits of every byte, moved from place kFrom to place kTo.
template <int kFrom, int kTo>
inline I move_bits(I v, int mask) {
    if constexpr (kFrom < kTo) v = shift_left<kTo - kFrom>(v);
    if constexpr (kFrom > kTo) v = shift_right<kFrom - kTo>(v);
    return iand(v, set1_i8(mask));
}

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
    static F minimum_scales(const std::byte* block) { return negative(high_f16(tile_dword(block, 0))); }

    // Of run kRun of half kIndex, where the nibbles of a block begin with dword kFirst.
    template <int kFirst, int kIndex, int kRun>
    static I nibbles(const std::byte* block, int i) {
        const I packed = tile_dword(block, kFirst + 16 * kIndex + kRun / 2 * 8 + i);
        return kRun % 2 == 0 ? low_nibbles(packed) : high_nibbles(packed);
    }
};

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

// Four pairs of bits for every dword of 128 columns: their runs, quarter by quarter, share a dword.
template <typename Format, int kLargestCode, int kFirst>
struct PairsOfBitsTiles : TiledFormat<Format, 16, kLargestCode> {
    static constexpr int run(int k) { return k % 4 * 2 + k / 4; }

    template <int kIndex, int kRun>
    static I pairs(const std::byte* block, int i) {
        return move_bits<kRun / 2 * 2, 0>(tile_dword(block, kFirst + 8 * kIndex + kRun % 2 * 4 + i), 3);
    }
};

struct Q2KTiles : PairsOfBitsTiles<Q2K, 3, 4> {
    template <int kIndex>
    static void factors(const std::byte* block, RunBytes& factors, RunBytes& minima) {
        for (int i = 0; i < 2; ++i) {
            const I both = tile_dword(block, 2 * kIndex + i);
            factors[i] = low_nibbles(both);
            minima[i] = high_nibbles(both);
        }
    }
    static F scales(const std::byte* block, const std::byte*) { return low_f16(tile_dword(block, 20)); }
    static F minimum_scales(const std::byte* block) { return negative(high_f16(tile_dword(block, 20))); }

    template <int kIndex, int kRun>
    static I codes(const std::byte* block, int i) {
        return pairs<kIndex, kRun>(block, i);
    }
};

struct Q3KTiles : PairsOfBitsTiles<Q3K, 7, 8> {
    static constexpr int kCenterBits = 2;

    template <int kIndex>
    static void factors(const std::byte* block, RunBytes& factors, RunBytes&) {
        const I upper = tile_dword(block, 26);
        const auto lower = [&](int i) {
            const I nibbles = tile_dword(block, 24 + i);
            return kIndex == 0 ? low_nibbles(nibbles) : high_nibbles(nibbles);
        };
        factors[0] = add_bytes(ior(lower(0), move_bits<4 * kIndex, 4>(upper, 48)), set1_i8(-32));
        factors[1] = add_bytes(ior(lower(1), move_bits<4 * kIndex + 2, 4>(upper, 48)), set1_i8(-32));
    }
    static F scales(const std::byte*, const std::byte* words) { return load_f16(words); }

    template <int kIndex, int kRun>
    static I codes(const std::byte* block, int i) {
        const I upper = tile_dword(block, kRun % 2 * 4 + i);
        return ior(pairs<kIndex, kRun>(block, i), move_bits<4 * kIndex + kRun / 2, 2>(upper, 4));
    }
};

struct Iq4XsTiles : TiledFormat<Iq4Xs, 32, 127> {
    static constexpr int kCenterBits = 7;

    template <int kIndex>
    static void factors(const std::byte* block, RunBytes& factors, RunBytes&) {
        I nibbles = iand(shift_right<16 * kIndex>(tile_dword(block, 1)), set1_i32(0xffff));
        nibbles = iand(ior(nibbles, shift_left<8>(nibbles)), set1_i32(0x00ff00ff));
        nibbles = iand(ior(nibbles, shift_left<4>(nibbles)), set1_i8(15));
        I pairs = iand(shift_right<16 + 8 * kIndex>(tile_dword(block, 0)), set1_i32(0xff));
        pairs = iand(ior(pairs, shift_left<12>(pairs)), set1_i32(0x000f000f));
        pairs = iand(ior(pairs, shift_left<6>(pairs)), set1_i8(3));
        factors[0] = add_bytes(ior(nibbles, shift_left<4>(pairs)), set1_i8(-32));
    }
    static F scales(const std::byte* block, const std::byte*) { return low_f16(tile_dword(block, 0)); }

    template <int kIndex, int kRun>
    static I codes(const std::byte* block, int i) {
        const I packed = tile_dword(block, 2 + 4 * (4 * kIndex + kRun) + i % 4);
        return look_up(kIq4Table, i < 4 ? low_nibbles(packed) : high_nibbles(packed));
    }
};

// Blocks of 32 columns with a scale.
struct Q80Tiles {
    using Rows = Q80;
    static constexpr int kDwords = 8;  // of a block

    static I codes(const std::byte* block, int i) { return ixor(tile_dword(block, i), set1_i8(128)); }
};

}  // namespace
}  // namespace sluice
