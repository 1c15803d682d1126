#pragma once

// The kernels of a codec, made from its decoder. A warp makes one output for up to kTokens rows of x, lane l from the
// runs l, l + 32, ...; the order of a sum depends on nothing but the length of x.

#include <algorithm>

#include "backend/cuda/decode.cuh"
#include "backend/cuda/early.cuh"
#include "backend/cuda/linear.h"
#include "backend/cuda/views.cuh"

namespace sluice::cuda {

constexpr int kTokens = 8, kProductWarps = 8;
// x in shared memory: runs of 32 floats, 36 apart, so that lanes that read 16 bytes of a run each meet all banks.
constexpr int kRunPitch = 36, kSharedRuns = 256;

// Not part of its callers: it is long, and kernels of a step are read anew each time.
__device__ __noinline__ inline float activated(ActivationKind kind, float alpha, float limit, float up_offset,
                                               float gate, float up) {
    if (kind == ActivationKind::kSilu) return gate * sigmoid(gate) * up;
    if (kind == ActivationKind::kGeluTanh) {
        const float inner = 0.797884560802865355f * (gate + 0.044715f * gate * gate * gate);
        return 0.5f * gate * (1.0f + tanhf(inner)) * up;
    }
    if (kind == ActivationKind::kSquaredRelu) return fmaxf(up, 0.0f) * fmaxf(up, 0.0f);
    const float u = fminf(fmaxf(up, -limit), limit);
    if (kind == ActivationKind::kCutSilu) return fminf(gate * sigmoid(gate), limit) * u;
    const float g = fminf(gate, limit);
    return g * sigmoid(alpha * g) * (u + up_offset);
}
__device__ __forceinline__ float activated(const Product& product, float gate, float up) {
    return activated(product.activation, product.alpha, product.limit, product.up_offset, gate, up);
}

// A job moved to the record of expert `expert`.
__device__ __forceinline__ int slot_of(const RecordPlaces& places, int expert) {
    return places.slots[expert * places.slots_stride];
}
__device__ __forceinline__ uint64_t place_of_slot(const RecordPlaces& places, int64_t slot) {
    return static_cast<uint64_t>(slot) * places.slot_bytes + (slot < places.first_more ? 0 : places.more);
}
__device__ __forceinline__ uint64_t place_of(const RecordPlaces& places, int expert) {
    return place_of_slot(places, slot_of(places, expert));
}

__device__ inline Job job_of_expert(Job job, const Choices& choices, int expert) {
    const uint64_t further = place_of(choices.places, expert);
    job.data += further;
    if (job.scales != nullptr) job.scales += further;
    if (job.zero_points != nullptr) job.zero_points += further;
    if (job.bias != nullptr) job.bias += static_cast<int64_t>(expert) * job.bias_stride;
    return job;
}

__device__ inline Job job_of_choice(const Product& product, int z) {
    const Choices& choices = product.choices;
    const int choice = z % choices.count, row = choice / choices.top_k;
    const int expert = choices.ids[row * choices.ids_stride + choice % choices.top_k];
    Job job = job_of_expert(product.jobs[z / choices.count], choices, expert);
    const int64_t x_row = choices.row_per_choice ? choice : row;
    job.x += x_row * product.x_stride;
    if (job.up != nullptr) job.up += x_row * product.x_stride;
    job.out += choice * product.out_stride;
    return job;
}

__device__ inline Job job_of_batch(const Product& product, int z) {
    Job job = product.jobs[0];
    job.x += z * product.x_step;
    job.out += z * product.out_step;
    return job;
}

// The job of this block, moved to its part of a batch, with all that the product says of it.
__device__ inline Job job_of_block(const Product& product, int z) {
    Job job = product.choices.ids != nullptr ? job_of_choice(product, z)
              : product.table != nullptr     ? product.table[z]
              : product.batch > 1            ? job_of_batch(product, z)
                                             : product.jobs[z];
    if (job.outputs == 0) job.outputs = static_cast<int32_t>(product.weight.rows);
    if (job.out_stride == 0) job.out_stride = product.out_stride;
    return job;
}

// Of stage_rows(): rows of whole fours, loads of several of which are under way at once.
__device__ inline void stage_fours(const Product& product, const Job& job, int row, int rows, int64_t first, int count,
                                   float* shared, int pitch) {
    constexpr int kAtOnce = 4;
    const int each = count / 4, all = rows * each, threads = static_cast<int>(blockDim.x);
    for (int begin = threadIdx.x; begin < all; begin += kAtOnce * threads) {
        float4 fours[kAtOnce];
#pragma unroll
        for (int n = 0; n < kAtOnce; ++n) {
            const int i = begin + n * threads, t = i / each;
            const int64_t column = first + i % each * 4;
            if (i >= all || column >= product.weight.columns) {
                fours[n] = {};
                continue;
            }
            const int64_t from =
                job.x_rows == nullptr ? row + t : job.x_rows[static_cast<int64_t>(row + t) * job.x_rows_stride];
            fours[n] = *reinterpret_cast<const float4*>(job.x + from * product.x_stride + column);
        }
#pragma unroll
        for (int n = 0; n < kAtOnce; ++n) {
            const int i = begin + n * threads, four = i % each;
            if (i >= all) break;
            *reinterpret_cast<float4*>(shared + i / each * pitch + four / 8 * kRunPitch + four % 8 * 4) = fours[n];
        }
    }
}

// Columns [first, first + count) of rows [row, row + rows) of x, zeros behind the end.
__device__ inline void stage_rows(const Product& product, const Job& job, int row, int rows, int64_t first, int count,
                                  float* shared, int pitch) {
    if (job.up == nullptr && reinterpret_cast<uintptr_t>(job.x) % 16 == 0 && product.x_stride % 4 == 0 &&
        product.weight.columns % 4 == 0) {
        return stage_fours(product, job, row, rows, first, count, shared, pitch);
    }
    for (int t = 0; t < rows; ++t) {
        const int64_t from =
            job.x_rows == nullptr ? row + t : job.x_rows[static_cast<int64_t>(row + t) * job.x_rows_stride];
        const float* const x = job.x + from * product.x_stride;
        const float* const up = job.up == nullptr ? nullptr : job.up + from * product.x_stride;
        for (int i = threadIdx.x; i < count; i += blockDim.x) {
            const int64_t column = first + i;
            float value = 0;
            if (column < product.weight.columns)
                value = up == nullptr ? x[column] : activated(product, x[column], up[column]);
            shared[t * pitch + i / kRun * kRunPitch + i % kRun] = value;
        }
    }
}

// What a warp adds up: `rows` rows of x in shared memory, `pitch` apart, times runs [first, first + count) of a row.
template <typename Decoder, int kRows>
__device__ __forceinline__ void add_runs(const DeviceWeight& weight, int64_t weight_row, int first, int count,
                                         const float4* shared, int pitch, int rows, float (&sums)[kRows]) {
#pragma unroll 2
    for (int run = threadIdx.x % 32; run < count; run += 32) {
        float values[kRun];
        Decoder::run(weight, weight_row, first + run, values);
        const float4* const x = shared + run * (kRunPitch / 4);
#pragma unroll
        for (int t = 0; t < kRows; ++t) {
            if (t >= rows) break;
            const float4* const mine = x + t * (pitch / 4);
#pragma unroll
            for (int i = 0; i < kRun / 4; ++i) {
                const float4 four = mine[i];
                sums[t] = fmaf(four.x, values[4 * i], sums[t]);
                sums[t] = fmaf(four.y, values[4 * i + 1], sums[t]);
                sums[t] = fmaf(four.z, values[4 * i + 2], sums[t]);
                sums[t] = fmaf(four.w, values[4 * i + 3], sums[t]);
            }
        }
    }
}

template <int kRows>
__device__ __forceinline__ void write_sums(const Product& product, const Job& job, int first_row, int rows,
                                           int64_t output, const float (&sums)[kRows]) {
#pragma unroll
    for (int t = 0; t < kRows; ++t) {
        if (t >= rows) break;
        float sum = warp_sum(sums[t]);
        if (threadIdx.x % 32 != 0) continue;
        if (job.bias != nullptr) sum += job.bias[output];
        const int64_t row = first_row + t;
        const int64_t out_row = job.out_rows == nullptr ? row : job.out_rows[row * job.out_rows_stride];
        float& out = job.out[out_row * job.out_stride + output];
        out = product.accumulate ? out + sum : sum;
    }
}

// Runs of x that shared memory holds of so many rows.
__host__ __device__ inline int chunk_runs_of(int rows) {
    return kSharedRuns / (rows == 1 ? 1 : rows == 2 ? 2 : rows <= 4 ? 4 : 8);
}

// A warp's first row of a weight, which nobody writes, on its way to the L2.
__device__ __forceinline__ void prefetch_row(const Product& product, int64_t output, int z) {
    const Job& job = product.jobs[product.batch > 1 ? 0 : z];
    if (output >= (job.outputs == 0 ? product.weight.rows : job.outputs)) return;
    const int64_t row = output + (product.batch > 1 ? z * product.weight_step : 0);
    const uint8_t* const from = job.data + row * product.weight.data_row_bytes;
    for (int64_t at = threadIdx.x % 32 * 128; at < product.weight.data_row_bytes; at += 32 * 128)
        asm volatile("prefetch.global.L2 [%0];" ::"l"(from + at));
}

// A block: outputs_of_warp outputs of each warp, `rows_of_block` rows, at most kRows. More than one output where all of
// x fits.
template <typename Decoder, int kRows>
__global__ void __launch_bounds__(32 * kProductWarps)
    multiply_kernel(const __grid_constant__ Product product, int rows_of_block) {
    __shared__ float4 shared[kSharedRuns * kRunPitch / 4];
    const int warp = threadIdx.x / 32, z = blockIdx.z;
    let_next_begin();
    if (product.table == nullptr && product.choices.ids == nullptr) {
        prefetch_row(product, (static_cast<int64_t>(blockIdx.x) * kProductWarps + warp) * product.outputs_of_warp, z);
    }
    wait_for_previous();
    const Job job = job_of_block(product, z);
    const int first_row = blockIdx.y * rows_of_block;
    if (first_row >= job.count) return;
    const int rows = min(rows_of_block, job.count - first_row);

    DeviceWeight weight = product.weight;
    weight.data = job.data, weight.scales = job.scales, weight.zero_points = job.zero_points;
    weight.block_row_offset = job.block_row_offset;
    const int64_t first_weight_row = product.batch > 1 ? z * product.weight_step : 0;
    int64_t output = (static_cast<int64_t>(blockIdx.x) * kProductWarps + warp) * product.outputs_of_warp;

    const int chunk_runs = chunk_runs_of(rows), pitch = chunk_runs * kRunPitch;
    const int runs = static_cast<int>((weight.columns + kRun - 1) / kRun);
    float sums[kRows] = {};
    for (int chunk = 0; chunk < runs; chunk += chunk_runs) {
        const int here = min(chunk_runs, runs - chunk);
        if (chunk > 0) __syncthreads();
        stage_rows(product, job, first_row, rows, static_cast<int64_t>(chunk) * kRun, here * kRun,
                   reinterpret_cast<float*>(shared), pitch);
        __syncthreads();
        if (output >= job.outputs) continue;
        add_runs<Decoder, kRows>(weight, first_weight_row + output, chunk, here, shared, pitch, rows, sums);
    }
    if (output >= job.outputs) return;
    write_sums(product, job, first_row, rows, output, sums);
    for (int more = 1; more < product.outputs_of_warp; ++more) {
        if (++output >= job.outputs) return;
        for (float& sum : sums) sum = 0;
        add_runs<Decoder, kRows>(weight, first_weight_row + output, 0, runs, shared, pitch, rows, sums);
        write_sums(product, job, first_row, rows, output, sums);
    }
}

template <typename Decoder>
__global__ void decode_kernel(DeviceWeight weight, RowChoice choice, float* out, int64_t out_stride) {
    const int run = blockIdx.x * blockDim.x + threadIdx.x;
    const int64_t first = static_cast<int64_t>(run) * kRun;
    let_next_begin();
    wait_for_previous();
    if (first >= weight.columns) return;
    for (int64_t i = blockIdx.y; i < choice.count; i += gridDim.y) {
        const int64_t row = choice.ids != nullptr ? choice.ids[i * choice.id_stride]
                                                  : i / choice.together * choice.step + i % choice.together;
        float values[kRun];
        if (row >= 0 && row < weight.rows) {
            Decoder::run(weight, row, run, values);
        } else {
            for (float& value : values) value = __uint_as_float(0x7fc00000);
        }
#pragma unroll
        for (int j = 0; j < kRun; ++j) {
            if (first + j < weight.columns) out[i * out_stride + first + j] = values[j];
        }
    }
}

// One row alone has a kernel of its own, which is short: a step's kernels are read anew each time.
template <typename Decoder, int kRows>
void multiply_rows(Device& device, Product product) {
    constexpr int kManyOutputs = 4;
    const int jobs = std::max(product.batch, product.job_count) * std::max(product.choices.count, 1);
    const int64_t rows = std::min(product.most_rows, kRows), runs = (product.weight.columns + kRun - 1) / kRun;
    const int64_t warps = product.weight.rows * blocks_for(product.most_rows, kRows) * jobs;
    const bool fits = runs <= chunk_runs_of(static_cast<int>(rows));
    // Enough warps stay to fill the card.
    product.outputs_of_warp = fits && warps >= kManyOutputs * 32 * device.multiprocessors() ? kManyOutputs : 1;
    const unsigned output_blocks = blocks_for(product.weight.rows, kProductWarps * product.outputs_of_warp);
    const auto blocks = [&](int rows_of_block) {
        return static_cast<int64_t>(output_blocks) * blocks_for(product.most_rows, rows_of_block) * jobs;
    };
    // Few outputs have blocks of fewer rows, as long as all have room at once: less is in turn.
    constexpr int kBlocksEach = 4;
    int rows_of_block = kRows;
    while (rows_of_block > 2 && blocks(rows_of_block / 2) <= int64_t{kBlocksEach} * device.multiprocessors()) {
        rows_of_block /= 2;
    }
    const dim3 grid(output_blocks, blocks_for(product.most_rows, rows_of_block), static_cast<unsigned>(jobs));
    launch_early(device, {grid, 32 * kProductWarps}, multiply_kernel<Decoder, kRows>, product, rows_of_block);
}

template <typename Decoder>
void multiply(Device& device, Product product) {
    if (product.most_rows == 1) return multiply_rows<Decoder, 1>(device, product);
    multiply_rows<Decoder, kTokens>(device, product);
}

template <typename Decoder>
void decode_rows(Device& device, const DeviceWeight& weight, const RowChoice& choice, float* out, int64_t out_stride) {
    constexpr int kThreads = 64;
    constexpr int64_t kMostGridRows = 65535;
    if (choice.count == 0) return;
    const dim3 grid(blocks_for(weight.columns, kThreads * kRun),
                    static_cast<unsigned>(std::min(choice.count, kMostGridRows)));
    launch_early(device, {grid, kThreads}, decode_kernel<Decoder>, weight, choice, out, out_stride);
}

}  // namespace sluice::cuda
