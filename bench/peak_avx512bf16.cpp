// A loop that does nothing but the instruction whose rate is the bound.

#include "backend/cpu/isa/simd_avx512.h"

namespace sluice::bench {

void bf16_rounds(size_t rounds) {
    constexpr int kChains = 16;  // enough to hide the latency
    F sums[kChains];             // all different, or the compiler keeps but one
    for (int k = 0; k < kChains; ++k) sums[k] = set1(static_cast<float>(k));
    I w = _mm512_set1_epi16(0x3f80), x = w;
    for (size_t i = 0; i < rounds; ++i) {
        // The operands must look as if they changed.
        asm volatile("" : "+v"(w), "+v"(x));
#pragma GCC unroll 16
        for (int k = 0; k < kChains; ++k)
            sums[k] = _mm512_dpbf16_ps(sums[k], reinterpret_cast<__m512bh>(w), reinterpret_cast<__m512bh>(x));
    }
    for (int k = 0; k < kChains; ++k) asm volatile("" : : "v"(sums[k]));
}

}  // namespace sluice::bench
