#pragma once

// The I-quants as formats of factor_blocks.inl.h: magnitudes of eight columns at a time come from tables, signs are
// bits.

#include "backend/cpu/isa/block_formats.inl.h"
#include "tensor/iq_grids.h"

namespace sluice {
namespace {

constexpr int kVectorEights = kVectorBytes / 8;

// Four codes of seven signs, with the eighth of each that makes the number of minus signs even: 32 bits.
inline uint32_t even_signs(uint32_t codes) {
    const uint32_t sevens = (codes & 0x7f) | (codes & 0x3f80) << 1 | (codes & 0x1fc000) << 2 | (codes & 0xfe00000) << 3;
    uint32_t parity = sevens ^ sevens >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    return sevens | (parity & 0x01010101) << 7;
}

// The bits of a vector's columns out of Format::signs(block, run), 32 columns each.
template <typename Format, int kVector>
inline uint64_t vector_signs(const std::byte* block) {
    constexpr int kColumn = kVector * kVectorBytes;
    uint64_t bits = Format::signs(block, kColumn / 32) >> (kColumn % 32);
    if constexpr (kVectorBytes == 64) bits |= static_cast<uint64_t>(Format::signs(block, kColumn / 32 + 1)) << 32;
    return bits;
}

// Format::eight(block, k): the magnitudes of columns 8 k and on, a byte each.
template <typename Format, int kVector>
inline I vector_magnitudes(const std::byte* block) {
    uint64_t eights[kVectorEights];
#pragma GCC unroll 8
    for (int i = 0; i < kVectorEights; ++i) eights[i] = Format::eight(block, kVector * kVectorEights + i);
    return from_u64(eights);
}

template <typename Format, int kVector>
inline I signed_codes(const std::byte* block) {
    const I magnitudes = vector_magnitudes<Format, kVector>(block);
    return add_bytes(negate_bytes(magnitudes, vector_signs<Format, kVector>(block)), set1_i8(Format::kCenter));
}

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

// The upper nibble of eight bytes, `stride` apart, for each run of 32.
inline void top_factors(const std::byte* bytes, int stride, RunFactors& out) {
    uint64_t packed = 0;
#pragma GCC unroll 8
    for (int run = 0; run < 8; ++run) packed |= static_cast<uint64_t>(bytes[run * stride]) << (8 * run);
    store_word_pairs(out.factors, odd_bytes(packed >> 4 & every_byte(15)), 0);
}

struct Iq2Xxs : FactorFormat<66, 0> {
    static constexpr int kRun = 32, kCenter = 64;
    static constexpr float kUnit = 0.125f;

    static uint64_t eight(const std::byte* block, int k) { return kIq2XxsGrid[byte_of(block, 2 + k / 4 * 8 + k % 4)]; }
    static uint32_t signs(const std::byte* block, int run) {
        return even_signs(load_unaligned<uint32_t>(block + 6 + 8 * run));
    }
    static void factors(const std::byte* block, RunFactors& out) { top_factors(block + 9, 8, out); }
    template <int kVector>
    static I codes(const std::byte* block) {
        return signed_codes<Iq2Xxs, kVector>(block);
    }
};

struct Iq2Xs : FactorFormat<74, 0> {
    static constexpr int kCenter = 64;
    static constexpr float kUnit = 0.125f;

    static uint64_t eight(const std::byte* block, int k) {
        return kIq2XsGrid[load_unaligned<uint16_t>(block + 2 + 2 * k) & 511u];
    }
    static uint32_t signs(const std::byte* block, int run) {
        uint32_t codes = 0;
        for (int i = 0; i < 4; ++i) {
            codes |= static_cast<uint32_t>(load_unaligned<uint16_t>(block + 2 + 8 * run + 2 * i) >> 9) << (7 * i);
        }
        return even_signs(codes);
    }
    static void factors(const std::byte* block, RunFactors& out) { nibble_factors(block + 66, out); }
    template <int kVector>
    static I codes(const std::byte* block) {
        return signed_codes<Iq2Xs, kVector>(block);
    }
};

struct Iq2S : FactorFormat<82, 0> {
    static constexpr int kCenter = 64;
    static constexpr float kUnit = 0.125f;

    static uint64_t eight(const std::byte* block, int k) {
        const unsigned upper = byte_of(block, 66 + k / 4) >> (k % 4 * 2) & 3;
        return kIq2SGrid[byte_of(block, 2 + k) | upper << 8];
    }
    static uint32_t signs(const std::byte* block, int run) { return load_unaligned<uint32_t>(block + 34 + 4 * run); }
    static void factors(const std::byte* block, RunFactors& out) { nibble_factors(block + 74, out); }
    template <int kVector>
    static I codes(const std::byte* block) {
        return signed_codes<Iq2S, kVector>(block);
    }
};

struct Iq3Xxs : FactorFormat<98, 0> {
    static constexpr int kRun = 32, kCenter = 64;
    static constexpr float kUnit = 0.25f;

    static uint64_t eight(const std::byte* block, int k) {
        return two_dwords(kIq3XxsGrid[byte_of(block, 2 + 2 * k)], kIq3XxsGrid[byte_of(block, 3 + 2 * k)]);
    }
    static uint32_t signs(const std::byte* block, int run) {
        return even_signs(load_unaligned<uint32_t>(block + 66 + 4 * run));
    }
    static void factors(const std::byte* block, RunFactors& out) { top_factors(block + 69, 4, out); }
    template <int kVector>
    static I codes(const std::byte* block) {
        return signed_codes<Iq3Xxs, kVector>(block);
    }
};

struct Iq3S : FactorFormat<110, 0> {
    static constexpr int kRun = 32, kCenter = 16, kLargest = 31;

    static uint64_t eight(const std::byte* block, int k) {
        const unsigned upper = byte_of(block, 66 + k / 4) >> (k % 4 * 2);
        return two_dwords(kIq3SGrid[byte_of(block, 2 + 2 * k) | (upper & 1) << 8],
                          kIq3SGrid[byte_of(block, 3 + 2 * k) | (upper & 2) << 7]);
    }
    static uint32_t signs(const std::byte* block, int run) { return load_unaligned<uint32_t>(block + 74 + 4 * run); }
    static void factors(const std::byte* block, RunFactors& out) {
        store_word_pairs(out.factors, odd_bytes(bytes_of_nibbles(load_unaligned<uint32_t>(block + 106))), 0);
    }
    template <int kVector>
    static I codes(const std::byte* block) {
        return signed_codes<Iq3S, kVector>(block);
    }
};

// Eight times -1, 0 or 1, and one more or less.
template <typename Format, int kVector>
inline I shifted_codes(const std::byte* block) {
    static_assert(Format::kCenter == 16);
    const I thirds = shift_left<3>(add_bytes(vector_magnitudes<Format, kVector>(block), set1_i8(1)));
    const I shift = negate_bytes(set1_i8(1), vector_signs<Format, kVector>(block));
    return add_bytes(thirds, add_bytes(shift, set1_i8(8)));
}

struct Iq1S : FactorFormat<50, 0> {
    static constexpr int kRun = 32, kCenter = 16, kLargest = 25;
    static constexpr float kUnit = 0.125f;

    static uint16_t rest(const std::byte* block, int run) { return load_unaligned<uint16_t>(block + 34 + 2 * run); }
    static uint64_t eight(const std::byte* block, int k) {
        return kIq1Grid[byte_of(block, 2 + k) | (rest(block, k / 4) >> (k % 4 * 3) & 7u) << 8];
    }
    static uint32_t signs(const std::byte* block, int run) { return (rest(block, run) & 0x8000) != 0 ? ~0u : 0; }
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
    static uint32_t signs(const std::byte* block, int run) {
        const unsigned low = byte_of(block, 32 + 2 * run), high = byte_of(block, 33 + 2 * run);
        const uint32_t bits = (low >> 3 & 1) | (low >> 7) << 8 | (high >> 3 & 1) << 16 | (high >> 7) << 24;
        return bits * 0xff;
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
