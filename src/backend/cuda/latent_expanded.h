#pragma once

#include "backend/cuda/attention.h"

namespace sluice::cuda {

// Latent attention with keys and values expanded, where that takes less time and there is room; else false, and nothing
// was done. `cache`: where the latents lie.
bool attend_expanded(Device& device, const LatentAttention& op, const AttendArgs& cache);

}  // namespace sluice::cuda
