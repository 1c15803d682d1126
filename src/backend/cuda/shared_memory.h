#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "backend/cuda/device.h"

namespace sluice::cuda {

// Lets a kernel have so much shared memory; false where the card's blocks have less.
inline bool allow_shared_bytes(const Device& device, const void* kernel, uint64_t bytes) {
    int most = 0;
    check(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device.index()),
          "asking for the card's shared memory");
    constexpr uint64_t kOfItself = 3 << 10;  // what kernels declare
    if (bytes + kOfItself > static_cast<uint64_t>(most)) return false;
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
          "a kernel's shared memory");
    return true;
}

}  // namespace sluice::cuda
