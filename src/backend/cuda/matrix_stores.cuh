#pragma once

// What becomes of the sums of a tile on Hopper: rows of F32, or gates and ups joined to BF16.

#include <limits>

#include "backend/cuda/matrix_stages.cuh"

namespace sluice::cuda {

#ifdef SLUICE_HOPPER

__device__ __forceinline__ int64_t output_of(const MatrixArgs& args, bool joined, int block, int position) {
    const int group = threadIdx.x / kGroupThreads;
    if (joined) return static_cast<int64_t>(block) * kGroupOutputs + column_at(args.joined_order, position);
    return (static_cast<int64_t>(block) * kConsumers + group) * kGroupOutputs + position;
}

// The first of two positions of this thread's outputs among its warpgroup's.
__device__ __forceinline__ int my_position() {
    return threadIdx.x % kGroupThreads / 32 * 16 + threadIdx.x % 32 / 4 * 2;
}

// Of one warpgroup.
__device__ __forceinline__ void sync_group(int group) {
    if (group == 0) {
        sync_some<1>(kGroupThreads);
    } else {
        sync_some<2>(kGroupThreads);
    }
}

// Where a thread's sums of a plain product go: two outputs side by side.
struct SumTarget {
    float* out;  // the first output in row 0
    int64_t stride;
    float bias[2];
    bool second, add;

    __device__ __forceinline__ float2 pair(const float* sums, int i) const {
        return {sums[i / 2 * 4 + i % 2] + bias[0], sums[i / 2 * 4 + i % 2 + 2] + bias[1]};
    }
    __device__ __forceinline__ void put(int64_t row, float2 values) const {
        float* const at = out + row * stride;
        if (add) {
            at[0] += values.x;
            if (second) at[1] += values.y;
        } else if (second && reinterpret_cast<uintptr_t>(at) % sizeof(float2) == 0) {
            *reinterpret_cast<float2*>(at) = values;
        } else {
            at[0] = values.x;
            if (second) at[1] = values.y;
        }
    }
};

template <int kRows>
__device__ __forceinline__ void store_sums(const MatrixArgs& args, const Job& job, const Tile& tile,
                                           const float (&sums)[kRows / 2], MatrixMemory& shared) {
    const RowTile& rows = tile.rows;
    const Product& product = args.product;
    const int thread = threadIdx.x % kGroupThreads, group = threadIdx.x / kGroupThreads,
              first_row = threadIdx.x % 4 * 2;
    const int64_t group_output = output_of(args, false, tile.block, 0), output = group_output + my_position();
    float* const out = out_of_tile(args, job, rows);
    SumTarget target{.out = out + output,
                     .stride = product.out_stride,
                     .bias = {},
                     .second = output + 1 < product.weight.rows,
                     .add = product.accumulate};
    const bool inside = output < product.weight.rows;
    if (job.bias != nullptr && inside) {
        target.bias[0] = job.bias[output];
        if (target.second) target.bias[1] = job.bias[output + 1];
    }
    int32_t* const out_rows = shared.out_rows[group];
    sync_group(group);  // all have read the last tile's
    for (int t = thread; t < rows.count; t += kGroupThreads) out_rows[t] = out_row_of(args, job, rows, rows.first + t);
    sync_group(group);
    if (!inside) return;
#pragma unroll
    for (int i = 0; i < kRows / 4; ++i) {
        const int t = i / 2 * 8 + first_row + i % 2;
        if (t < rows.count) target.put(out_rows[t], target.pair(sums, i));
    }
}

// Every activation as min(g sigmoid(alpha (g + cubic g^3)), most) (u + offset), where g is at most `gate_limit` and u
// within `limit`, to the precision of what BF16 keeps; without branches.
struct QuickActivation {
    static constexpr float kUnlimited = std::numeric_limits<float>::infinity();
    float alpha = 1, cubic = 0, gate_limit = kUnlimited, limit = kUnlimited, most = kUnlimited, offset = 0;

    __device__ explicit QuickActivation(const Product& product) {
        if (product.activation == ActivationKind::kGeluTanh) {
            // (1 + tanh(z)) / 2 is the sigmoid of 2 z.
            alpha = 1.595769121605731f, cubic = 0.044715f;
        } else if (product.activation == ActivationKind::kClampedSwiglu) {
            alpha = product.alpha, gate_limit = limit = product.limit, offset = product.up_offset;
        } else if (product.activation == ActivationKind::kCutSilu) {
            limit = most = product.limit;
        }
    }
    __device__ __forceinline__ float operator()(float gate, float up) const {
        const float g = fminf(gate, gate_limit), u = fminf(fmaxf(up, -limit), limit);
        const float z = alpha * fmaf(cubic * g * g, g, g);
        return fminf(g * __fdividef(1.0f, 1.0f + __expf(-z)), most) * (u + offset);
    }
};

// One warpgroup has the gates, the other the ups of the same outputs: each joins half of the rows.
template <int kRows>
__device__ __forceinline__ void join_sums(const MatrixArgs& args, const Job& job, const Tile& tile,
                                          float (&sums)[kRows / 2], MatrixMemory& shared) {
    constexpr int kHalf = kRows / 4;  // sums of this thread
    const RowTile& rows = tile.rows;
    const int thread = threadIdx.x % kGroupThreads, group = threadIdx.x / kGroupThreads, lane = threadIdx.x % 32;
    const bool ups = group == 1;
    int64_t output[2];
    for (int r = 0; r < 2; ++r) output[r] = output_of(args, true, tile.block, my_position() + r);
    const int64_t width = args.product.weight.rows;
    if (job.bias != nullptr) {
        float bias[2];
        for (int r = 0; r < 2; ++r) bias[r] = output[r] < width ? job.bias[output[r]] : 0.0f;
#pragma unroll
        for (int i = 0; i < 2 * kHalf; ++i) sums[i] += bias[i / 2 % 2];
    }
    // What the other joins.
#pragma unroll
    for (int i = 0; i < kHalf; ++i) shared.exchange[group][i][thread] = ups ? sums[i] : sums[kHalf + i];
    sync_some<3>(kConsumers * kGroupThreads);
    const QuickActivation activation(args.product);
    const bool inside = output[0] < width, second = output[1] < width;
#pragma unroll
    for (int i = 0; i < kHalf / 2; ++i) {
        const int at = i / 2 * 4 + i % 2;
        const int t = (ups ? kRows / 2 : 0) + i / 2 * 8 + lane % 4 * 2 + i % 2;
        float pair[2];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const float mine = ups ? sums[kHalf + at + 2 * r] : sums[at + 2 * r];
            const float other = shared.exchange[1 - group][at + 2 * r][thread];
            pair[r] = activation(ups ? other : mine, ups ? mine : other);
        }
        if (t >= rows.count) continue;
        uint32_t both = 0;
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second ? pair[1] : 0.0f), "f"(inside ? pair[0] : 0.0f));
        uint16_t* const row =
            args.joined + (rows.base + rows.first + t) * args.joined_columns + tile.block * kChunkColumns;
        reinterpret_cast<uint32_t*>(row)[8 * (thread / 32) + lane / 4] = both;
    }
    sync_some<3>(kConsumers * kGroupThreads);
}

#endif

}  // namespace sluice::cuda
