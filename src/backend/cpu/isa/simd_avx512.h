#pragma once

// Sixteen lanes of AVX-512 (F, BW, DQ, VL), with VNNI and VBMI where the file is compiled for them. Included by one
// translation unit per instruction set; everything has internal linkage so that no other unit can pick these copies.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace sluice {
namespace {

constexpr int kLanes = 16;  // floats, or dwords
constexpr int kVectorBytes = 64;
// Whether dot4<true> differs from dot4<false>.
#ifdef __AVX512VNNI__
constexpr bool kWideDiffers = false;
#else
constexpr bool kWideDiffers = true;
#endif
constexpr int kTileVectors = 2;  // row vectors of a packed tile
constexpr int kTileTokens = 6;   // rows of activations per pass over it: what the registers hold

using F = __m512;
using I = __m512i;

inline __mmask16 lane_mask(int n) {
    return static_cast<__mmask16>((1u << n) - 1u);
}

inline F zero() {
    return _mm512_setzero_ps();
}
inline F set1(float x) {
    return _mm512_set1_ps(x);
}
inline F load(const float* p) {
    return _mm512_loadu_ps(p);
}
inline F load_f32(const void* p) {
    return _mm512_loadu_ps(p);
}
inline F load_n(const float* p, int n) {
    return _mm512_maskz_loadu_ps(lane_mask(n), p);
}
inline void store(float* p, F v) {
    _mm512_storeu_ps(p, v);
}
inline void store_n(float* p, F v, int n) {
    _mm512_mask_storeu_ps(p, lane_mask(n), v);
}
inline F add(F a, F b) {
    return _mm512_add_ps(a, b);
}
inline F sub(F a, F b) {
    return _mm512_sub_ps(a, b);
}
inline F mul(F a, F b) {
    return _mm512_mul_ps(a, b);
}
inline F div(F a, F b) {
    return _mm512_div_ps(a, b);
}
inline F fma(F a, F b, F c) {
    return _mm512_fmadd_ps(a, b, c);
}
inline F max(F a, F b) {
    return _mm512_max_ps(a, b);
}
inline F min(F a, F b) {
    return _mm512_min_ps(a, b);
}
inline F absolute(F a) {
    return _mm512_abs_ps(a);
}
inline F round_even(F a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline F select_less(F a, F b, F yes, F no) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}
// 2^n for whole n in [-126, 127].
inline F power_of_two(F n) {
    const I exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23));
}
inline float reduce_add(F v) {
    const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
inline float reduce_max(F v) {
    const __m256 a = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    const __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
}

inline F load_bf16(const void* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_epi16(p)), 16));
}
inline F load_f16(const void* p) {
    return _mm512_cvtph_ps(_mm256_loadu_epi16(p));
}
inline F load_i8(const void* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_epi8(p)));
}
inline F load_u8(const void* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_epi8(p)));
}
// E4M3 is F16 with the exponent 8 too small once its bits are shifted; F16 conversion knows subnormals.
inline F load_e4m3(const void* p) {
    const __m256i bits = _mm256_cvtepu8_epi16(_mm_loadu_epi8(p));
    const __m256i magnitude = _mm256_and_si256(bits, _mm256_set1_epi16(0x7f));
    const __m256i sign = _mm256_slli_epi16(_mm256_sub_epi16(bits, magnitude), 8);
    const __mmask16 nan = _mm256_cmpeq_epi16_mask(magnitude, _mm256_set1_epi16(0x7f));
    const __m256i half = _mm256_or_si256(sign, _mm256_slli_epi16(magnitude, 7));
    const __m256i value = _mm256_mask_mov_epi16(half, nan, _mm256_set1_epi16(0x7e00));
    return _mm512_mul_ps(_mm512_cvtph_ps(value), _mm512_set1_ps(256.0f));
}
// Sixteen E2M1 nibbles of eight bytes, low nibble first.
inline F load_e2m1(const void* p) {
    const __m128i words = _mm_cvtepu8_epi16(_mm_loadl_epi64(static_cast<const __m128i*>(p)));
    const __m128i high = _mm_slli_epi16(_mm_and_si128(words, _mm_set1_epi16(0xf0)), 4);
    const __m128i nibbles = _mm_or_si128(_mm_and_si128(words, _mm_set1_epi16(0x0f)), high);
    const __m128i twice = _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
    const F values = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_shuffle_epi8(twice, nibbles)));
    return _mm512_mul_ps(values, _mm512_set1_ps(0.5f));
}
// Whole numbers in [-127, 127] as signed bytes.
inline void store_i8(int8_t* p, F v) {
    _mm_storeu_epi8(p, _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(v)));
}

inline I izero() {
    return _mm512_setzero_si512();
}
inline I iload(const void* p) {
    return _mm512_loadu_si512(p);
}
inline void istore(void* p, I v) {
    _mm512_storeu_si512(p, v);
}
inline I iadd(I a, I b) {
    return _mm512_add_epi32(a, b);
}
// kLanes bytes as dwords.
inline I load_u8_dwords(const void* p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_epi8(p));
}
// Signed words, four places down.
inline I words_down4(I v) {
    return _mm512_srai_epi16(v, 4);
}
inline F to_float(I v) {
    return _mm512_cvtepi32_ps(v);
}
inline I as_int(F v) {
    return _mm512_castps_si512(v);
}
inline F as_float(I v) {
    return _mm512_castsi512_ps(v);
}
inline I broadcast4(const void* p) {
    int32_t dword;
    __builtin_memcpy(&dword, p, sizeof dword);
    return _mm512_set1_epi32(dword);
}
// The lower and upper 16 bits of every dword as floats.
inline F low_bf16(I v) {
    return as_float(_mm512_slli_epi32(v, 16));
}
inline F high_bf16(I v) {
    return as_float(_mm512_and_si512(v, _mm512_set1_epi32(static_cast<int>(0xffff0000))));
}
inline F low_f16(I v) {
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
}
inline F high_f16(I v) {
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(v, 16)));
}
inline I low_nibbles(I v) {
    return _mm512_and_si512(v, _mm512_set1_epi8(0x0f));
}
inline I high_nibbles(I v) {
    return _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(0x0f));
}

inline I isub(I a, I b) {
    return _mm512_sub_epi32(a, b);
}
inline I imul(I a, I b) {
    return _mm512_mullo_epi32(a, b);
}
inline I iand(I a, I b) {
    return _mm512_and_si512(a, b);
}
inline I ior(I a, I b) {
    return _mm512_or_si512(a, b);
}
inline I ixor(I a, I b) {
    return _mm512_xor_si512(a, b);
}
inline I set1_i32(int32_t value) {
    return _mm512_set1_epi32(value);
}
inline I set1_i8(int value) {
    return _mm512_set1_epi8(static_cast<char>(value));
}
template <int kBits>
inline I shift_left(I v) {
    return _mm512_slli_epi32(v, kBits);
}
// What comes in from above, or from other bytes, is masked away by whoever asks.
template <int kBits>
inline I shift_right(I v) {
    return _mm512_srli_epi32(v, kBits);
}
// Every dword shifted down by that of `counts`.
inline I shift_down(I v, I counts) {
    return _mm512_srlv_epi32(v, counts);
}
inline I broadcast16(const void* p) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}
// Bytes of each 128-bit part of v, chosen by those of `index`, which are below 16.
inline I shuffle_bytes(I v, I index) {
    return _mm512_shuffle_epi8(v, index);
}
// Part i of the vector is 16 bytes at p + offsets[i]; offsets are known where this is inlined.
inline I load_parts(const std::byte* p, const int (&offsets)[kLanes / 4]) {
    const int o0 = offsets[0], o1 = offsets[1], o2 = offsets[2], o3 = offsets[3];
    const auto piece = [&](int offset) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + offset)); };
    if (o1 == o0 + 16 && o2 == o0 + 32 && o3 == o0 + 48) return _mm512_loadu_si512(p + o0);
    if (o1 == o0 + 16 && o3 == o2 + 16) {
        const auto pair = [&](int offset) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + offset)); };
        if (o2 == o0) return _mm512_broadcast_i64x4(pair(o0));
        return _mm512_inserti64x4(_mm512_castsi256_si512(pair(o0)), pair(o2), 1);
    }
    I v = _mm512_broadcast_i32x4(piece(o0));
    if (o1 != o0) v = _mm512_mask_broadcast_i32x4(v, 0x00f0, piece(o1));
    if (o3 == o2) return _mm512_mask_broadcast_i32x4(v, 0xff00, piece(o2));
    v = _mm512_mask_broadcast_i32x4(v, 0x0f00, piece(o2));
    return _mm512_mask_broadcast_i32x4(v, 0xf000, piece(o3));
}
// Bytes of `value` where a bit is set, else zero.
inline I bytes_of_bits(uint64_t bits, int value) {
    return _mm512_maskz_set1_epi8(bits, static_cast<char>(value));
}
// Bytes with the other sign where a bit is set.
inline I negate_bytes(I v, uint64_t bits) {
    return _mm512_mask_sub_epi8(v, bits, _mm512_setzero_si512(), v);
}
inline I add_bytes(I a, I b) {
    return _mm512_add_epi8(a, b);
}
inline I from_u64(const uint64_t (&values)[8]) {
    const auto at = [&](int i) { return static_cast<long long>(values[i]); };
    return _mm512_set_epi64(at(7), at(6), at(5), at(4), at(3), at(2), at(1), at(0));
}
inline I from_u32(const uint32_t (&values)[kLanes]) {
    const auto at = [&](int i) { return static_cast<int>(values[i]); };
    return _mm512_setr_epi32(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7), at(8), at(9), at(10), at(11),
                             at(12), at(13), at(14), at(15));
}
// The upper words of all dwords.
inline I upper_words(I v) {
    return _mm512_srai_epi32(v, 16);
}
inline float half_to_float(uint16_t bits) {
    return _cvtsh_ss(bits);
}

// Sixteen bytes, less `lowered`, as words.
inline void store_words(int16_t* out, uint64_t low, uint64_t high, int lowered) {
    const __m128i bytes = _mm_set_epi64x(static_cast<long long>(high), static_cast<long long>(low));
    const __m256i words = _mm256_sub_epi16(_mm256_cvtepu8_epi16(bytes), _mm256_set1_epi16(static_cast<short>(lowered)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), words);
}
// Eight bytes, less `lowered`, as pairs of equal words.
inline void store_word_pairs(int16_t* out, uint64_t bytes, int lowered) {
    const __m256i dwords = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(bytes)));
    const __m256i words = _mm256_or_si256(dwords, _mm256_slli_epi32(dwords, 16));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out),
                        _mm256_sub_epi16(words, _mm256_set1_epi16(static_cast<short>(lowered))));
}
// Sixteen words times a factor.
inline void store_products(int16_t* out, const int16_t* words, int factor) {
    const __m256i in = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out),
                        _mm256_mullo_epi16(in, _mm256_set1_epi16(static_cast<short>(factor))));
}
// acc + the two products of every dword, signed words.
inline I dot2(I acc, I a, I b) {
#ifdef __AVX512VNNI__
    return _mm512_dpwssd_epi32(acc, a, b);
#else
    return _mm512_add_epi32(acc, _mm512_madd_epi16(a, b));
#endif
}
// acc + the products of unsigned bytes below 128, signed bytes and a factor: a word in each half of the dword.
inline I dot4_times(I acc, I w, I x, I factor) {
    return dot2(acc, _mm512_maddubs_epi16(w, x), factor);
}

// A sum that is made where it stands: the compiler would rather make all products first, for which registers lack.
inline I in_order(I sum) {
    asm volatile("" : "+v"(sum));
    return sum;
}

// Products of a run of columns that share a factor: unsigned bytes below 128, signed ones, added up as words
// (kWordRuns) or dwords; add_run adds them times the run's factor, which stands in both words or is the dword.
#ifdef __AVX512VNNI__
constexpr bool kWordRuns = false;
inline I add_run_products(I acc, I w, I x) {
    return _mm512_dpbusd_epi32(acc, w, x);
}
inline I add_run(I total, I run, I factor) {
    return _mm512_add_epi32(total, _mm512_mullo_epi32(run, factor));
}
#else
constexpr bool kWordRuns = true;
inline I add_run_products(I acc, I w, I x) {
    return in_order(_mm512_add_epi16(acc, _mm512_maddubs_epi16(w, x)));
}
inline I add_run(I total, I run, I factor) {
    return in_order(dot2(total, run, factor));
}
#endif
// add_run_products for codes that are signed.
inline I add_signed_run_products(I acc, I w, I x) {
    return add_run_products(acc, _mm512_abs_epi8(w), negate_bytes(x, _mm512_movepi8_mask(w)));
}
// total + the products of codes less 128, signed bytes and a factor in both words of the dword.
inline I add_signed_products(I total, I w, I x, I factor) {
    const I code = ixor(w, set1_i8(128));
    const I signed_x = negate_bytes(x, _mm512_movepi8_mask(code));
    return in_order(dot2(total, _mm512_maddubs_epi16(_mm512_abs_epi8(code), signed_x), factor));
}
inline I multiply_words(I a, I b) {
    return _mm512_mullo_epi16(a, b);
}
// The upper byte of every word, which is signed.
inline I upper_bytes(I v) {
    return _mm512_srai_epi16(v, 8);
}

// acc + the four products of every dword, unsigned bytes of w times signed bytes of x. Exact for w < 128 and |x| <=
// 127; with kWide for every w.
template <bool kWide>
inline I dot4(I acc, I w, I x) {
#ifdef __AVX512VNNI__
    return _mm512_dpbusd_epi32(acc, w, x);
#else
    if constexpr (kWide) {
        const I w_even = _mm512_and_si512(w, _mm512_set1_epi16(0xff));
        const I x_even = _mm512_srai_epi16(_mm512_slli_epi16(x, 8), 8);
        const I odd = _mm512_madd_epi16(_mm512_srli_epi16(w, 8), _mm512_srai_epi16(x, 8));
        return _mm512_add_epi32(acc, _mm512_add_epi32(_mm512_madd_epi16(w_even, x_even), odd));
    } else {
        const I pairs = _mm512_maddubs_epi16(w, x);
        return _mm512_add_epi32(acc, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
    }
#endif
}

// In every 128-bit part: the sums of that part of a, b, c and d.
inline I reduce4(I a, I b, I c, I d) {
    const I ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    const I cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}

// Parts a0 + a1, a2 + a3, b0 + b1, b2 + b3, of 128 bits.
inline I add_part_pairs(I a, I b) {
    return _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd));
}

// v[i] part j becomes v[j] part i, parts of 128 bits.
inline void transpose_parts(I (&v)[kLanes / 4]) {
    const I a = _mm512_shuffle_i32x4(v[0], v[1], 0x44), b = _mm512_shuffle_i32x4(v[0], v[1], 0xee);
    const I c = _mm512_shuffle_i32x4(v[2], v[3], 0x44), d = _mm512_shuffle_i32x4(v[2], v[3], 0xee);
    v[0] = _mm512_shuffle_i32x4(a, c, 0x88);
    v[1] = _mm512_shuffle_i32x4(a, c, 0xdd);
    v[2] = _mm512_shuffle_i32x4(b, d, 0x88);
    v[3] = _mm512_shuffle_i32x4(b, d, 0xdd);
}

inline void transpose(I (&v)[kLanes]) {
    for (int i = 0; i < kLanes; i += 4) {
        const I a = _mm512_unpacklo_epi32(v[i], v[i + 1]), b = _mm512_unpackhi_epi32(v[i], v[i + 1]);
        const I c = _mm512_unpacklo_epi32(v[i + 2], v[i + 3]), d = _mm512_unpackhi_epi32(v[i + 2], v[i + 3]);
        v[i] = _mm512_unpacklo_epi64(a, c);
        v[i + 1] = _mm512_unpackhi_epi64(a, c);
        v[i + 2] = _mm512_unpacklo_epi64(b, d);
        v[i + 3] = _mm512_unpackhi_epi64(b, d);
    }
    // v[4q + j] part p holds column 4p + j of rows 4q .. 4q + 3.
    for (int j = 0; j < 4; ++j) {
        I column[4] = {v[j], v[4 + j], v[8 + j], v[12 + j]};
        transpose_parts(column);
        for (int p = 0; p < 4; ++p) v[4 * p + j] = column[p];
    }
}

// v[i] lane r is dword i of the vector at rows[r] + offset: the 128-bit parts are put in their places as they are
// loaded, which leaves half of the shuffles of transpose().
inline void load_transposed(const std::byte* const (&rows)[kLanes], int64_t offset, I (&v)[kLanes]) {
#pragma GCC unroll 4
    for (int part = 0; part < 4; ++part) {
        I quads[4];
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) {
            const auto piece = [&](int row) {
                return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[row] + offset + 16 * part));
            };
            I quad = _mm512_castsi128_si512(piece(q));
            quad = _mm512_mask_broadcast_i32x4(quad, 0x00f0, piece(q + 4));
            quad = _mm512_mask_broadcast_i32x4(quad, 0x0f00, piece(q + 8));
            quads[q] = _mm512_mask_broadcast_i32x4(quad, 0xf000, piece(q + 12));
        }
        const I a = _mm512_unpacklo_epi32(quads[0], quads[1]), b = _mm512_unpackhi_epi32(quads[0], quads[1]);
        const I c = _mm512_unpacklo_epi32(quads[2], quads[3]), d = _mm512_unpackhi_epi32(quads[2], quads[3]);
        v[4 * part] = _mm512_unpacklo_epi64(a, c);
        v[4 * part + 1] = _mm512_unpackhi_epi64(a, c);
        v[4 * part + 2] = _mm512_unpacklo_epi64(b, d);
        v[4 * part + 3] = _mm512_unpackhi_epi64(b, d);
    }
}

#ifdef __AVX512VBMI__
// The bytes of every run of eight values, eight runs, and where each value starts in its run.
template <int kBits>
struct UnpackTable {
    alignas(64) int8_t bytes[64], shifts[64];

    constexpr UnpackTable() : bytes{}, shifts{} {
        for (int i = 0; i < 64; ++i) {
            bytes[i] = static_cast<int8_t>((kBits * (i / 8) + i % 8) % 64);
            shifts[i] = static_cast<int8_t>(kBits * (i % 8));
        }
    }
};
#else
// Two neighbours lie in one word, if it starts at the byte where the first of them does. Per 128-bit part, which holds
// the run of sixteen values that starts in its first dword: the dwords of the run, the bytes of each pair of
// neighbours, and how far to shift them down.
template <int kBits>
struct UnpackTable {
    alignas(64) int32_t dwords[16];
    alignas(64) int8_t bytes[64];
    alignas(64) int16_t shifts[32];

    constexpr UnpackTable() : dwords{}, bytes{}, shifts{} {
        for (int part = 0; part < 4; ++part) {
            const int first = 2 * kBits * part;
            for (int i = 0; i < 4; ++i) dwords[4 * part + i] = (first / 4 + i) % 16;
            for (int pair = 0; pair < 8; ++pair) {
                const int bit = first % 4 * 8 + 2 * pair * kBits;
                bytes[16 * part + 2 * pair] = static_cast<int8_t>(bit / 8);
                bytes[16 * part + 2 * pair + 1] = static_cast<int8_t>(bit / 8 + 1);
                shifts[8 * part + pair] = static_cast<int16_t>(bit % 8);
            }
        }
    }
};
#endif
template <int kBits>
constexpr UnpackTable<kBits> kUnpack{};

// Sixty-four values of `kBits` bits as unsigned bytes, in order.
template <int kBits>
inline I unpack(const void* p) {
    if constexpr (kBits == 8) {
        return _mm512_loadu_si512(p);
    } else {
        const auto& table = kUnpack<kBits>;
        const I packed = _mm512_maskz_loadu_epi8((1ull << (8 * kBits)) - 1, p);
#ifdef __AVX512VBMI__
        const I runs = _mm512_permutexvar_epi8(_mm512_load_si512(table.bytes), packed);
        const I values = _mm512_multishift_epi64_epi8(_mm512_load_si512(table.shifts), runs);
        return _mm512_and_si512(values, _mm512_set1_epi8((1 << kBits) - 1));
#else
        const I runs = _mm512_permutexvar_epi32(_mm512_load_si512(table.dwords), packed);
        const I pairs = _mm512_srlv_epi16(_mm512_shuffle_epi8(runs, _mm512_load_si512(table.bytes)),
                                          _mm512_load_si512(table.shifts));
        const I upper = _mm512_slli_epi16(pairs, 8 - kBits);
        // The lower bytes of pairs, the upper ones of upper.
        const I both = _mm512_ternarylogic_epi32(_mm512_set1_epi16(0xff), pairs, upper, 0xca);
        return _mm512_and_si512(both, _mm512_set1_epi8((1 << kBits) - 1));
#endif
    }
}

}  // namespace
}  // namespace sluice
