#pragma once

// GGUF's formats in tiles (tensor/row_tiles.h), as tiled_blocks.inl.h takes them: what is read at a block are the same
// bytes of as many rows as a vector has lanes, the next four of them a line further on.

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

// Bits of every byte, moved from place kFrom to place kTo.
template <int kFrom, int kTo>
inline I move_bits(I v, int mask) {
    if constexpr (kFrom < kTo) v = shift_left<kTo - kFrom>(v);
    if constexpr (kFrom > kTo) v = shift_right<kFrom - kTo>(v);
    return iand(v, set1_i8(mask));
}

// Bytes of the runs of half a block, one after the other in dwords: factors, which with kSigned are signed, and minima.
struct RunBytes {
    I factors[kHalfRuns / 4], minima[kHalfRuns / 4];
};

// Blocks of 256 columns with whole factors, a byte each. The codes of kRuns runs of kRun columns share dwords, and so
// do those of kSteps such sets, one after the other: step s has runs run(s, k). Of kStreams tiles some lines are read
// by turns. Up to kVectorTokens rows of x one after the other are sooner done than all at once where products add up in
// words.
template <typename Format, int kSharing, bool kSignedFactors, int kColumns = Format::kRun>
struct TiledFormat {
    using Rows = Format;
    static constexpr int kRun = kColumns, kRunDwords = kRun / 4, kRuns = kSharing, kSteps = kHalf / kRun / kSharing;
    static constexpr int kVectorTokens = 2, kStreams = 2;
    static constexpr bool kSigned = kSignedFactors;

    static constexpr int run(int step, int k) { return step * kRuns + k; }
};

// The step-th sets of nibbles of half kIndex, of which a block's begin with dword kFirst.
template <int kFirst, int kIndex>
inline void load_nibbles(const std::byte* block, int step, int i, I (&out)[2]) {
    const I packed = tile_dword(block, kFirst + 16 * kIndex + 8 * step + i);
    out[0] = low_nibbles(packed);
    out[1] = high_nibbles(packed);
}

template <typename Format>
struct PairedTiles : TiledFormat<Format, 2, false> {
    template <int kIndex>
    static void run_bytes(const std::byte* block, RunBytes& runs) {
        const I first = tile_dword(block, 1), second = tile_dword(block, 2);
        if constexpr (kIndex == 0) {
            runs.factors[0] = iand(first, set1_i8(63));
            runs.minima[0] = iand(second, set1_i8(63));
        } else {
            const I third = tile_dword(block, 3);
            runs.factors[0] = ior(low_nibbles(third), move_bits<6, 4>(first, 48));
            runs.minima[0] = ior(high_nibbles(third), move_bits<6, 4>(second, 48));
        }
    }
    static F scales(const std::byte* block, const std::byte*) { return low_f16(tile_dword(block, 0)); }
    static F minimum_scales(const std::byte* block) { return negative(high_f16(tile_dword(block, 0))); }
};

struct Q4KTiles : PairedTiles<Q4K> {
    static constexpr int kVectorTokens = 8;

    template <int kIndex>
    static void codes(const std::byte* block, int step, int i, I (&out)[2]) {
        load_nibbles<4, kIndex>(block, step, i, out);
    }
};

struct Q5KTiles : PairedTiles<Q5K> {
    template <int kIndex>
    static void codes(const std::byte* block, int step, int i, I (&out)[2]) {
        load_nibbles<12, kIndex>(block, step, i, out);
        const I upper = shift_down(tile_dword(block, 4 + i), set1_i32(4 * kIndex + 2 * step));
        out[0] = ior(out[0], move_bits<0, 4>(upper, 16));
        out[1] = ior(out[1], move_bits<1, 4>(upper, 16));
    }
};

// Runs of 16 columns of which those 32 apart share dwords.
template <typename Format, bool kSignedFactors>
struct QuarterTiles : TiledFormat<Format, 4, kSignedFactors> {
    static constexpr int run(int step, int k) { return 2 * k + step; }

    // Pairs of bits, which begin with dword kFirst, to place kTo.
    template <int kFirst, int kTo, int kIndex>
    static void pairs(const std::byte* block, int step, int i, I (&out)[4]) {
        const I packed = tile_dword(block, kFirst + 8 * kIndex + 4 * step + i);
        out[0] = move_bits<0, kTo>(packed, 3 << kTo);
        out[1] = move_bits<2, kTo>(packed, 3 << kTo);
        out[2] = move_bits<4, kTo>(packed, 3 << kTo);
        out[3] = move_bits<6, kTo>(packed, 3 << kTo);
    }
};

struct Q6KTiles : QuarterTiles<Q6K, true> {
    template <int kIndex>
    static void run_bytes(const std::byte* block, RunBytes& runs) {
        for (int i = 0; i < 2; ++i) runs.factors[i] = tile_dword(block, 48 + 2 * kIndex + i);
    }
    static F scales(const std::byte*, const std::byte* words) { return load_f16(words); }

    template <int kIndex>
    static void codes(const std::byte* block, int step, int i, I (&out)[4]) {
        pairs<32, 4, kIndex>(block, step, i, out);
        for (int j = 0; j < 2; ++j) {
            const I nibbles = tile_dword(block, 16 * kIndex + 8 * j + 4 * step + i);
            out[j] = ior(out[j], low_nibbles(nibbles));
            out[2 + j] = ior(out[2 + j], high_nibbles(nibbles));
        }
    }
};

struct Q2KTiles : QuarterTiles<Q2K, false> {
    static constexpr int kVectorTokens = 6, kStreams = 1;

    template <int kIndex>
    static void run_bytes(const std::byte* block, RunBytes& runs) {
        for (int i = 0; i < 2; ++i) {
            const I both = tile_dword(block, 2 * kIndex + i);
            runs.factors[i] = low_nibbles(both);
            runs.minima[i] = high_nibbles(both);
        }
    }
    static F scales(const std::byte* block, const std::byte*) { return low_f16(tile_dword(block, 20)); }
    static F minimum_scales(const std::byte* block) { return negative(high_f16(tile_dword(block, 20))); }

    template <int kIndex>
    static void codes(const std::byte* block, int step, int i, I (&out)[4]) {
        pairs<4, 0, kIndex>(block, step, i, out);
    }
};

struct Q3KTiles : QuarterTiles<Q3K, true> {
    static constexpr int kStreams = 1;

    template <int kIndex>
    static void run_bytes(const std::byte* block, RunBytes& runs) {
        const I upper = tile_dword(block, 26);
        const auto lower = [&](int i) {
            const I nibbles = tile_dword(block, 24 + i);
            return kIndex == 0 ? low_nibbles(nibbles) : high_nibbles(nibbles);
        };
        runs.factors[0] = add_bytes(ior(lower(0), move_bits<4 * kIndex, 4>(upper, 48)), set1_i8(-32));
        runs.factors[1] = add_bytes(ior(lower(1), move_bits<4 * kIndex + 2, 4>(upper, 48)), set1_i8(-32));
    }
    static F scales(const std::byte*, const std::byte* words) { return load_f16(words); }

    template <int kIndex>
    static void codes(const std::byte* block, int step, int i, I (&out)[4]) {
        pairs<8, 0, kIndex>(block, step, i, out);
        const I upper = tile_dword(block, 4 * step + i);
        out[0] = ior(out[0], move_bits<4 * kIndex, 2>(upper, 4));
        out[1] = ior(out[1], move_bits<4 * kIndex + 1, 2>(upper, 4));
        out[2] = ior(out[2], move_bits<4 * kIndex + 2, 2>(upper, 4));
        out[3] = ior(out[3], move_bits<4 * kIndex + 3, 2>(upper, 4));
    }
};

// Sixteen columns of low nibbles, sixteen of high ones, both with a factor.
struct Iq4XsTiles : TiledFormat<Iq4Xs, 2, true, 16> {
    static constexpr int kVectorTokens = 5, kStreams = 1;

    template <int kIndex>
    static void run_bytes(const std::byte* block, RunBytes& runs) {
        I nibbles = iand(shift_right<16 * kIndex>(tile_dword(block, 1)), set1_i32(0xffff));
        nibbles = iand(ior(nibbles, shift_left<8>(nibbles)), set1_i32(0x00ff00ff));
        nibbles = iand(ior(nibbles, shift_left<4>(nibbles)), set1_i8(15));
        I pairs = iand(shift_right<16 + 8 * kIndex>(tile_dword(block, 0)), set1_i32(0xff));
        pairs = iand(ior(pairs, shift_left<12>(pairs)), set1_i32(0x000f000f));
        pairs = iand(ior(pairs, shift_left<6>(pairs)), set1_i8(3));
        runs.factors[0] = add_bytes(ior(nibbles, shift_left<4>(pairs)), set1_i8(-32));
    }
    static F scales(const std::byte* block, const std::byte*) { return low_f16(tile_dword(block, 0)); }

    template <int kIndex>
    static void codes(const std::byte* block, int step, int i, I (&out)[2]) {
        const I packed = tile_dword(block, 2 + 4 * (4 * kIndex + step) + i);
        out[0] = look_up(kIq4Table, low_nibbles(packed));
        out[1] = look_up(kIq4Table, high_nibbles(packed));
    }
};

// Blocks of 32 columns with a scale.
struct Q80Tiles {
    using Rows = Q80;
    static constexpr int kVectorTokens = 8;

    static I codes(const std::byte* block, int i) { return ixor(tile_dword(block, i), set1_i8(128)); }
    static F scales(const std::byte* words) { return load_f16(words); }
};

// The same with the nibbles of 16 columns below those of 16 others.
inline I half_nibbles(const std::byte* block, int i) {
    const I packed = tile_dword(block, i % 4);
    return i < 4 ? low_nibbles(packed) : high_nibbles(packed);
}

struct Q40Tiles : Q80Tiles {
    using Rows = Q40;
    static I codes(const std::byte* block, int i) { return half_nibbles(block, i); }
};

struct Iq4NlTiles : Q80Tiles {
    using Rows = Iq4Nl;
    static I codes(const std::byte* block, int i) { return look_up(kIq4Table, half_nibbles(block, i)); }
};

struct Mxfp4Tiles : Q80Tiles {
    using Rows = Mxfp4Block;
    static I codes(const std::byte* block, int i) { return look_up(kE2m1Table, half_nibbles(block, i)); }
    // 2^(code - 128), as a product of powers that are never subnormal.
    static F scales(const std::byte* bytes) {
        const I code = load_u8_dwords(bytes), half = shift_right<1>(code);
        const auto power = [](I exponent) { return as_float(shift_left<23>(iadd(exponent, set1_i32(63)))); };
        return mul(power(half), power(isub(code, half)));
    }
};

}  // namespace
}  // namespace sluice
