#pragma once

// Eight lanes of AVX2 with FMA and F16C, with AVX-VNNI where the file is compiled for it. Same interface as
// simd_avx512.h.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace sluice {
namespace {

constexpr int kLanes = 8;
constexpr int kVectorBytes = 32;
// Whether dot4<true> differs from dot4<false>.
#ifdef __AVXVNNI__
constexpr bool kWideDiffers = false;
#else
constexpr bool kWideDiffers = true;
#endif
constexpr int kTileVectors = 2;  // row vectors of a packed tile
constexpr int kTileTokens = 3;   // rows of activations per pass over it: what the registers hold

using F = __m256;
using I = __m256i;

inline I lane_mask(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline __m128i load16(const void* p) {
    return _mm_loadu_si128(static_cast<const __m128i*>(p));
}
inline __m128i load8(const void* p) {
    return _mm_loadl_epi64(static_cast<const __m128i*>(p));
}

inline F zero() {
    return _mm256_setzero_ps();
}
inline F set1(float x) {
    return _mm256_set1_ps(x);
}
inline F load(const float* p) {
    return _mm256_loadu_ps(p);
}
inline F load_f32(const void* p) {
    return _mm256_castsi256_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
}
inline F load_n(const float* p, int n) {
    return _mm256_maskload_ps(p, lane_mask(n));
}
inline void store(float* p, F v) {
    _mm256_storeu_ps(p, v);
}
inline void store_n(float* p, F v, int n) {
    _mm256_maskstore_ps(p, lane_mask(n), v);
}
inline F add(F a, F b) {
    return _mm256_add_ps(a, b);
}
inline F sub(F a, F b) {
    return _mm256_sub_ps(a, b);
}
inline F mul(F a, F b) {
    return _mm256_mul_ps(a, b);
}
inline F div(F a, F b) {
    return _mm256_div_ps(a, b);
}
inline F fma(F a, F b, F c) {
    return _mm256_fmadd_ps(a, b, c);
}
inline F max(F a, F b) {
    return _mm256_max_ps(a, b);
}
inline F min(F a, F b) {
    return _mm256_min_ps(a, b);
}
inline F absolute(F a) {
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
inline F round_even(F a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline F select_less(F a, F b, F yes, F no) {
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}
inline F power_of_two(F n) {
    const I exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
}
inline float reduce_add(F v) {
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
inline float reduce_max(F v) {
    const __m128 b = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 c = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
}

inline F load_bf16(const void* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load16(p)), 16));
}
inline F load_f16(const void* p) {
    return _mm256_cvtph_ps(load16(p));
}
inline F load_i8(const void* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(load8(p)));
}
inline F load_u8(const void* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(load8(p)));
}
inline F load_e4m3(const void* p) {
    const __m128i bits = _mm_cvtepu8_epi16(load8(p));
    const __m128i magnitude = _mm_and_si128(bits, _mm_set1_epi16(0x7f));
    const __m128i sign = _mm_slli_epi16(_mm_sub_epi16(bits, magnitude), 8);
    const __m128i nan = _mm_cmpeq_epi16(magnitude, _mm_set1_epi16(0x7f));
    const __m128i half = _mm_or_si128(sign, _mm_slli_epi16(magnitude, 7));
    const __m128i value = _mm_blendv_epi8(half, _mm_set1_epi16(0x7e00), nan);
    return _mm256_mul_ps(_mm256_cvtph_ps(value), _mm256_set1_ps(256.0f));
}
inline F load_e2m1(const void* p) {
    int32_t packed;
    __builtin_memcpy(&packed, p, sizeof packed);
    const __m128i words = _mm_cvtepu8_epi16(_mm_cvtsi32_si128(packed));
    const __m128i high = _mm_slli_epi16(_mm_and_si128(words, _mm_set1_epi16(0xf0)), 4);
    const __m128i nibbles = _mm_or_si128(_mm_and_si128(words, _mm_set1_epi16(0x0f)), high);
    const __m128i twice = _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
    const F values = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_shuffle_epi8(twice, nibbles)));
    return _mm256_mul_ps(values, _mm256_set1_ps(0.5f));
}
inline void store_i8(int8_t* p, F v) {
    const I dwords = _mm256_cvtps_epi32(v);
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(dwords), _mm256_extracti128_si256(dwords, 1));
    const int64_t bytes = _mm_cvtsi128_si64(_mm_packs_epi16(words, words));
    __builtin_memcpy(p, &bytes, sizeof bytes);
}

inline I izero() {
    return _mm256_setzero_si256();
}
inline I iload(const void* p) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
inline void istore(void* p, I v) {
    _mm256_storeu_si256(static_cast<__m256i*>(p), v);
}
inline I iadd(I a, I b) {
    return _mm256_add_epi32(a, b);
}
inline I load_u8_dwords(const void* p) {
    return _mm256_cvtepu8_epi32(load8(p));
}
inline I words_down4(I v) {
    return _mm256_srai_epi16(v, 4);
}
inline F to_float(I v) {
    return _mm256_cvtepi32_ps(v);
}
inline I as_int(F v) {
    return _mm256_castps_si256(v);
}
inline F as_float(I v) {
    return _mm256_castsi256_ps(v);
}
inline I broadcast4(const void* p) {
    int32_t dword;
    __builtin_memcpy(&dword, p, sizeof dword);
    return _mm256_set1_epi32(dword);
}
inline F low_bf16(I v) {
    return as_float(_mm256_slli_epi32(v, 16));
}
inline F high_bf16(I v) {
    return as_float(_mm256_and_si256(v, _mm256_set1_epi32(static_cast<int>(0xffff0000))));
}
inline F low_f16(I v) {
    const I low = _mm256_and_si256(v, _mm256_set1_epi32(0xffff));
    return _mm256_cvtph_ps(_mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)));
}
inline F high_f16(I v) {
    return low_f16(_mm256_srli_epi32(v, 16));
}
inline I low_nibbles(I v) {
    return _mm256_and_si256(v, _mm256_set1_epi8(0x0f));
}
inline I high_nibbles(I v) {
    return _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(0x0f));
}

inline I isub(I a, I b) {
    return _mm256_sub_epi32(a, b);
}
inline I imul(I a, I b) {
    return _mm256_mullo_epi32(a, b);
}
inline I iand(I a, I b) {
    return _mm256_and_si256(a, b);
}
inline I ior(I a, I b) {
    return _mm256_or_si256(a, b);
}
inline I ixor(I a, I b) {
    return _mm256_xor_si256(a, b);
}
inline I set1_i32(int32_t value) {
    return _mm256_set1_epi32(value);
}
inline I set1_i8(int value) {
    return _mm256_set1_epi8(static_cast<char>(value));
}
template <int kBits>
inline I shift_left(I v) {
    return _mm256_slli_epi32(v, kBits);
}
template <int kBits>
inline I shift_right(I v) {
    return _mm256_srli_epi32(v, kBits);
}
inline I shift_down(I v, I counts) {
    return _mm256_srlv_epi32(v, counts);
}
inline I broadcast16(const void* p) {
    return _mm256_broadcastsi128_si256(load16(p));
}
inline I shuffle_bytes(I v, I index) {
    return _mm256_shuffle_epi8(v, index);
}
inline I load_parts(const std::byte* p, const int (&offsets)[kLanes / 4]) {
    if (offsets[1] == offsets[0] + 16) return iload(p + offsets[0]);
    if (offsets[1] == offsets[0]) return broadcast16(p + offsets[0]);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(load16(p + offsets[0])), load16(p + offsets[1]), 1);
}
inline I bytes_of_bits(uint64_t bits, int value) {
    const I spread =
        _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(bits)),
                            _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303));
    const I each = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201));
    return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(spread, each), each), set1_i8(value));
}
inline I negate_bytes(I v, uint64_t bits) {
    const I minus = bytes_of_bits(bits, 255);
    return _mm256_sub_epi8(_mm256_xor_si256(v, minus), minus);
}
inline I add_bytes(I a, I b) {
    return _mm256_add_epi8(a, b);
}
inline I from_u64(const uint64_t (&values)[4]) {
    const auto at = [&](int i) { return static_cast<long long>(values[i]); };
    return _mm256_set_epi64x(at(3), at(2), at(1), at(0));
}
inline I from_u32(const uint32_t (&values)[kLanes]) {
    const auto at = [&](int i) { return static_cast<int>(values[i]); };
    return _mm256_setr_epi32(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7));
}
inline I upper_words(I v) {
    return _mm256_srai_epi32(v, 16);
}
inline float half_to_float(uint16_t bits) {
    return _cvtsh_ss(bits);
}
inline void store_words(int16_t* out, uint64_t low, uint64_t high, int lowered) {
    const __m128i bytes = _mm_set_epi64x(static_cast<long long>(high), static_cast<long long>(low));
    const __m256i words = _mm256_sub_epi16(_mm256_cvtepu8_epi16(bytes), _mm256_set1_epi16(static_cast<short>(lowered)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), words);
}
inline void store_word_pairs(int16_t* out, uint64_t bytes, int lowered) {
    const __m256i dwords = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(bytes)));
    const __m256i words = _mm256_or_si256(dwords, _mm256_slli_epi32(dwords, 16));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out),
                        _mm256_sub_epi16(words, _mm256_set1_epi16(static_cast<short>(lowered))));
}
inline void store_products(int16_t* out, const int16_t* words, int factor) {
    const __m256i in = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out),
                        _mm256_mullo_epi16(in, _mm256_set1_epi16(static_cast<short>(factor))));
}
inline I dot2(I acc, I a, I b) {
#ifdef __AVXVNNI__
    return _mm256_dpwssd_avx_epi32(acc, a, b);
#else
    return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b));
#endif
}
inline I in_order(I sum) {
    asm volatile("" : "+x"(sum));
    return sum;
}
#ifdef __AVXVNNI__
constexpr bool kWordRuns = false;
inline I add_run_products(I acc, I w, I x) {
    return _mm256_dpbusd_avx_epi32(acc, w, x);
}
inline I add_run(I total, I run, I factor) {
    return _mm256_add_epi32(total, _mm256_mullo_epi32(run, factor));
}
#else
constexpr bool kWordRuns = true;
inline I add_run_products(I acc, I w, I x) {
    return in_order(_mm256_add_epi16(acc, _mm256_maddubs_epi16(w, x)));
}
inline I add_run(I total, I run, I factor) {
    return in_order(dot2(total, run, factor));
}
#endif
inline I add_signed_run_products(I acc, I w, I x) {
    return add_run_products(acc, _mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
}
inline I add_signed_products(I total, I w, I x, I factor) {
    const I code = _mm256_xor_si256(w, _mm256_set1_epi8(-128));
    return in_order(dot2(total, _mm256_maddubs_epi16(_mm256_abs_epi8(code), _mm256_sign_epi8(x, code)), factor));
}
inline I multiply_words(I a, I b) {
    return _mm256_mullo_epi16(a, b);
}
inline I upper_bytes(I v) {
    return _mm256_srai_epi16(v, 8);
}
inline I dot4_times(I acc, I w, I x, I factor) {
    return dot2(acc, _mm256_maddubs_epi16(w, x), factor);
}

template <bool kWide>
inline I dot4(I acc, I w, I x) {
#ifdef __AVXVNNI__
    return _mm256_dpbusd_avx_epi32(acc, w, x);
#else
    if constexpr (kWide) {
        const I w_even = _mm256_and_si256(w, _mm256_set1_epi16(0xff));
        const I x_even = _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8);
        const I odd = _mm256_madd_epi16(_mm256_srli_epi16(w, 8), _mm256_srai_epi16(x, 8));
        return _mm256_add_epi32(acc, _mm256_add_epi32(_mm256_madd_epi16(w_even, x_even), odd));
    } else {
        const I pairs = _mm256_maddubs_epi16(w, x);
        return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
#endif
}

inline I reduce4(I a, I b, I c, I d) {
    const I ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    const I cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    return _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
}
// Parts a0 + a1, b0 + b1.
inline I add_part_pairs(I a, I b) {
    return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
}
inline void transpose_parts(I (&v)[kLanes / 4]) {
    const I a = v[0], b = v[1];
    v[0] = _mm256_permute2x128_si256(a, b, 0x20);
    v[1] = _mm256_permute2x128_si256(a, b, 0x31);
}
inline void transpose(I (&v)[kLanes]) {
    for (int i = 0; i < kLanes; i += 4) {
        const I a = _mm256_unpacklo_epi32(v[i], v[i + 1]), b = _mm256_unpackhi_epi32(v[i], v[i + 1]);
        const I c = _mm256_unpacklo_epi32(v[i + 2], v[i + 3]), d = _mm256_unpackhi_epi32(v[i + 2], v[i + 3]);
        v[i] = _mm256_unpacklo_epi64(a, c);
        v[i + 1] = _mm256_unpackhi_epi64(a, c);
        v[i + 2] = _mm256_unpacklo_epi64(b, d);
        v[i + 3] = _mm256_unpackhi_epi64(b, d);
    }
    for (int j = 0; j < 4; ++j) {
        I column[2] = {v[j], v[4 + j]};
        transpose_parts(column);
        v[j] = column[0];
        v[4 + j] = column[1];
    }
}

inline void load_transposed(const std::byte* const (&rows)[kLanes], int64_t offset, I (&v)[kLanes]) {
    for (int r = 0; r < kLanes; ++r) v[r] = iload(rows[r] + offset);
    transpose(v);
}

// See simd_avx512.h. The second 128-bit part is loaded so that it ends where the data ends.
template <int kBits>
struct UnpackTable {
    static constexpr int kBytes = 4 * kBits;
    static constexpr int kStart[2] = {0, kBytes <= 16 ? 0 : kBytes - 16};
    alignas(32) int8_t even[32], odd[32];
    alignas(32) int16_t even_factor[16], odd_factor[16];

    constexpr UnpackTable() : even{}, odd{}, even_factor{}, odd_factor{} {
        for (int lane = 0; lane < 2; ++lane) {
            for (int i = 0; i < 16; ++i) {
                const int bit = (16 * lane + i) * kBits;
                int8_t* bytes = (i % 2 == 0 ? even : odd) + 16 * lane + i / 2 * 2;
                bytes[0] = static_cast<int8_t>(bit / 8 - kStart[lane]);
                bytes[1] = static_cast<int8_t>((bit / 8 + 1 - kStart[lane]) % 16);
                (i % 2 == 0 ? even_factor : odd_factor)[8 * lane + i / 2] =
                    static_cast<int16_t>(1 << (16 - kBits - bit % 8));
            }
        }
    }
};
template <int kBits>
constexpr UnpackTable<kBits> kUnpack{};

// Thirty-two values of `kBits` bits as unsigned bytes, in order.
template <int kBits>
inline I unpack(const void* p) {
    if constexpr (kBits == 8) {
        return iload(p);
    } else {
        const auto& table = kUnpack<kBits>;
        const std::byte* bytes = static_cast<const std::byte*>(p);
        I spread;
        if constexpr (kBits == 2) {
            spread = _mm256_broadcastsi128_si256(load8(p));
        } else if constexpr (kBits == 3) {
            int32_t rest;
            __builtin_memcpy(&rest, bytes + 8, sizeof rest);
            spread = _mm256_broadcastsi128_si256(_mm_insert_epi32(load8(p), rest, 2));
        } else {
            spread = _mm256_inserti128_si256(_mm256_castsi128_si256(load16(p)), load16(bytes + table.kStart[1]), 1);
        }
        const I even = _mm256_mullo_epi16(_mm256_shuffle_epi8(spread, iload(table.even)), iload(table.even_factor));
        const I odd = _mm256_mullo_epi16(_mm256_shuffle_epi8(spread, iload(table.odd)), iload(table.odd_factor));
        const I high = _mm256_andnot_si256(_mm256_set1_epi16(0xff), _mm256_srli_epi16(odd, 8 - kBits));
        return _mm256_or_si256(_mm256_srli_epi16(even, 16 - kBits), high);
    }
}

}  // namespace
}  // namespace sluice
