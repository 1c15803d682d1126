#pragma once

// Four lanes in the compiler's own vectors: the baseline that runs anywhere, and with two instructions of its own NEON.
// Same interface as simd_avx512.h.

#include <cstddef>
#include <cstdint>

#ifdef __ARM_FEATURE_DOTPROD
#include <arm_neon.h>
#endif

#include "tensor/float_types.h"

namespace sluice {
namespace {

constexpr int kLanes = 4;
constexpr int kVectorBytes = 16;
// Whether dot4<true> differs from dot4<false>.
#ifdef __ARM_FEATURE_DOTPROD
constexpr bool kWideDiffers = true;
#else
constexpr bool kWideDiffers = false;
#endif
constexpr int kTileVectors = 2;  // row vectors of a packed tile
// Rows of activations per pass over it: what the registers hold.
#ifdef __ARM_FEATURE_DOTPROD
constexpr int kTileTokens = 5;
#else
constexpr int kTileTokens = 2;
#endif

using F = float __attribute__((vector_size(kVectorBytes)));
using I = int32_t __attribute__((vector_size(kVectorBytes)));

template <typename Function>
inline F each(Function&& function) {
    F out;
    for (int i = 0; i < kLanes; ++i) out[i] = function(i);
    return out;
}

template <typename T>
inline T read(const void* p, int index) {
    T value;
    __builtin_memcpy(&value, static_cast<const std::byte*>(p) + static_cast<size_t>(index) * sizeof(T), sizeof value);
    return value;
}

inline F set1(float x) {
    return F{x, x, x, x};
}
inline F zero() {
    return set1(0);
}
inline F load_f32(const void* p) {
    F v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
inline F load(const float* p) {
    return load_f32(p);
}
inline F load_n(const float* p, int n) {
    return each([&](int i) { return i < n ? p[i] : 0.0f; });
}
inline void store(float* p, F v) {
    __builtin_memcpy(p, &v, sizeof v);
}
inline void store_n(float* p, F v, int n) {
    for (int i = 0; i < n; ++i) p[i] = v[i];
}
inline F add(F a, F b) {
    return a + b;
}
inline F sub(F a, F b) {
    return a - b;
}
inline F mul(F a, F b) {
    return a * b;
}
inline F div(F a, F b) {
    return a / b;
}
inline F fma(F a, F b, F c) {
    return a * b + c;
}
// The second operand where they do not compare.
inline F max(F a, F b) {
    return a > b ? a : b;
}
inline F min(F a, F b) {
    return a < b ? a : b;
}
inline F absolute(F a) {
    return max(a, -a);
}
// Adding and taking away 1.5 * 2^23 rounds to even for |x| < 2^22, which is all that is asked here.
inline F round_even(F a) {
    return (a + set1(12582912.0f)) - set1(12582912.0f);
}
inline F select_less(F a, F b, F yes, F no) {
    return a < b ? yes : no;
}
inline F power_of_two(F n) {
    return each([&](int i) {
        const bool whole = n[i] >= -126.0f && n[i] <= 127.0f;  // and not a NaN
        const int32_t bits = ((whole ? static_cast<int32_t>(n[i]) : 0) + 127) << 23;
        float value;
        __builtin_memcpy(&value, &bits, sizeof value);
        return value;
    });
}
inline float reduce_add(F v) {
    return (v[0] + v[2]) + (v[1] + v[3]);
}
inline float reduce_max(F v) {
    const float a = v[0] > v[1] ? v[0] : v[1], b = v[2] > v[3] ? v[2] : v[3];
    return a > b ? a : b;
}

template <typename Small>
inline F load_small(const void* p) {
    Small values __attribute__((vector_size(kLanes * sizeof(Small))));
    __builtin_memcpy(&values, p, sizeof values);
    return __builtin_convertvector(values, F);
}
inline F load_bf16(const void* p) {
    uint16_t bits __attribute__((vector_size(kLanes * sizeof(uint16_t))));
    __builtin_memcpy(&bits, p, sizeof bits);
    return reinterpret_cast<F>(__builtin_convertvector(bits, I) << 16);
}
inline F load_f16(const void* p) {
    return each([&](int i) { return f16_to_float(read<uint16_t>(p, i)); });
}
inline F load_i8(const void* p) {
    return load_small<int8_t>(p);
}
inline F load_u8(const void* p) {
    return load_small<uint8_t>(p);
}
inline F load_e4m3(const void* p) {
    return each([&](int i) { return e4m3_to_float(read<uint8_t>(p, i)); });
}
inline F load_e2m1(const void* p) {
    return each([&](int i) {
        const uint8_t byte = read<uint8_t>(p, i / 2);
        return e2m1_to_float(static_cast<uint8_t>(i % 2 == 0 ? byte & 15 : byte >> 4));
    });
}
inline void store_i8(int8_t* p, F v) {
    for (int i = 0; i < kLanes; ++i) {
        p[i] = v[i] >= -127.0f && v[i] <= 127.0f ? static_cast<int8_t>(v[i]) : int8_t{0};
    }
}

inline I izero() {
    return I{};
}
inline I iload(const void* p) {
    I v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
inline void istore(void* p, I v) {
    __builtin_memcpy(p, &v, sizeof v);
}
inline I iadd(I a, I b) {
    return a + b;
}
inline I load_u8_dwords(const void* p) {
    return I{read<uint8_t>(p, 0), read<uint8_t>(p, 1), read<uint8_t>(p, 2), read<uint8_t>(p, 3)};
}
inline I words_down4(I v) {
    return ((v << 16) >> 20 & 0xffff) | (v >> 20) << 16;
}
inline F to_float(I v) {
    return __builtin_convertvector(v, F);
}
inline I as_int(F v) {
    return reinterpret_cast<I>(v);
}
inline F as_float(I v) {
    return reinterpret_cast<F>(v);
}
inline I broadcast4(const void* p) {
    const auto value = read<int32_t>(p, 0);
    return I{value, value, value, value};
}
inline F low_bf16(I v) {
    return as_float(v << 16);
}
inline F high_bf16(I v) {
    return as_float(v & static_cast<int32_t>(0xffff0000));
}
inline F low_f16(I v) {
    return each([&](int i) { return f16_to_float(static_cast<uint16_t>(v[i])); });
}
inline F high_f16(I v) {
    return each([&](int i) { return f16_to_float(static_cast<uint16_t>(v[i] >> 16)); });
}
inline I low_nibbles(I v) {
    return v & 0x0f0f0f0f;
}
inline I high_nibbles(I v) {
    return (v >> 4) & 0x0f0f0f0f;
}

// acc + the four products of every dword, unsigned bytes of w times signed bytes of x; w < 128 unless kWide.
template <bool kWide>
inline I dot4(I acc, I w, I x) {
#ifdef __ARM_FEATURE_DOTPROD
    const auto values = reinterpret_cast<int8x16_t>(x);
    if constexpr (!kWide) return reinterpret_cast<I>(vdotq_s32(acc, reinterpret_cast<int8x16_t>(w), values));
    // w as a signed byte is w - 128; the difference is 128 times the sum of x.
    const auto signed_w = veorq_s8(reinterpret_cast<int8x16_t>(w), vdupq_n_s8(-128));
    const int32x4_t sums = vdotq_s32(vdupq_n_s32(0), vdupq_n_s8(1), values);
    return reinterpret_cast<I>(vaddq_s32(vdotq_s32(acc, signed_w, values), vshlq_n_s32(sums, 7)));
#else
    return acc + (w & 0xff) * ((x << 24) >> 24) + ((w >> 8) & 0xff) * ((x << 16) >> 24) +
           ((w >> 16) & 0xff) * ((x << 8) >> 24) + ((w >> 24) & 0xff) * (x >> 24);
#endif
}
inline I isub(I a, I b) {
    return a - b;
}
inline I imul(I a, I b) {
    return a * b;
}
inline I iand(I a, I b) {
    return a & b;
}
inline I ior(I a, I b) {
    return a | b;
}
inline I ixor(I a, I b) {
    return a ^ b;
}
inline I set1_i32(int32_t value) {
    return I{value, value, value, value};
}
inline I set1_i8(int value) {
    return set1_i32(static_cast<int32_t>((value & 0xffU) * 0x01010101U));
}
template <int kBits>
inline I shift_left(I v) {
    return v << kBits;
}
// What comes in from above is masked away by whoever asks.
template <int kBits>
inline I shift_right(I v) {
    return v >> kBits;
}
inline I shift_down(I v, I counts) {
    return v >> counts;
}
inline I broadcast16(const void* p) {
    return iload(p);
}
inline I shuffle_bytes(I v, I index) {
#ifdef __ARM_FEATURE_DOTPROD
    return reinterpret_cast<I>(vqtbl1q_u8(reinterpret_cast<uint8x16_t>(v), reinterpret_cast<uint8x16_t>(index)));
#else
    uint8_t from[kVectorBytes], at[kVectorBytes], to[kVectorBytes];
    istore(from, v);
    istore(at, index);
    for (int i = 0; i < kVectorBytes; ++i) to[i] = from[at[i]];
    return iload(to);
#endif
}
inline I load_parts(const std::byte* p, const int (&offsets)[1]) {
    return iload(p + offsets[0]);
}
inline I bytes_of_bits(uint64_t bits, int value) {
    uint8_t bytes[kVectorBytes];
    for (int i = 0; i < kVectorBytes; ++i) bytes[i] = static_cast<uint8_t>((bits >> i & 1) != 0 ? value : 0);
    return iload(bytes);
}
inline I add_bytes(I a, I b) {
    uint8_t x[kVectorBytes], y[kVectorBytes];
    istore(x, a);
    istore(y, b);
    for (int i = 0; i < kVectorBytes; ++i) x[i] = static_cast<uint8_t>(x[i] + y[i]);
    return iload(x);
}
inline I negate_bytes(I v, uint64_t bits) {
    const I minus = bytes_of_bits(bits, 255);
    return add_bytes(v ^ minus, bytes_of_bits(bits, 1));
}
inline I from_u64(const uint64_t (&values)[2]) {
    return iload(values);
}
inline I from_u32(const uint32_t (&values)[kLanes]) {
    return iload(values);
}
inline I upper_words(I v) {
    return v >> 16;
}
inline float half_to_float(uint16_t bits) {
    return f16_to_float(bits);
}
inline void store_words(int16_t* out, uint64_t low, uint64_t high, int lowered) {
    for (int i = 0; i < 8; ++i) {
        out[i] = static_cast<int16_t>(static_cast<int>(low >> (8 * i) & 0xff) - lowered);
        out[8 + i] = static_cast<int16_t>(static_cast<int>(high >> (8 * i) & 0xff) - lowered);
    }
}
inline void store_word_pairs(int16_t* out, uint64_t bytes, int lowered) {
    for (int i = 0; i < 8; ++i) {
        out[2 * i] = out[2 * i + 1] = static_cast<int16_t>(static_cast<int>(bytes >> (8 * i) & 0xff) - lowered);
    }
}
inline void store_products(int16_t* out, const int16_t* words, int factor) {
    for (int i = 0; i < 16; ++i) out[i] = static_cast<int16_t>(words[i] * factor);
}
inline I dot2(I acc, I a, I b) {
    return acc + ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
}
constexpr bool kWordRuns = false;
inline I add_run_products(I acc, I w, I x) {
    return dot4<false>(acc, w, x);
}
inline I add_run(I total, I run, I factor) {
    return total + run * factor;
}
inline I add_signed_run_products(I acc, I w, I x) {
    return acc + dot4<true>(I{}, w ^ set1_i8(128), x) - dot4<true>(I{}, set1_i8(128), x);
}
inline I add_signed_products(I total, I w, I x, I factor) {
    return total + (dot4<true>(I{}, w, x) - dot4<true>(I{}, set1_i8(128), x)) * (factor >> 16);
}
inline I multiply_words(I a, I b) {
    return (a * b & 0xffff) | ((a >> 16) * (b >> 16)) << 16;
}
inline I upper_bytes(I v) {
    return ((v << 16) >> 24 & 0xffff) | (v >> 24) << 16;
}
inline I dot4_times(I acc, I w, I x, I factor) {
    return acc + dot4<false>(I{}, w, x) * (factor >> 16);
}
inline I reduce4(I a, I b, I c, I d) {
    return I{(a[0] + a[1]) + (a[2] + a[3]), (b[0] + b[1]) + (b[2] + b[3]), (c[0] + c[1]) + (c[2] + c[3]),
             (d[0] + d[1]) + (d[2] + d[3])};
}
// A vector is one part.
inline void transpose_parts(I (&)[kLanes / 4]) {}

inline void transpose(I (&v)[kLanes]) {
    const I a = v[0], b = v[1], c = v[2], d = v[3];
    for (int i = 0; i < kLanes; ++i) v[i] = I{a[i], b[i], c[i], d[i]};
}

inline void load_transposed(const std::byte* const (&rows)[kLanes], int64_t offset, I (&v)[kLanes]) {
    for (int r = 0; r < kLanes; ++r) v[r] = iload(rows[r] + offset);
    transpose(v);
}

template <int kBits>
inline I unpack(const void* p) {
    uint8_t values[kVectorBytes];
    for (int i = 0; i < kVectorBytes; ++i) {
        const int bit = i * kBits;
        unsigned bits = static_cast<unsigned>(read<uint8_t>(p, bit / 8)) >> (bit % 8);
        if (bit % 8 + kBits > 8) bits |= static_cast<unsigned>(read<uint8_t>(p, bit / 8 + 1)) << (8 - bit % 8);
        values[i] = static_cast<uint8_t>(bits & ((1u << kBits) - 1));
    }
    return iload(values);
}

}  // namespace
}  // namespace sluice
