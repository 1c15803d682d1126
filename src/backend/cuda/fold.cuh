#pragma once

// W_K^T q of latent attention, straight from packed rows of W_K.

#include "backend/cuda/decode.cuh"
#include "backend/cuda/linear.h"
#include "backend/cuda/matrix.cuh"

namespace sluice::cuda {

// Of a block: runs of columns, groups of rows of W_K, rows of the batch.
constexpr int kFoldRuns = 16, kFoldGroups = 32, kFoldRows = 2;

// A block: kFoldRuns runs of a head for kFoldRows rows of the batch. A thread adds up every kFoldGroups-th row of W_K
// in its run, then the groups are added in a fixed order, the same for a row in any company.
template <typename Decoder>
__global__ void __launch_bounds__(kFoldRuns* kFoldGroups) fold_packed_kernel(const __grid_constant__ Folding fold) {
    __shared__ float4 sums[kFoldGroups / 2][kFoldRuns * kRunPitch / 4];
    const int local_run = threadIdx.x % kFoldRuns, group = threadIdx.x / kFoldRuns;
    const int run = blockIdx.x * kFoldRuns + local_run, head = blockIdx.y;
    const int64_t first = static_cast<int64_t>(blockIdx.z) * kFoldRows, last = fold.rows - 1;
    float totals[kFoldRows][kRun] = {};
    if (static_cast<int64_t>(run) * kRun < fold.weight.columns) {
        const float* const query = fold.query + head * fold.query_head;
#pragma unroll 2
        for (int r = group; r < fold.nope; r += kFoldGroups) {
            float values[kRun];
            Decoder::run(fold.weight, head * fold.weight_head + r, run, values);
#pragma unroll
            for (int t = 0; t < kFoldRows; ++t) {
                const float number = query[min(first + t, last) * fold.query_stride + r];
#pragma unroll
                for (int i = 0; i < kRun; ++i) totals[t][i] = fmaf(values[i], number, totals[t][i]);
            }
        }
    }
#pragma unroll
    for (int t = 0; t < kFoldRows; ++t) {
        if (first + t > last) break;
        // A warp has two groups.
        float(&total)[kRun] = totals[t];
#pragma unroll
        for (float& number : total) number += __shfl_down_sync(kAllLanes, number, kFoldRuns);
        if (t > 0) __syncthreads();
#pragma unroll
        for (int i = 0; i < kRun; i += 4) {
            if (group % 2 != 0) break;
            sums[group / 2][local_run * (kRunPitch / 4) + i / 4] = {total[i], total[i + 1], total[i + 2], total[i + 3]};
        }
        __syncthreads();
        const int64_t column = static_cast<int64_t>(blockIdx.x) * kFoldRuns * kRun + threadIdx.x;
        if (column >= fold.weight.columns) continue;
        const int place = threadIdx.x / kRun * kRunPitch + threadIdx.x % kRun;
        float sum = 0;
#pragma unroll
        for (int g = 0; g < kFoldGroups / 2; ++g) sum += reinterpret_cast<const float*>(sums[g])[place];
        fold.out[(first + t) * fold.out_stride + head * fold.weight.columns + column] = sum;
    }
}

template <typename Decoder>
void fold_packed(Device& device, const Folding& fold) {
    static_assert(kFoldGroups == kRun, "a thread has one column of the sums");
    const dim3 grid(blocks_for(fold.weight.columns, kFoldRuns * kRun), static_cast<unsigned>(fold.heads),
                    blocks_for(fold.rows, kFoldRows));
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
