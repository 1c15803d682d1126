#pragma once

// Folded latent attention on Hopper's tensor cores, for caches of BF16 with latents of 512 and keys of 64.

#include "backend/cuda/attention.h"

namespace sluice::cuda {

bool takes_latent_tiles(const Device& device, const AttendArgs& args);
// Bytes that `partial` needs.
uint64_t latent_partial_bytes(const AttendArgs& args, const Sequences& sequences);
void attend_latent_tiles(Device& device, const AttendArgs& args, const Sequences& sequences);

}  // namespace sluice::cuda
