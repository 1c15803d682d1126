#pragma once

#include "backend/cuda/matrix.h"

namespace sluice::cuda {

// Whether the card has them and this program was compiled for it.
bool has_warpgroups();

// A product whose weights are read as they lie: 4-bit codes, or BF16 rows of whole chunks.
void multiply_on_warpgroups(Device& device, const MatrixArgs& args, ColumnOrder order);

}  // namespace sluice::cuda
