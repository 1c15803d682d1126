#pragma once

// Kernels that begin while the one before in their lane still runs: launched by launch_early(), they touch nothing that
// another kernel writes before wait_for_previous(), which each of their threads calls.

#include <cuda_runtime.h>

#include <utility>

#include "backend/cuda/device.h"

namespace sluice::cuda {

// What was handed over before has ended, and what it wrote is seen.
__device__ __forceinline__ void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// The next kernel may begin as far as it can.
__device__ __forceinline__ void let_next_begin() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

struct Launch {
    dim3 grid, block;
    size_t shared_bytes = 0;
    unsigned cluster = 1;  // blocks that reach each other
};

template <typename... Parameters, typename... Arguments>
void launch_early(Device& device, const Launch& launch, void (*kernel)(Parameters...), Arguments&&... arguments) {
    cudaLaunchConfig_t config{};
    config.gridDim = launch.grid;
    config.blockDim = launch.block;
    config.dynamicSmemBytes = launch.shared_bytes;
    config.stream = device.stream();
    cudaLaunchAttribute attributes[2]{};
    config.attrs = attributes;
    if (device.take_early()) {
        cudaLaunchAttribute& early = attributes[config.numAttrs++];
        early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
        early.val.programmaticStreamSerializationAllowed = 1;
    }
    if (launch.cluster > 1) {
        cudaLaunchAttribute& cluster = attributes[config.numAttrs++];
        cluster.id = cudaLaunchAttributeClusterDimension;
        cluster.val.clusterDim = {launch.cluster, 1, 1};
    }
    check(cudaLaunchKernelEx(&config, kernel, Parameters(std::forward<Arguments>(arguments))...), "a kernel");
}

}  // namespace sluice::cuda
