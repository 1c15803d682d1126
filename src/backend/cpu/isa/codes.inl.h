#pragma once

// FP8 and FP4 codes straight from memory to floats, kVectors vectors of columns at a time. A unit holds the tables;
// arrange() brings a vector of columns to the order of lanes in which scaled() gives them, restore() back.

#include "backend/cpu/isa/math.inl.h"

namespace sluice {
namespace {

// Tables that are read at every step: the compiler would rather load a constant again than keep it.
template <typename Vector>
inline Vector keep(Vector v) {
#if defined(__x86_64__)
    asm("" : "+v"(v));
#endif
    return v;
}

// e8m0_to_float without a branch, so that it becomes vectors: 2^-127 is subnormal, 255 is NaN.
inline float e8m0_factor(std::byte code) {
    const auto exponent = static_cast<uint32_t>(code);
    uint32_t bits = exponent << 23;
    bits = exponent == 0 ? 0x00400000u : bits;
    bits = exponent == 255 ? 0x7fc00000u : bits;
    float factor;
    __builtin_memcpy(&factor, &bits, sizeof factor);
    return factor;
}

#ifdef __AVX512VBMI__

// E4M3 is BF16 with fewer bits: both bytes of it come from tables of the magnitude. `order` lets the interleaving of
// the bytes and the parting into even and odd words end in ascending columns.
struct E4m3Table {
    alignas(64) uint8_t low[128], high[128], order[64];

    constexpr E4m3Table() : low{}, high{}, order{} {
        for (int magnitude = 0; magnitude < 128; ++magnitude) {
            const int exponent = magnitude >> 3, fraction = magnitude & 7;
            int bits = (exponent + 120) << 7 | fraction << 4;
            if (magnitude == 127) bits = 0x7fc0;
            if (exponent == 0) {
                int place = 0;
                while (fraction >> (place + 1) != 0) ++place;
                bits = fraction == 0 ? 0 : (118 + place) << 7 | (fraction - (1 << place)) << (7 - place);
            }
            low[magnitude] = static_cast<uint8_t>(bits & 0xff);
            high[magnitude] = static_cast<uint8_t>(bits >> 8);
        }
        for (int i = 0; i < 64; ++i) {
            const int lane = i / 16, word = i % 8;
            order[i] = static_cast<uint8_t>((i % 16 < 8 ? 0 : 32) + (word % 2) * 16 + 4 * lane + word / 2);
        }
    }
};
constexpr E4m3Table kE4m3{};

struct E4m3Unit {
    static constexpr int kVectors = 4;
    I order = keep(iload(kE4m3.order));
    I low[2] = {keep(iload(kE4m3.low)), keep(iload(kE4m3.low + 64))};
    I high[2] = {keep(iload(kE4m3.high)), keep(iload(kE4m3.high + 64))};

    struct Codes {
        I pairs[2];
    };
    Codes read(const std::byte* p) const {
        const I codes = _mm512_permutexvar_epi8(order, iload(p));
        const I lower = _mm512_permutex2var_epi8(low[0], codes, low[1]);
        const I magnitude = _mm512_permutex2var_epi8(high[0], codes, high[1]);
        // magnitude | (codes & 0x80)
        const I upper = _mm512_ternarylogic_epi32(magnitude, codes, _mm512_set1_epi8(-128), 0xf8);
        return {{_mm512_unpacklo_epi8(lower, upper), _mm512_unpackhi_epi8(lower, upper)}};
    }
    F scaled(const Codes& codes, int v, F factor) const {
        const I words = codes.pairs[v / 2];
        const I bits = v % 2 == 0 ? _mm512_slli_epi32(words, 16) : _mm512_and_si512(words, _mm512_set1_epi32(-65536));
        return mul(as_float(bits), factor);
    }
    static F arrange(F x) { return x; }
    static F restore(F x) { return x; }
};

#else

struct E4m3Unit {
    static constexpr int kVectors = 1;

    static const std::byte* read(const std::byte* p) { return p; }
    static F scaled(const std::byte* p, int, F factor) { return mul(load_e4m3(p), factor); }
    static F arrange(F x) { return x; }
    static F restore(F x) { return x; }
};

#endif

#ifdef __AVX512F__

struct E2m1Table {
    alignas(64) float values[16];
    alignas(64) int32_t shifts[16], arranged[16], restored[16];

    constexpr E2m1Table()
        : values{0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6},
          shifts{},
          arranged{},
          restored{} {
        for (int lane = 0; lane < 16; ++lane) {
            const int column = lane / 2 + lane % 2 * 8;
            shifts[lane] = 4 * (lane / 2);
            arranged[lane] = column;
            restored[column] = lane;
        }
    }
};
constexpr E2m1Table kE2m1{};

// Eight bytes in every quadword: even lanes take columns 0 to 7 from the lower half of it, odd ones 8 to 15 from the
// upper. A permutation of 16 floats looks at four bits of its index, which makes it the table look-up.
struct E2m1Unit {
    static constexpr int kVectors = 2;
    F values = keep(load(kE2m1.values));
    I shifts = keep(iload(kE2m1.shifts)), arranged = keep(iload(kE2m1.arranged));

    static const std::byte* read(const std::byte* p) { return p; }
    F scaled(const std::byte* p, int v, F factor) const {
        long long bytes;
        __builtin_memcpy(&bytes, p + 8 * v, sizeof bytes);
        const I codes = _mm512_srlv_epi32(_mm512_set1_epi64(bytes), shifts);
        return _mm512_permutexvar_ps(codes, mul(values, factor));
    }
    F arrange(F x) const { return _mm512_permutexvar_ps(arranged, x); }
    static F restore(F x) { return _mm512_permutexvar_ps(iload(kE2m1.restored), x); }
};

#else

struct E2m1Unit {
    static constexpr int kVectors = 1;

    static const std::byte* read(const std::byte* p) { return p; }
    static F scaled(const std::byte* p, int, F factor) { return mul(load_e2m1(p), factor); }
    static F arrange(F x) { return x; }
    static F restore(F x) { return x; }
};

#endif

}  // namespace
}  // namespace sluice
