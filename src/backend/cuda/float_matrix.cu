// Many rows times a weight in full precision: the weight as floats in scratch, then tiles of rows by outputs on tensor
// cores; of very few outputs a warp per four rows. Tensor cores take numbers of 11 binary digits: each float is the sum
// of two of them, three of the four products of two such sums are added, and what is left out is 2^-22 of a product.
// The order of a sum depends on nothing but the length of x and whether outputs are few.

#include "backend/cuda/early.cuh"
#include "backend/cuda/float_matrix.h"
#include "backend/cuda/products.h"
#include "backend/cuda/tensor_cores.cuh"
#include "backend/cuda/views.cuh"

namespace sluice::cuda {

namespace {

struct FloatMatrixArgs {
    Rows<const float> x;
    const float* weight;  // [outputs, columns]
    const float* bias;    // null: zero
    Rows<float> out;
    int rows, outputs, columns;
    bool accumulate;
    bool fours;  // columns can be read four at a time: rows begin at multiples of 16 bytes
};

__device__ __forceinline__ void put_sum(const FloatMatrixArgs& args, int row, int output, float sum) {
    if (args.bias != nullptr) sum += args.bias[output];
    float& out = args.out[row][output];
    out = args.accumulate ? out + sum : sum;
}

// A block makes kRows by kOutputs sums, a warp kWarpRows by kWarpOutputs of them.
template <int kTileRows, int kTileOutputs, int kTileWarpRows, int kTileWarpOutputs, int kTileStages>
struct FloatTile {
    static constexpr int kRows = kTileRows, kOutputs = kTileOutputs, kStages = kTileStages;
    static constexpr int kWarpRows = kTileWarpRows, kWarpOutputs = kTileWarpOutputs;
    static constexpr int kRowParts = kWarpRows / 16, kOutputParts = kWarpOutputs / 8;  // of a product each
    static constexpr int kAcross = kOutputs / kWarpOutputs;
    static constexpr int kThreads = 32 * kAcross * (kRows / kWarpRows);
    static constexpr int kDepth = 32, kPitch = kDepth + 8;  // four rows that follow each other meet all banks
    static constexpr int kLines = kRows + kOutputs;         // of x, then of the weight
    static constexpr int kSums = kRowParts * kOutputParts * 4;
    static constexpr size_t kBytes = sizeof(float) * kStages * kLines * kPitch;
};

// A number, or zero where it is not there.
__device__ __forceinline__ void copy_4(uint32_t to, const float* from, bool there) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(there ? 4 : 0) : "memory");
}

// Columns [first, first + kDepth) of all lines of a tile, on their way.
template <typename Tile>
__device__ __forceinline__ void copy_stage(const FloatMatrixArgs& args, int first, float* stage) {
    constexpr int kFours = Tile::kDepth / 4;
    const int first_row = blockIdx.y * Tile::kRows, first_output = blockIdx.x * Tile::kOutputs;
    for (int i = threadIdx.x; i < Tile::kLines * kFours; i += Tile::kThreads) {
        const int line = i / kFours, four = i % kFours * 4, column = first + four;
        const bool of_x = line < Tile::kRows;
        const int at = of_x ? first_row + line : first_output + line - Tile::kRows;
        const int left = at < (of_x ? args.rows : args.outputs) ? min(args.columns - column, 4) : 0;
        const float* from = args.weight;
        if (left > 0) from = (of_x ? args.x[at] : args.weight + static_cast<int64_t>(at) * args.columns) + column;
        const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(stage + line * Tile::kPitch + four));
        if (args.fours) {
            copy_16(to, from, left > 0);
        } else {
            for (int c = 0; c < 4; ++c) copy_4(to + 4 * c, c < left ? from + c : from, c < left);
        }
    }
    copies_end();
}

// A float as the sum of two numbers of 11 digits.
struct Split {
    uint32_t high, low;
};
__device__ __forceinline__ Split split(float value) {
    const uint32_t high = (__float_as_uint(value) + 0x1000u) & ~0x1fffu;
    return {high, __float_as_uint(value - __uint_as_float(high)) + 0x1000u};
}

// sums += a . b: 16 rows of eight columns by eight outputs.
__device__ __forceinline__ void multiply_eights(float (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// A thread's part of an operand: columns 2 t and 2 t + 1 of a line stand where a product has its columns t and t + 4.
template <int kLinesApart, int kPairs>
__device__ __forceinline__ void load_split(const float* from, uint32_t (&high)[2 * kPairs],
                                           uint32_t (&low)[2 * kPairs]) {
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
        const float2 pair = *reinterpret_cast<const float2*>(from + i * kLinesApart);
        const Split first = split(pair.x), second = split(pair.y);
        high[i] = first.high, high[kPairs + i] = second.high;
        low[i] = first.low, low[kPairs + i] = second.low;
    }
}

// What a stage adds to a warp's sums: `x` and `weight` are the thread's first numbers of its first lines. Tensor cores
// cut what they add, so that few numbers are added there.
template <typename Tile>
__device__ __forceinline__ void add_stage(const float* x, const float* weight, float (&sums)[Tile::kSums / 4][4]) {
    float added[Tile::kSums / 4][4] = {};
#pragma unroll
    for (int first = 0; first < Tile::kDepth; first += 8) {
        uint32_t b_high[Tile::kOutputParts][2], b_low[Tile::kOutputParts][2];
#pragma unroll
        for (int j = 0; j < Tile::kOutputParts; ++j)
            load_split<0, 1>(weight + first + j * 8 * Tile::kPitch, b_high[j], b_low[j]);
#pragma unroll
        for (int i = 0; i < Tile::kRowParts; ++i) {
            uint32_t a_high[4], a_low[4];
            load_split<8 * Tile::kPitch, 2>(x + first + i * 16 * Tile::kPitch, a_high, a_low);
#pragma unroll
            for (int j = 0; j < Tile::kOutputParts; ++j) {
                float(&sum)[4] = added[i * Tile::kOutputParts + j];
                multiply_eights(sum, a_low, b_high[j]);
                multiply_eights(sum, a_high, b_low[j]);
                multiply_eights(sum, a_high, b_high[j]);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < Tile::kSums; ++i) sums[i / 4][i % 4] += added[i / 4][i % 4];
}

template <typename Tile>
__global__ void __launch_bounds__(Tile::kThreads) float_tile_kernel(const FloatMatrixArgs args) {
    extern __shared__ __align__(16) float stages[];
    let_next_begin();
    wait_for_previous();
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int warp_row = warp / Tile::kAcross * Tile::kWarpRows;
    const int warp_output = warp % Tile::kAcross * Tile::kWarpOutputs;
    const int place = lane / 4 * Tile::kPitch + lane % 4 * 2;  // of the thread's numbers in its warp's lines
    float sums[Tile::kSums / 4][4] = {};
    const int turns = (args.columns + Tile::kDepth - 1) / Tile::kDepth;
    constexpr int kStageFloats = Tile::kLines * Tile::kPitch;
    // Past the end nothing but zeros is copied.
    for (int turn = 0; turn < Tile::kStages - 1; ++turn)
        copy_stage<Tile>(args, turn * Tile::kDepth, stages + turn * kStageFloats);
    for (int turn = 0; turn < turns; ++turn) {
        copies_wait<Tile::kStages - 2>();
        __syncthreads();
        const int ahead = turn + Tile::kStages - 1;
        copy_stage<Tile>(args, ahead * Tile::kDepth, stages + ahead % Tile::kStages * kStageFloats);
        const float* const stage = stages + turn % Tile::kStages * kStageFloats + place;
        add_stage<Tile>(stage + warp_row * Tile::kPitch, stage + (Tile::kRows + warp_output) * Tile::kPitch, sums);
    }
    copies_wait<0>();
    const int first_row = blockIdx.y * Tile::kRows + warp_row + lane / 4;
    const int first_output = blockIdx.x * Tile::kOutputs + warp_output + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < Tile::kSums; ++i) {
        const int product = i / 4, row = first_row + product / Tile::kOutputParts * 16 + i % 4 / 2 * 8;
        const int output = first_output + product % Tile::kOutputParts * 8 + i % 2;
        if (row < args.rows && output < args.outputs) put_sum(args, row, output, sums[product][i % 4]);
    }
}

constexpr int kFewOutputs = 4, kRowsOfWarp = 4, kWarps = 8;

// Four columns from `first` on, zeros behind the end.
__device__ __forceinline__ float4 four_of(const FloatMatrixArgs& args, const float* line, int first) {
    if (args.fours) return *reinterpret_cast<const float4*>(line + first);
    const auto at = [&](int column) { return column < args.columns ? line[column] : 0.0f; };
    return {at(first), at(first + 1), at(first + 2), at(first + 3)};
}

// A warp: four rows, all outputs.
template <int kOutputs>
__global__ void __launch_bounds__(32 * kWarps) few_outputs_kernel(const FloatMatrixArgs args) {
    let_next_begin();
    wait_for_previous();
    const int lane = threadIdx.x % 32, first_row = (blockIdx.x * kWarps + threadIdx.x / 32) * kRowsOfWarp;
    if (first_row >= args.rows) return;
    const float* lines[kRowsOfWarp];
#pragma unroll
    for (int i = 0; i < kRowsOfWarp; ++i) lines[i] = args.x[min(first_row + i, args.rows - 1)];
    float sums[kRowsOfWarp][kOutputs] = {};
#pragma unroll 2
    for (int first = 4 * lane; first < args.columns; first += 128) {
        float4 xs[kRowsOfWarp];
#pragma unroll
        for (int i = 0; i < kRowsOfWarp; ++i) xs[i] = four_of(args, lines[i], first);
#pragma unroll
        for (int j = 0; j < kOutputs; ++j) {
            if (j >= args.outputs) break;
            const float4 w = four_of(args, args.weight + static_cast<int64_t>(j) * args.columns, first);
#pragma unroll
            for (int i = 0; i < kRowsOfWarp; ++i) {
                sums[i][j] = fmaf(xs[i].x, w.x, sums[i][j]);
                sums[i][j] = fmaf(xs[i].y, w.y, sums[i][j]);
                sums[i][j] = fmaf(xs[i].z, w.z, sums[i][j]);
                sums[i][j] = fmaf(xs[i].w, w.w, sums[i][j]);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < kRowsOfWarp; ++i) {
#pragma unroll
        for (int j = 0; j < kOutputs; ++j) {
            const float sum = warp_sum(sums[i][j]);
            if (lane == 0 && j < args.outputs && first_row + i < args.rows) put_sum(args, first_row + i, j, sum);
        }
    }
}

template <typename Tile>
void multiply_tiles(Device& device, const FloatMatrixArgs& args) {
    check(cudaFuncSetAttribute(float_tile_kernel<Tile>, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kBytes),
          "shared memory for products of floats");
    const dim3 grid(blocks_for(args.outputs, Tile::kOutputs), blocks_for(args.rows, Tile::kRows));
    launch_early(device, {grid, Tile::kThreads, Tile::kBytes}, float_tile_kernel<Tile>, args);
}

// They add in the same order.
using LargeTile = FloatTile<128, 64, 32, 32, 3>;
using SmallTile = FloatTile<32, 32, 16, 16, 4>;

void multiply_floats(Device& device, const FloatMatrixArgs& args) {
    if (args.outputs <= kFewOutputs) {
        auto* const kernel = args.outputs == 1 ? few_outputs_kernel<1> : few_outputs_kernel<kFewOutputs>;
        return launch_early(device, {blocks_for(args.rows, kRowsOfWarp * kWarps), 32 * kWarps}, kernel, args);
    }
    const int64_t large =
        static_cast<int64_t>(blocks_for(args.outputs, LargeTile::kOutputs)) * blocks_for(args.rows, LargeTile::kRows);
    if (args.outputs > SmallTile::kOutputs && large >= device.multiprocessors())
        return multiply_tiles<LargeTile>(device, args);
    multiply_tiles<SmallTile>(device, args);
}

}  // namespace

void multiply_floats(Device& device, const Linear& op) {
    const auto numbers = static_cast<uint64_t>(op.weight.rows * op.weight.columns);
    auto* const weight = reinterpret_cast<float*>(device.scratch(numbers * sizeof(float)));
    device_codec(op.weight.format)
        .decode_rows(device, device_weight(device, op.weight), {.count = op.weight.rows}, weight, op.weight.columns);
    const Rows<const float> x = rows_of(op.x);
    multiply_floats(device, {.x = x,
                             .weight = weight,
                             .bias = op.bias.buffer == nullptr ? nullptr : rows_of(op.bias).first,
                             .out = writable_rows_of(op.out),
                             .rows = static_cast<int>(op.x.rows),
                             .outputs = static_cast<int>(op.weight.rows),
                             .columns = static_cast<int>(op.weight.columns),
                             .accumulate = op.accumulate,
                             .fours = reinterpret_cast<uintptr_t>(x.first) % sizeof(float4) == 0 && x.stride % 4 == 0 &&
                                      op.weight.columns % 4 == 0});
}

}  // namespace sluice::cuda
