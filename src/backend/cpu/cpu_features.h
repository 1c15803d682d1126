#pragma once

#include "backend/backend.h"
#include "backend/cpu/kernels.h"

namespace sluice {

bool processor_has(InstructionSet set);

// The kernels of an instruction set, or of the best that this processor has (kAuto). Throws kUnsupported for one that
// it lacks.
const KernelTable& select_kernels(InstructionSet set);

}  // namespace sluice
