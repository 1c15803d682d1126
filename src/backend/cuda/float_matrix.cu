// Many rows times a weight in full precision: the weight as floats in scratch, tiles of 64 by 64, a thread 4 by 4 sums.

#include "backend/cuda/early.cuh"
#include "backend/cuda/float_matrix.h"
#include "backend/cuda/products.h"
#include "backend/cuda/views.cuh"

namespace sluice::cuda {

namespace {

constexpr int kTileSide = 64, kTileDepth = 16, kTileThreads = 256, kSide = 4;  // kSide: of a thread

struct FloatMatrixArgs {
    Rows<const float> x;
    const float* weight;  // [outputs, columns]
    const float* bias;    // null: zero
    Rows<float> out;
    int rows, outputs, columns;
    bool accumulate;
};

__global__ void __launch_bounds__(kTileThreads) float_matrix_kernel(const FloatMatrixArgs args) {
    __shared__ __align__(16) float inputs[kTileDepth][kTileSide + 4], weights[kTileDepth][kTileSide + 4];
    let_next_begin();
    wait_for_previous();
    const int thread = threadIdx.x, first_row = blockIdx.y * kTileSide, first_output = blockIdx.x * kTileSide;
    const int my_row = thread / 16 * kSide, my_output = thread % 16 * kSide;
    float sums[kSide][kSide] = {};
    for (int first = 0; first < args.columns; first += kTileDepth) {
        __syncthreads();
#pragma unroll
        for (int i = thread; i < kTileSide * kTileDepth; i += kTileThreads) {
            const int line = i / kTileDepth, depth = i % kTileDepth, column = first + depth;
            const bool there = column < args.columns;
            const int row = first_row + line, output = first_output + line;
            inputs[depth][line] = there && row < args.rows ? args.x[row][column] : 0.0f;
            weights[depth][line] = there && output < args.outputs
                                       ? args.weight[static_cast<int64_t>(output) * args.columns + column]
                                       : 0.0f;
        }
        __syncthreads();
#pragma unroll
        for (int depth = 0; depth < kTileDepth; ++depth) {
            const float4 x = *reinterpret_cast<const float4*>(&inputs[depth][my_row]);
            const float4 w = *reinterpret_cast<const float4*>(&weights[depth][my_output]);
            const float xs[kSide] = {x.x, x.y, x.z, x.w}, ws[kSide] = {w.x, w.y, w.z, w.w};
#pragma unroll
            for (int i = 0; i < kSide; ++i) {
#pragma unroll
                for (int j = 0; j < kSide; ++j) sums[i][j] = fmaf(xs[i], ws[j], sums[i][j]);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < kSide; ++i) {
        const int row = first_row + my_row + i;
        if (row >= args.rows) break;
#pragma unroll
        for (int j = 0; j < kSide; ++j) {
            const int output = first_output + my_output + j;
            if (output >= args.outputs) break;
            const float sum = sums[i][j] + (args.bias == nullptr ? 0.0f : args.bias[output]);
            float& out = args.out[row][output];
            out = args.accumulate ? out + sum : sum;
        }
    }
}

}  // namespace

void multiply_floats(Device& device, const Linear& op) {
    const auto numbers = static_cast<uint64_t>(op.weight.rows * op.weight.columns);
    auto* const weight = reinterpret_cast<float*>(device.scratch(numbers * sizeof(float)));
    device_codec(op.weight.format)
        .decode_rows(device, device_weight(device, op.weight), {.count = op.weight.rows}, weight, op.weight.columns);
    const FloatMatrixArgs args{.x = rows_of(op.x),
                               .weight = weight,
                               .bias = op.bias.buffer == nullptr ? nullptr : rows_of(op.bias).first,
                               .out = writable_rows_of(op.out),
                               .rows = static_cast<int>(op.x.rows),
                               .outputs = static_cast<int>(op.weight.rows),
                               .columns = static_cast<int>(op.weight.columns),
                               .accumulate = op.accumulate};
    const dim3 grid(blocks_for(op.weight.rows, kTileSide), blocks_for(op.x.rows, kTileSide));
    launch_early(device, {grid, kTileThreads}, float_matrix_kernel, args);
}

}  // namespace sluice::cuda
