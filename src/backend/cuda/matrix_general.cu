// Products of many rows on the tensor cores that all cards have: BF16 weights, decoded before. A block makes 64 outputs
// of 64 rows of x at a time, 64 columns after the other, the next ones on their way.

#include "backend/cuda/matrix_general.h"
#include "backend/cuda/matrix_tiles.cuh"
#include "backend/cuda/tensor_cores.cuh"
#include "backend/cuda/views.cuh"

namespace sluice::cuda {

namespace {

constexpr int kEdge = 64, kThreadsOfBlock = 128;
constexpr int kPitch = kChunkColumns + 8;  // 36 words: the 8 rows that a matrix load takes meet all banks

struct Chunk {
    uint16_t weights[kEdge][kPitch], inputs[kEdge][kPitch];
};

__device__ __forceinline__ uint32_t shared_place(const void* at) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(at));
}

// Where a thread copies from: 16 bytes each of four rows of the weights and four of x.
struct Sources {
    const uint16_t *weights[4], *inputs[4];
};

__device__ __forceinline__ void copy_chunk(const Sources& from, int chunk, Chunk& to) {
    const int unit = threadIdx.x % 8, first = threadIdx.x / 8;
    const auto copy = [&](const uint16_t* row, uint16_t* place) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_place(place + 8 * unit)),
                     "l"(row + chunk * kChunkColumns + 8 * unit)
                     : "memory");
    };
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        copy(from.weights[i], to.weights[first + 16 * i]);
        copy(from.inputs[i], to.inputs[first + 16 * i]);
    }
}

__device__ __forceinline__ Sources sources_of(const MatrixArgs& args, const Tile& tile) {
    const Job& job = job_of_tile(args, tile.rows, 0);
    const MatrixWeight weight = weight_of_tile(args, tile.rows, 0);
    Sources from;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const int place = threadIdx.x / 8 + 16 * i;
        const int64_t output = min(static_cast<int64_t>(tile.block) * kEdge + place, args.product.weight.rows - 1);
        const int row = tile.rows.first + min(place, tile.rows.count - 1);
        from.weights[i] = reinterpret_cast<const uint16_t*>(weight.data) + (weight.first_row + output) * args.x_columns;
        from.inputs[i] = args.x + x_row_of(args, job, tile.rows, row) * args.x_columns;
    }
    return from;
}

// A warp has 32 outputs of 32 rows.
__device__ __forceinline__ void add_chunk(const Chunk& chunk, int output, int row, float (&sums)[2][4][4]) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < kChunkColumns; k += 16) {
        uint32_t a[2][4], b[2][4];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            load_matrices_at(shared_place(&chunk.weights[output + 16 * i + lane % 16][k + lane / 16 * 8]), a[i]);
            // Rows of x 0 to 7 and 8 to 15, each with columns k to k + 7 and then k + 8 to k + 15.
            load_matrices_at(shared_place(&chunk.inputs[row + 16 * i + lane / 16 * 8 + lane % 8][k + lane / 8 % 2 * 8]),
                             b[i]);
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
#pragma unroll
            for (int j = 0; j < 4; ++j) add_product(sums[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
        }
    }
}

__device__ __forceinline__ void store_tile(const MatrixArgs& args, const Tile& tile, int first_output, int first_row,
                                           const float (&sums)[2][4][4]) {
    const Job& job = job_of_tile(args, tile.rows, 0);
    const int lane = threadIdx.x % 32;
    float* const all = out_of_tile(args, job, tile.rows);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
        const int t = first_row + j / 2 * 8 + lane % 4 * 2 + j % 2;
        if (t >= tile.rows.count) continue;
        float* const out = all + out_row_of(args, job, tile.rows, tile.rows.first + t) * args.product.out_stride;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int64_t output = static_cast<int64_t>(tile.block) * kEdge + first_output + 8 * i + lane / 4;
            if (output >= args.product.weight.rows) continue;
            float sum = sums[i / 2][j / 2][i % 2 * 2 + j % 2];
            if (job.bias != nullptr) sum += job.bias[output];
            out[output] = args.product.accumulate ? out[output] + sum : sum;
        }
    }
}

__global__ void __launch_bounds__(kThreadsOfBlock) matrix_kernel(const __grid_constant__ MatrixArgs args) {
    __shared__ __align__(16) Chunk stages[2];
    const int blocks = static_cast<int>((args.product.weight.rows + kEdge - 1) / kEdge);
    const int count = tile_count(args, blocks), chunks = static_cast<int>(args.x_columns / kChunkColumns);
    const int warp = threadIdx.x / 32, first_output = warp % 2 * 32, first_row = warp / 2 * 32;
    for (int index = blockIdx.x; index < count; index += gridDim.x) {
        const Tile tile = tile_at(args, blocks, index);
        const Sources from = sources_of(args, tile);
        float sums[2][4][4] = {};
        copy_chunk(from, 0, stages[0]);
        asm volatile("cp.async.commit_group;" ::: "memory");
        for (int chunk = 0; chunk < chunks; ++chunk) {
            if (chunk + 1 < chunks) copy_chunk(from, chunk + 1, stages[(chunk + 1) % 2]);
            asm volatile("cp.async.commit_group;" ::: "memory");
            asm volatile("cp.async.wait_group 1;" ::: "memory");
            __syncthreads();
            add_chunk(stages[chunk % 2], first_output, first_row, sums);
            __syncthreads();
        }
        store_tile(args, tile, first_output, first_row, sums);
    }
}

}  // namespace

void multiply_on_any_card(Device& device, const MatrixArgs& args) {
    constexpr int kBlocksOfMultiprocessor = 4;
    const auto grid = static_cast<unsigned>(kBlocksOfMultiprocessor * device.multiprocessors());
    matrix_kernel<<<grid, kThreadsOfBlock, 0, device.stream()>>>(args);
    check_launch("a product of matrices");
}

}  // namespace sluice::cuda
