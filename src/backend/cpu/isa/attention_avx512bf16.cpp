#include "backend/cpu/isa/simd_avx512.h"
// The vector type must be known first.
#include "backend/cpu/isa/attention_bf16.inl.h"

namespace sluice {

AttentionKernel avx512bf16_attention() {
    return {attention_scratch<Bf16Tiles>, attend<Bf16Tiles>};
}

}  // namespace sluice
