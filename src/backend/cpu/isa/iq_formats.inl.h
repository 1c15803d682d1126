#pragma once

// The I-quants as formats of factor_blocks.inl.h: magnitudes of eight columns at a time come from tables, signs are
// bits.

#include "backend/cpu/isa/block_formats.inl.h"
#include "tensor/iq_grids.h"

namespace sluice {
namespace {

constexpr int kVectorEights = kVectorBytes / 8;

// A bit for each column of a block that says minus, 32 of a run.
struct BlockSigns {
    static constexpr int kRuns = kFactorBlock / 32;
    uint32_t runs[kRuns];
};

// A dword of every run.
typedef uint32_t RunDwords __attribute__((vector_size(4 * BlockSigns::kRuns)));

// Those that are kStride dwords apart, the first at `dwords`.
template <int kStride>
inline void load_run_dwords(const std::byte* dwords, RunDwords& out) {
    __builtin_memcpy(&out, dwords, sizeof out);
    if constexpr (kStride == 1) return;
    RunDwords second;
    __builtin_memcpy(&second, dwords + sizeof out - 4, sizeof second);
    out = __builtin_shufflevector(out, second, 0, 2, 4, 6, 9, 11, 13, 15);
}

// Of dwords of four codes of seven signs, as load_run_dwords finds them, with the eighth of each that makes the number
// of minus signs even.
template <int kStride>
inline BlockSigns even_block_signs(const std::byte* dwords) {
    RunDwords codes;
    load_run_dwords<kStride>(dwords, codes);
    const RunDwords sevens =
        (codes & 0x7f) | (codes & 0x3f80) << 1 | (codes & 0x1fc000) << 2 | (codes & 0xfe00000) << 3;
    RunDwords parity = sevens ^ sevens >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    const RunDwords bits = sevens | (parity & 0x01010101) << 7;
    BlockSigns signs;
    __builtin_memcpy(signs.runs, &bits, sizeof bits);
    asm volatile("" : "+m"(signs.runs));  // each is sooner spread from memory than out of a vector
    return signs;
}
inline BlockSigns plain_block_signs(const std::byte* bits) {
    BlockSigns signs;
    __builtin_memcpy(signs.runs, bits, sizeof signs.runs);
    return signs;
}

// The bits of a vector's columns.
template <int kVector>
inline uint64_t vector_signs(const BlockSigns& signs) {
    constexpr int kColumn = kVector * kVectorBytes;
    uint64_t bits = signs.runs[kColumn / 32] >> (kColumn % 32);
    if constexpr (kVectorBytes == 64) bits |= static_cast<uint64_t>(signs.runs[kColumn / 32 + 1]) << 32;
    return bits;
}

// Format::eight(block, k): the magnitudes of columns 8 k and on, a byte each; or, with kFours, Format::four(block, k).
template <typename Format, int kVector>
inline I vector_magnitudes(const std::byte* block) {
    if constexpr (requires { Format::kFours; }) {
        uint32_t fours[kLanes];
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) fours[i] = Format::four(block, kVector * kLanes + i);
        return from_u32(fours);
    } else {
        uint64_t eights[kVectorEights];
#pragma GCC unroll 8
        for (int i = 0; i < kVectorEights; ++i) eights[i] = Format::eight(block, kVector * kVectorEights + i);
        return from_u64(eights);
    }
}

// Byte `index`; eight are loaded once for all.
inline unsigned packed_byte(const std::byte* bytes, int index) {
    return static_cast<unsigned>(load_eight(bytes + index / 8 * 8) >> index % 8 * 8 & 255);
}

// Formats of signs and magnitudes, which products take apart.
template <typename Format, int kBytes>
struct SignedFormat : FactorFormat<kBytes, 0> {
    static constexpr bool kSigns = true;

    template <int kVector>
    static I magnitudes(const std::byte* block) {
        return vector_magnitudes<Format, kVector>(block);
    }
    template <int kVector>
    static I signed_by(const BlockSigns& signs, I v) {
        return negate_bytes(v, vector_signs<kVector>(signs));
    }
    template <int kVector>
    static I codes(const std::byte* block, const BlockSigns& signs) {
        return add_bytes(signed_by<kVector>(signs, magnitudes<kVector>(block)), set1_i8(Format::kCenter));
    }
    template <int kVector>
    static I codes(const std::byte* block) {
        return codes<kVector>(block, Format::signs(block));
    }
};

inline unsigned byte_of(const std::byte* block, int index) {
    return static_cast<unsigned>(block[index]);
}

// 2 n + 1 of every byte n.
inline uint64_t odd_bytes(uint64_t bytes) {
    return bytes << 1 | every_byte(1);
}

// A nibble for each run of 16, in eight bytes.
inline void nibble_factors(const std::byte* nibbles, RunFactors& out) {
    const uint64_t packed = load_eight(nibbles);
    store_words(out.factors, odd_bytes(bytes_of_nibbles(static_cast<uint32_t>(packed))),
                odd_bytes(bytes_of_nibbles(static_cast<uint32_t>(packed >> 32))), 0);
}

// The upper nibbles of such dwords, for each run of 32.
template <int kStride>
inline void top_factors(const std::byte* dwords, RunFactors& out) {
    RunDwords loaded;
    load_run_dwords<kStride>(dwords, loaded);
    const RunDwords pairs = (2 * (loaded >> 28) + 1) * 0x10001;
    __builtin_memcpy(out.factors, &pairs, sizeof pairs);
}

struct Iq2Xxs : SignedFormat<Iq2Xxs, 66> {
    static constexpr int kRun = 32, kCenter = 64, kMagnitude = 43;
    static constexpr float kUnit = 0.125f;

    static uint64_t eight(const std::byte* block, int k) { return kIq2XxsGrid[byte_of(block, 2 + k / 4 * 8 + k % 4)]; }
    static BlockSigns signs(const std::byte* block) { return even_block_signs<2>(block + 6); }
    static void factors(const std::byte* block, RunFactors& out) { top_factors<2>(block + 6, out); }
};

struct Iq2Xs : SignedFormat<Iq2Xs, 74> {
    static constexpr int kCenter = 64, kMagnitude = 43;
    static constexpr float kUnit = 0.125f;

    static uint64_t eight(const std::byte* block, int k) {
        return kIq2XsGrid[load_unaligned<uint16_t>(block + 2 + 2 * k) & 511u];
    }
    static BlockSigns signs(const std::byte* block) {
        uint16_t words[kFactorBlock / 8];
        uint8_t bits[kFactorBlock / 8];
        __builtin_memcpy(words, block + 2, sizeof words);
        for (int i = 0; i < kFactorBlock / 8; ++i) {
            const auto sevens = static_cast<uint16_t>(words[i] >> 9);
            auto parity = static_cast<uint16_t>(sevens ^ sevens >> 4);
            parity = static_cast<uint16_t>(parity ^ parity >> 2);
            parity = static_cast<uint16_t>((parity ^ parity >> 1) << 7);
            bits[i] = static_cast<uint8_t>(sevens | parity);
        }
        return plain_block_signs(reinterpret_cast<const std::byte*>(bits));
    }
    static void factors(const std::byte* block, RunFactors& out) { nibble_factors(block + 66, out); }
};

struct Iq2S : SignedFormat<Iq2S, 82> {
    static constexpr int kCenter = 64, kMagnitude = 43;
    static constexpr float kUnit = 0.125f;

    static uint64_t eight(const std::byte* block, int k) {
        const unsigned upper = byte_of(block, 66 + k / 4) >> (k % 4 * 2) & 3;
        return kIq2SGrid[byte_of(block, 2 + k) | upper << 8];
    }
    static BlockSigns signs(const std::byte* block) { return plain_block_signs(block + 34); }
    static void factors(const std::byte* block, RunFactors& out) { nibble_factors(block + 74, out); }
};

struct Iq3Xxs : SignedFormat<Iq3Xxs, 98> {
    static constexpr int kRun = 32, kCenter = 64, kMagnitude = 62;
    static constexpr float kUnit = 0.25f;

    static constexpr bool kFours = true;
    static uint32_t four(const std::byte* block, int k) { return kIq3XxsGrid[packed_byte(block + 2, k)]; }
    static BlockSigns signs(const std::byte* block) { return even_block_signs<1>(block + 66); }
    static void factors(const std::byte* block, RunFactors& out) { top_factors<1>(block + 66, out); }
};

struct Iq3S : SignedFormat<Iq3S, 110> {
    static constexpr int kRun = 32, kCenter = 16, kLargest = 31;

    static constexpr bool kFours = true;
    static uint32_t four(const std::byte* block, int k) {
        const unsigned upper = byte_of(block, 66 + k / 8) >> k % 8 & 1;
        return kIq3SGrid[packed_byte(block + 2, k) | upper << 8];
    }
    static BlockSigns signs(const std::byte* block) { return plain_block_signs(block + 74); }
    static void factors(const std::byte* block, RunFactors& out) {
        store_word_pairs(out.factors, odd_bytes(bytes_of_nibbles(load_unaligned<uint32_t>(block + 106))), 0);
    }
};

// Eight times -1, 0 or 1, and one more or less.
template <typename Format, int kVector>
inline I shifted_codes(const std::byte* block) {
    static_assert(Format::kCenter == 16);
    const I thirds = shift_left<3>(add_bytes(vector_magnitudes<Format, kVector>(block), set1_i8(1)));
    const I shift = negate_bytes(set1_i8(1), vector_signs<kVector>(Format::signs(block)));
    return add_bytes(thirds, add_bytes(shift, set1_i8(8)));
}

struct Iq1S : FactorFormat<50, 0> {
    static constexpr int kRun = 32, kCenter = 16, kLargest = 25;
    static constexpr float kUnit = 0.125f;

    static uint16_t rest(const std::byte* block, int run) { return load_unaligned<uint16_t>(block + 34 + 2 * run); }
    static uint64_t eight(const std::byte* block, int k) {
        return kIq1Grid[byte_of(block, 2 + k) | (rest(block, k / 4) >> (k % 4 * 3) & 7u) << 8];
    }
    static BlockSigns signs(const std::byte* block) {
        BlockSigns signs;
        for (int run = 0; run < BlockSigns::kRuns; ++run) {
            signs.runs[run] = (rest(block, run) & 0x8000) != 0 ? ~0u : 0;
        }
        return signs;
    }
    static void factors(const std::byte* block, RunFactors& out) {
        uint64_t packed = 0;
#pragma GCC unroll 8
        for (int run = 0; run < 8; ++run) packed |= static_cast<uint64_t>(block[35 + 2 * run]) << (8 * run);
        store_word_pairs(out.factors, odd_bytes(packed >> 4 & every_byte(7)), 0);
    }
    template <int kVector>
    static I codes(const std::byte* block) {
        return shifted_codes<Iq1S, kVector>(block);
    }
};

struct Iq1M : FactorFormat<56, 48> {
    static constexpr int kCenter = 16, kLargest = 25;
    static constexpr float kUnit = 0.125f;

    static uint16_t word(const std::byte* block, int index) { return load_unaligned<uint16_t>(block + 48 + 2 * index); }
    static uint16_t scale_bits(const std::byte* block) {
        return static_cast<uint16_t>(word(block, 0) >> 12 | (word(block, 1) >> 12) << 4 | (word(block, 2) >> 12) << 8 |
                                     (word(block, 3) >> 12) << 12);
    }
    static uint64_t eight(const std::byte* block, int k) {
        const unsigned upper = byte_of(block, 32 + k / 2) >> (k % 2 * 4) & 7;
        return kIq1Grid[byte_of(block, k) | upper << 8];
    }
    static BlockSigns signs(const std::byte* block) {
        BlockSigns signs;
        for (int run = 0; run < BlockSigns::kRuns; ++run) {
            const unsigned low = byte_of(block, 32 + 2 * run), high = byte_of(block, 33 + 2 * run);
            signs.runs[run] = ((low >> 3 & 1) | (low >> 7) << 8 | (high >> 3 & 1) << 16 | (high >> 7) << 24) * 0xff;
        }
        return signs;
    }
    static void factors(const std::byte* block, RunFactors& out) {
        const auto spread = [&](int index) {
            const uint32_t bits = word(block, index);
            return (bits & 7) | (bits >> 3 & 7) << 8 | (bits >> 6 & 7) << 16 | (bits >> 9 & 7) << 24;
        };
        store_words(out.factors, odd_bytes(two_dwords(spread(0), spread(1))),
                    odd_bytes(two_dwords(spread(2), spread(3))), 0);
    }
    template <int kVector>
    static I codes(const std::byte* block) {
        return shifted_codes<Iq1M, kVector>(block);
    }
};

}  // namespace
}  // namespace sluice
