#pragma once

#include "backend/cuda/linear.h"

namespace sluice::cuda {

// Few rows times weights in affine 4 bits. False, and nothing is done, where numbers are not as the kernel needs them:
// in groups of 64 or 128, scales of 16 bits, matrices at multiples of 16 bytes.
bool multiply_affine_rows(Device& device, const Product& product);

}  // namespace sluice::cuda
