#pragma once

// A thread per element of [rows, columns]; rows are in y, as many as a grid takes at a time.

#include <algorithm>

#include "backend/cuda/views.cuh"

namespace sluice::cuda {

constexpr int kElementThreads = 256;

__device__ __forceinline__ int64_t element_column() {
    return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

inline dim3 element_grid(int64_t rows, int64_t columns) {
    constexpr int64_t kMostGridRows = 65535;
    return {blocks_for(columns, kElementThreads), static_cast<unsigned>(std::min(rows, kMostGridRows))};
}

}  // namespace sluice::cuda
