#pragma once

// W_K^T q of latent attention, straight from packed rows of W_K.

#include "backend/cuda/decode.cuh"
#include "backend/cuda/linear.h"
#include "backend/cuda/matrix.cuh"

namespace sluice::cuda {

constexpr int kFoldRuns = 16, kFoldGroups = 16;  // of a block: runs of columns, groups of rows

// A block: kFoldRuns runs of a head for one row of the batch. A thread adds up every kFoldGroups-th row of W_K in its
// run, then the groups are added in their order.
template <typename Decoder>
__global__ void __launch_bounds__(kFoldRuns* kFoldGroups) fold_packed_kernel(const __grid_constant__ Folding fold) {
    __shared__ float4 sums[kFoldGroups][kFoldRuns * kRunPitch / 4];
    const int local_run = threadIdx.x % kFoldRuns, group = threadIdx.x / kFoldRuns;
    const int run = blockIdx.x * kFoldRuns + local_run, head = blockIdx.y;
    const int64_t row = blockIdx.z;
    float total[kRun] = {};
    if (static_cast<int64_t>(run) * kRun < fold.weight.columns) {
        const float* const query = fold.query + row * fold.query_stride + head * fold.query_head;
#pragma unroll 4
        for (int r = group; r < fold.nope; r += kFoldGroups) {
            float values[kRun];
            Decoder::run(fold.weight, head * fold.weight_head + r, run, values);
            const float number = query[r];
#pragma unroll
            for (int i = 0; i < kRun; ++i) total[i] = fmaf(values[i], number, total[i]);
        }
    }
#pragma unroll
    for (int i = 0; i < kRun / 4; ++i) {
        sums[group][local_run * (kRunPitch / 4) + i] = {total[4 * i], total[4 * i + 1], total[4 * i + 2],
                                                        total[4 * i + 3]};
    }
    __syncthreads();
    for (int i = threadIdx.x; i < kFoldRuns * kRun; i += blockDim.x) {
        const int64_t column = static_cast<int64_t>(blockIdx.x) * kFoldRuns * kRun + i;
        if (column >= fold.weight.columns) continue;
        float sum = 0;
#pragma unroll
        for (int g = 0; g < kFoldGroups; ++g) {
            sum += reinterpret_cast<const float*>(sums[g])[i / kRun * kRunPitch + i % kRun];
        }
        fold.out[row * fold.out_stride + head * fold.weight.columns + column] = sum;
    }
}

template <typename Decoder>
void fold_packed(Device& device, const Folding& fold) {
    const dim3 grid(blocks_for(fold.weight.columns, kFoldRuns * kRun), static_cast<unsigned>(fold.heads),
                    static_cast<unsigned>(fold.rows));
    fold_packed_kernel<Decoder><<<grid, kFoldRuns * kFoldGroups, 0, device.stream()>>>(fold);
    check_launch("folding queries");
}

// Of the formats that models with latent attention come in.
template <typename Decoder>
constexpr DeviceCodec folding_codec_of() {
    DeviceCodec codec = codec_of<Decoder>();
    codec.fold = fold_packed<Decoder>;
    return codec;
}

}  // namespace sluice::cuda
