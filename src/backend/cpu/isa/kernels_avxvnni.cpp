#include "backend/cpu/isa/simd_avx2.h"
// The vector type must be known first.
#include "backend/cpu/isa/table.inl.h"

namespace sluice {

const KernelTable& avxvnni_kernels() {
    static constexpr KernelTable kTable = make_table("AVX-VNNI");
    return kTable;
}

}  // namespace sluice
