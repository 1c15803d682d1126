#pragma once

// GGUF's formats, as the kernels in factor_blocks.inl.h and plain_blocks.inl.h take them. codes<v>() is the v-th vector
// of unsigned codes; a value is that less kCenter, times what the format says.

#include "backend/cpu/isa/blocks.inl.h"
#include "tensor/iq_grids.h"

namespace sluice {
namespace {

// Whole factors of the 16 runs of 16 columns of a block, and minima: what is taken away, in their own scale.
struct RunFactors {
    alignas(32) int16_t factors[16], minima[16];
};

// Blocks of 256 columns with whole factors. Codes are below 128 unless kWide. With kMinima a block has a scale for them
// at kMinimumScale; the scale at kScale is multiplied by kUnit. kLargest is the largest code, where it is below 127.
template <int kBlockBytes, int kScaleOffset>
struct FactorFormat {
    static constexpr int kBytes = kBlockBytes;
    static constexpr int kRun = 16;    // columns that share a factor
    static constexpr int kPlanes = 2;  // of bytes that hold code times factor
    static constexpr int kCenter = 0, kMinimumScale = 0, kLargest = 127, kMagnitude = 0;
    static constexpr bool kMinima = false, kWide = false;
    static constexpr float kUnit = 1.0f;

    static uint16_t scale_bits(const std::byte* block) { return load_unaligned<uint16_t>(block + kScaleOffset); }
};

constexpr uint64_t every_byte(uint64_t byte) {
    return byte * 0x0101010101010101;
}
inline uint64_t load_eight(const std::byte* bytes) {
    return load_unaligned<uint64_t>(bytes);
}
inline uint64_t two_dwords(uint32_t low, uint32_t high) {
    return low | static_cast<uint64_t>(high) << 32;
}
// Eight nibbles, or eight pairs of bits, to a byte each.
inline uint64_t bytes_of_nibbles(uint32_t nibbles) {
    uint64_t bytes = (nibbles | static_cast<uint64_t>(nibbles) << 16) & 0x0000ffff0000ffff;
    bytes = (bytes | bytes << 8) & 0x00ff00ff00ff00ff;
    return (bytes | bytes << 4) & every_byte(15);
}
inline uint64_t bytes_of_pairs(uint16_t pairs) {
    uint64_t bytes = (pairs | static_cast<uint64_t>(pairs) << 24) & 0x000000ff000000ff;
    bytes = (bytes | bytes << 12) & 0x000f000f000f000f;
    return (bytes | bytes << 6) & every_byte(3);
}

struct Q2K : FactorFormat<84, 80> {
    static constexpr bool kMinima = true;
    static constexpr int kMinimumScale = 82, kPlanes = 1, kLargest = 3;

    template <int kVector>
    static I codes(const std::byte* block) {
        return load_plane<TwoBits<16>, kVector>(block);
    }
    static void factors(const std::byte* block, RunFactors& out) {
        const uint64_t low = load_eight(block), high = load_eight(block + 8);
        store_words(out.factors, low & every_byte(15), high & every_byte(15), 0);
        store_words(out.minima, low >> 4 & every_byte(15), high >> 4 & every_byte(15), 0);
    }
};

struct Q3K : FactorFormat<110, 108> {
    static constexpr int kCenter = 4, kLargest = 7;

    template <int kVector>
    static I codes(const std::byte* block) {
        return ior(load_plane<TwoBits<32>, kVector>(block), load_plane<OneBit<0, 2>, kVector>(block));
    }
    static void factors(const std::byte* block, RunFactors& out) {
        uint32_t packed[3];
        __builtin_memcpy(packed, block + 96, sizeof packed);
        constexpr uint32_t kNibbles = 0x0f0f0f0f, kPairs = 0x03030303;
        const auto upper = [&](int shift) { return (packed[2] >> shift & kPairs) << 4; };
        const uint64_t low = two_dwords((packed[0] & kNibbles) | upper(0), (packed[1] & kNibbles) | upper(2));
        const uint64_t high =
            two_dwords((packed[0] >> 4 & kNibbles) | upper(4), (packed[1] >> 4 & kNibbles) | upper(6));
        store_words(out.factors, low, high, 32);
    }
};

template <int kFirst>
struct PairedNibbles {
    static constexpr int kBits = 4, kPlace = 0;
    static constexpr Piece piece(int i) { return {kFirst + i / 4 * 32 + i % 2 * 16, i / 2 % 2 * 4}; }
};

template <int kBlockBytes>
struct PairedFormat : FactorFormat<kBlockBytes, 0> {
    static constexpr bool kMinima = true;
    static constexpr int kRun = 32, kMinimumScale = 2;

    static void factors(const std::byte* block, RunFactors& out) {
        uint32_t packed[3];
        __builtin_memcpy(packed, block + 4, sizeof packed);
        constexpr uint32_t kSix = 0x3f3f3f3f, kFour = 0x0f0f0f0f, kTwo = 0x03030303;
        const uint32_t late_factors = (packed[2] & kFour) | (packed[0] >> 6 & kTwo) << 4;
        const uint32_t late_minima = (packed[2] >> 4 & kFour) | (packed[1] >> 6 & kTwo) << 4;
        store_word_pairs(out.factors, two_dwords(packed[0] & kSix, late_factors), 0);
        store_word_pairs(out.minima, two_dwords(packed[1] & kSix, late_minima), 0);
    }
};

struct Q4K : PairedFormat<144> {
    static constexpr int kLargest = 15;

    template <int kVector>
    static I codes(const std::byte* block) {
        return load_plane<PairedNibbles<16>, kVector>(block);
    }
};

struct Q5K : PairedFormat<176> {
    static constexpr int kLargest = 31;

    template <int kVector>
    static I codes(const std::byte* block) {
        return ior(load_plane<PairedNibbles<48>, kVector>(block), load_plane<OneBit<16, 4>, kVector>(block));
    }
};

struct Q6K : FactorFormat<210, 208> {
    static constexpr int kCenter = 32, kLargest = 63;

    struct Nibbles {
        static constexpr int kBits = 4, kPlace = 0;
        static constexpr Piece piece(int i) { return {i / 8 * 64 + i % 4 * 16, i % 8 / 4 * 4}; }
    };
    template <int kVector>
    static I codes(const std::byte* block) {
        return ior(load_plane<Nibbles, kVector>(block), load_plane<TwoBits<128, 4>, kVector>(block));
    }
    static void factors(const std::byte* block, RunFactors& out) {
        constexpr uint64_t kSigns = every_byte(128);
        store_words(out.factors, load_eight(block + 192) ^ kSigns, load_eight(block + 200) ^ kSigns, 128);
    }
};

constexpr NibbleTable make_iq4_table() {
    NibbleTable table{};
    for (size_t i = 0; i < 16; ++i) table.values[i] = static_cast<uint8_t>(kIq4Values[i] + 128);
    return table;
}
constexpr NibbleTable kIq4Table = make_iq4_table();

struct Iq4Xs : FactorFormat<136, 0> {
    static constexpr int kRun = 32, kCenter = 128;
    static constexpr bool kWide = true;

    template <int kVector>
    static I codes(const std::byte* block) {
        return look_up(kIq4Table, load_plane<HalfNibbles<8, 16>, kVector>(block));
    }
    static void factors(const std::byte* block, RunFactors& out) {
        const uint64_t upper = bytes_of_pairs(load_unaligned<uint16_t>(block + 2)) << 4;
        store_word_pairs(out.factors, bytes_of_nibbles(load_unaligned<uint32_t>(block + 4)) | upper, 32);
    }
};

struct Tq2 : FactorFormat<66, 64> {
    static constexpr int kRun = 32, kCenter = 1, kPlanes = 1, kLargest = 3;

    template <int kVector>
    static I codes(const std::byte* block) {
        return load_plane<TwoBits<0>, kVector>(block);
    }
    static void factors(const std::byte*, RunFactors& out) {
        store_words(out.factors, every_byte(1), every_byte(1), 0);
    }
};

// Blocks of 32 columns with a scale, and with kMinima an F16 that is added.
template <int kBlockBytes>
struct PlainFormat {
    static constexpr int kBytes = kBlockBytes;
    static constexpr int kCenter = 0, kLargest = 15, kMagnitude = 0;
    static constexpr bool kMinima = false, kWide = false;

    static float scale(const std::byte* block) { return half_to_float(load_unaligned<uint16_t>(block)); }
    // The scale as a word, and kLanes of these as floats.
    static uint16_t scale_word(const std::byte* block) { return load_unaligned<uint16_t>(block); }
    static F load_scales(const uint16_t* words) { return load_f16(words); }
    static float minimum(const std::byte* block) { return half_to_float(load_unaligned<uint16_t>(block + 2)); }
};

struct Q40 : PlainFormat<18> {
    static constexpr int kCenter = 8;
    template <int kVector>
    static I codes(const std::byte* block) {
        return load_plane<HalfNibbles<2, 18>, kVector>(block);
    }
};

struct Q41 : PlainFormat<20> {
    static constexpr bool kMinima = true;
    template <int kVector>
    static I codes(const std::byte* block) {
        return load_plane<HalfNibbles<4, 20>, kVector>(block);
    }
};

// The fifth bits of a vector's columns: a dword at kOffset of every block.
template <int kOffset, int kBytes, int kVector>
inline I fifth_bits(const std::byte* block) {
    constexpr int kColumn = kVector * kVectorBytes;
    const auto dword = [&](int index) { return load_unaligned<uint32_t>(block + index * kBytes + kOffset); };
    uint64_t bits = dword(kColumn / 32) >> (kColumn % 32);
    if constexpr (kVectorBytes == 64) bits |= static_cast<uint64_t>(dword(kColumn / 32 + 1)) << 32;
    return bytes_of_bits(bits, 16);
}

struct Q50 : PlainFormat<22> {
    static constexpr int kCenter = 16, kLargest = 31;
    template <int kVector>
    static I codes(const std::byte* block) {
        return ior(load_plane<HalfNibbles<6, 22>, kVector>(block), fifth_bits<2, 22, kVector>(block));
    }
};

struct Q51 : PlainFormat<24> {
    static constexpr int kLargest = 31;
    static constexpr bool kMinima = true;
    template <int kVector>
    static I codes(const std::byte* block) {
        return ior(load_plane<HalfNibbles<8, 24>, kVector>(block), fifth_bits<4, 24, kVector>(block));
    }
};

struct Q80 : PlainFormat<34> {
    static constexpr int kCenter = 128;
    static constexpr bool kWide = true;

    struct Bytes {
        static constexpr int kBits = 8, kPlace = 0;
        static constexpr Piece piece(int i) { return {2 + i / 2 * 34 + i % 2 * 16, 0}; }
    };
    template <int kVector>
    static I codes(const std::byte* block) {
        return ixor(load_plane<Bytes, kVector>(block), set1_i8(128));
    }
};

struct Iq4Nl : PlainFormat<18> {
    static constexpr int kCenter = 128;
    static constexpr bool kWide = true;
    template <int kVector>
    static I codes(const std::byte* block) {
        return look_up(kIq4Table, load_plane<HalfNibbles<2, 18>, kVector>(block));
    }
};

// Twice the values of E2M1, and half of the scale, which is a float for every code.
constexpr NibbleTable kE2m1Table = {{12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0}};

struct Mxfp4Block : PlainFormat<17> {
    static constexpr int kCenter = 12, kLargest = 24;
    template <int kVector>
    static I codes(const std::byte* block) {
        return look_up(kE2m1Table, load_plane<HalfNibbles<1, 17>, kVector>(block));
    }
    // A power of two, the smallest two subnormal: BF16 holds them all.
    static uint16_t scale_word(const std::byte* block) {
        const auto code = static_cast<unsigned>(block[0]);
        return static_cast<uint16_t>(code < 2 ? 0x20u << code : (code - 1) << 7);
    }
    static float scale(const std::byte* block) { return bf16_to_float(scale_word(block)); }
    static F load_scales(const uint16_t* words) { return load_bf16(words); }
};

}  // namespace
}  // namespace sluice
