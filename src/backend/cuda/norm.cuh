#pragma once

// The norm of a row of whole eights, whose sum of squares has one order whoever computes it: eight numbers, 32 eights,
// then all of those.

#include "backend/cuda/eights.cuh"
#include "backend/cuda/views.cuh"

namespace sluice::cuda {

constexpr int kMostNormedWidth = 8192;

inline bool in_whole_eights(int64_t width) {
    return width % 8 == 0 && width <= kMostNormedWidth;
}

__device__ __forceinline__ float squares_of(const float (&x)[8]) {
    float low = x[0] * x[0], high = x[4] * x[4];
#pragma unroll
    for (int i = 1; i < 4; ++i) low = fmaf(x[i], x[i], low), high = fmaf(x[i + 4], x[i + 4], high);
    return low + high;
}

// By a warp, of 32 eights from `first` on; the same in every lane.
__device__ __forceinline__ float squares_of_eights(const float* x, int first, int eights) {
    const int eight = first + static_cast<int>(threadIdx.x % 32);
    float sum = 0;
    if (eight < eights) {
        float numbers[8];
        load_eight(x + 8 * eight, numbers);
        sum = squares_of(numbers);
    }
    return warp_sum(sum);
}

// From the sums of runs of 32 eights.
__device__ __forceinline__ float scale_of_runs(const float* sums, int runs, int width, float epsilon) {
    const int lane = threadIdx.x % 32;
    return rsqrtf(warp_sum(lane < runs ? sums[lane] : 0.0f) / static_cast<float>(width) + epsilon);
}

// What a row is multiplied by; the same in every thread of a block of whole warps.
__device__ __forceinline__ float norm_scale(const float* x, int width, float epsilon) {
    __shared__ float sums[kMostNormedWidth / 256];
    const int lane = threadIdx.x % 32, warps = blockDim.x / 32, eights = width / 8, runs = (eights + 31) / 32;
    for (int run = threadIdx.x / 32; run < runs; run += warps) {
        const float sum = squares_of_eights(x, 32 * run, eights);
        if (lane == 0) sums[run] = sum;
    }
    __syncthreads();
    return scale_of_runs(sums, runs, width, epsilon);
}

// The same where each thread has an eight at most, which is zeros where it has none.
__device__ __forceinline__ float norm_scale_of(const float (&eight)[8], int width, float epsilon) {
    __shared__ float sums[32];
    const float sum = warp_sum(squares_of(eight));
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    __syncthreads();
    return scale_of_runs(sums, (width / 8 + 31) / 32, width, epsilon);
}

__device__ __forceinline__ float gated(float normed, float gate) {
    return normed * (gate * sigmoid(gate));
}

}  // namespace sluice::cuda
