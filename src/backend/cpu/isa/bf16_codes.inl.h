#pragma once

// Weights that are exact in BF16, kPairUnit columns at a time in ascending order, as BF16. kFactorBytes are the bytes
// of a unit's factors of groups: times one of them a value has at most six significant bits. Needs AVX-512 BF16 and
// VBMI.

#include "backend/cpu/isa/codes.inl.h"
#include "backend/cpu/kernels.h"
#include "tensor/float_types.h"

namespace sluice {
namespace {

constexpr int64_t kPairUnit = kBf16Unit;
static_assert(kPairUnit == 4 * kLanes);

struct Bf16Codec {
    static constexpr int kBits = 16, kFactorBytes = 0;

    static void read(const std::byte* data, const std::byte*, I (&out)[2]) {
        out[0] = iload(data);
        out[1] = iload(data + kVectorBytes);
    }
};

// Without the factors of blocks: those meet the activations.
struct E4m3Codec {
    static constexpr int kBits = 8, kFactorBytes = 0;
    I low[2] = {keep(iload(kE4m3.low)), keep(iload(kE4m3.low + 64))};
    I high[2] = {keep(iload(kE4m3.high)), keep(iload(kE4m3.high + 64))};
    // What interleaving the bytes of quadwords brings to ascending order.
    I order = keep(_mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7));

    void read(const std::byte* data, const std::byte*, I (&out)[2]) const {
        const I codes = _mm512_permutexvar_epi64(order, iload(data));
        const I lower = _mm512_permutex2var_epi8(low[0], codes, low[1]);
        const I magnitude = _mm512_permutex2var_epi8(high[0], codes, high[1]);
        // magnitude | (codes & 0x80)
        const I upper = _mm512_ternarylogic_epi32(magnitude, codes, _mm512_set1_epi8(-128), 0xf8);
        out[0] = _mm512_unpacklo_epi8(lower, upper);
        out[1] = _mm512_unpackhi_epi8(lower, upper);
    }
};

// Products through float: they are exact there, and what leaves the range becomes what it is in float.
struct Mxfp8Codec {
    static constexpr int kBits = 8, kFactorBytes = 2;
    E4m3Unit unit;

    void read(const std::byte* data, const std::byte* factors, I (&out)[2]) const {
        const auto codes = unit.read(data);
        for (int half = 0; half < 2; ++half) {
            const F factor = set1(e8m0_factor(factors[half]));
            out[half] = reinterpret_cast<I>(
                _mm512_cvtne2ps_pbh(unit.scaled(codes, 2 * half + 1, factor), unit.scaled(codes, 2 * half, factor)));
        }
    }
};

// The sixteen E2M1 values times each factor that a byte can be.
struct ScaledE2m1 {
    alignas(64) uint16_t values[256][16];

    explicit ScaledE2m1(float (*factor)(uint8_t)) {
        for (int byte = 0; byte < 256; ++byte) {
            for (uint8_t code = 0; code < 16; ++code)
                values[byte][code] = float_to_bf16(e2m1_to_float(code) * factor(static_cast<uint8_t>(byte)));
        }
    }
};

inline const ScaledE2m1& e8m0_times_e2m1() {
    static const ScaledE2m1 table(e8m0_to_float);
    return table;
}

inline const ScaledE2m1& e4m3_times_e2m1() {
    static const ScaledE2m1 table(e4m3_to_float);
    return table;
}

// Nibbles to words, thirty-two at a time: a quadword of the result holds four of the sixteen of its source, each at the
// lower end of a word. Above it are others.
struct SpreadNibbles {
    I source[2] = {keep(_mm512_setr_epi64(0, 0, 0, 0, 1, 1, 1, 1)), keep(_mm512_setr_epi64(2, 2, 2, 2, 3, 3, 3, 3))};
    I places = keep(
        _mm512_setr_epi64(shifts(0), shifts(4), shifts(8), shifts(12), shifts(0), shifts(4), shifts(8), shifts(12)));

    I operator()(I codes, int half) const {
        return _mm512_multishift_epi64_epi8(places, _mm512_permutexvar_epi64(source[half], codes));
    }

  private:
    // Where nibbles first to first + 3 start, in every second byte.
    static constexpr int64_t shifts(int first) {
        int64_t all = 0;
        for (int i = 0; i < 4; ++i) all |= int64_t{4 * (first + i)} << (16 * i);
        return all;
    }
};

inline I load_nibbles(const std::byte* p) {
    return _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

inline __m256i scaled_e2m1(const ScaledE2m1& table, std::byte factor) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(table.values[static_cast<uint8_t>(factor)]));
}

struct Mxfp4Codec {
    static constexpr int kBits = 4, kFactorBytes = 2;
    const ScaledE2m1& table = e8m0_times_e2m1();
    SpreadNibbles spread;

    void read(const std::byte* data, const std::byte* factors, I (&out)[2]) const {
        const I codes = load_nibbles(data);
        for (int half = 0; half < 2; ++half) {
            // Twice the same values: the look-up heeds five bits.
            const I values = _mm512_broadcast_i64x4(scaled_e2m1(table, factors[half]));
            out[half] = _mm512_permutexvar_epi16(spread(codes, half), values);
        }
    }
};

struct Nvfp4Codec {
    static constexpr int kBits = 4, kFactorBytes = 4;
    const ScaledE2m1& table = e4m3_times_e2m1();
    SpreadNibbles spread;
    I nibble = keep(_mm512_set1_epi16(15));
    // The second group's values are the upper half of what is looked up in.
    I group = keep(_mm512_inserti64x4(izero(), _mm256_set1_epi16(16), 1));

    void read(const std::byte* data, const std::byte* factors, I (&out)[2]) const {
        const I packed = load_nibbles(data);
        for (int half = 0; half < 2; ++half) {
            const I values = _mm512_inserti64x4(_mm512_castsi256_si512(scaled_e2m1(table, factors[2 * half])),
                                                scaled_e2m1(table, factors[2 * half + 1]), 1);
            // spread & 15 | group
            const I codes = _mm512_ternarylogic_epi32(spread(packed, half), nibble, group, 0xea);
            out[half] = _mm512_permutexvar_epi16(codes, values);
        }
    }
};

}  // namespace
}  // namespace sluice
