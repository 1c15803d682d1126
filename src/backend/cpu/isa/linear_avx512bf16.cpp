#include "backend/cpu/isa/simd_avx512.h"
// The vector type must be known first.
#include "backend/cpu/isa/bf16_linear.inl.h"

namespace sluice {

const Bf16Kernels& avx512bf16_linear() {
    static constexpr Bf16Kernels kTable = {round_to_bf16, round_scaled_to_bf16, bf16_vector, bf16_pack<kPairRows>,
                                           nullptr,       bf16_matrix};
    return kTable;
}

}  // namespace sluice
