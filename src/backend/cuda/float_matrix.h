#pragma once

#include "backend/cuda/compute.h"

namespace sluice::cuda {

// Linear in F32 for many rows.
void multiply_floats(Device& device, const Linear& op);

}  // namespace sluice::cuda
