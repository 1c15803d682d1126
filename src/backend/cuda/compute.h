#pragma once

// Every operation on a CUDA device: handed to its queue, done later. Shapes were checked by Backend::run. An id that
// Embed's table lacks gives a row of NaN.

#include "backend/cuda/device.h"
#include "backend/operations.h"

namespace sluice::cuda {

#define SLUICE_COMPUTE(Op) void compute(Device& device, const Op& op);
SLUICE_OPERATIONS(SLUICE_COMPUTE)
#undef SLUICE_COMPUTE

}  // namespace sluice::cuda
