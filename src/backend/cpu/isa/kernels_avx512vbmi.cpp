#include "backend/cpu/isa/simd_avx512.h"
// The vector type must be known first.
#include "backend/cpu/isa/table.inl.h"

namespace sluice {

const KernelTable& avx512vbmi_kernels() {
    static constexpr KernelTable kTable = make_table("AVX-512 VNNI");
    return kTable;
}

}  // namespace sluice
