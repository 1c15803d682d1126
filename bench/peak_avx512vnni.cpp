// Loops that do nothing but the instruction whose rate is the bound.

#include "backend/cpu/isa/simd_avx512.h"

namespace sluice::bench {

namespace {
constexpr int kChains = 16;  // enough to hide the latency
}

void int8_rounds(size_t rounds) {
    I sums[kChains];  // all different, or the compiler keeps but one
    for (int k = 0; k < kChains; ++k) sums[k] = _mm512_set1_epi32(k);
    I w = _mm512_set1_epi8(3), x = _mm512_set1_epi8(5);
    for (size_t i = 0; i < rounds; ++i) {
        // The operands must look as if they changed.
        asm volatile("" : "+v"(w), "+v"(x));
#pragma GCC unroll 16
        for (int k = 0; k < kChains; ++k) sums[k] = dot4<true>(sums[k], w, x);
    }
    for (int k = 0; k < kChains; ++k) asm volatile("" : : "v"(sums[k]));
}

void float_rounds(size_t rounds) {
    F sums[kChains];
    for (int k = 0; k < kChains; ++k) sums[k] = set1(static_cast<float>(k));
    F w = set1(1e-3f), x = set1(1e-3f);
    for (size_t i = 0; i < rounds; ++i) {
        asm volatile("" : "+v"(w), "+v"(x));
#pragma GCC unroll 16
        for (int k = 0; k < kChains; ++k) sums[k] = fma(w, x, sums[k]);
    }
    for (int k = 0; k < kChains; ++k) asm volatile("" : : "v"(sums[k]));
}

uint64_t read_all(const std::byte* data, size_t bytes) {
    I sums[4] = {};
    for (size_t i = 0; i + 256 <= bytes; i += 256) {
        _mm_prefetch(data + i + 4096, _MM_HINT_T0);
        _mm_prefetch(data + i + 4096 + 64, _MM_HINT_T0);
        _mm_prefetch(data + i + 4096 + 128, _MM_HINT_T0);
        _mm_prefetch(data + i + 4096 + 192, _MM_HINT_T0);
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) sums[k] = _mm512_xor_si512(sums[k], iload(data + i + 64 * k));
    }
    const I all = _mm512_or_si512(_mm512_or_si512(sums[0], sums[1]), _mm512_or_si512(sums[2], sums[3]));
    return static_cast<uint64_t>(_mm512_reduce_or_epi64(all));
}

}  // namespace sluice::bench
