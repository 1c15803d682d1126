#include "backend/cpu/isa/simd_portable.h"
// The vector type must be known first.
#include "backend/cpu/isa/table.inl.h"

namespace sluice {

const KernelTable& scalar_kernels() {
    static constexpr KernelTable kTable = make_table("scalar");
    return kTable;
}

}  // namespace sluice
