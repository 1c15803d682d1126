// Products of one row, behind its norm or as it is, in affine 4 bits as affine_tiles.cuh has them and in 8 bits in F32.
// Every block norms the row for itself. Weights are asked for before the kernel before has ended.

#include <algorithm>

#include "backend/cuda/affine.cuh"
#include "backend/cuda/affine_tiles.cuh"
#include "backend/cuda/early.cuh"
#include "backend/cuda/joined.h"
#include "backend/cuda/norm.cuh"
#include "backend/cuda/products.h"
#include "backend/cuda/recurrent.cuh"
#include "backend/cuda/shared_memory.h"

namespace sluice::cuda {

namespace {

constexpr int kWarps = 16, kThreads = 32 * kWarps;  // of a block that has tiles
constexpr int kRowWarps = 8;                        // of others
constexpr int kMostMatrices = 8;
constexpr uint64_t kMostSharedBytes = 220 << 10;
constexpr int kHeldRuns = 2;  // of a lane, loaded before x is there

struct StepMatrix {
    const uint8_t *data, *scales, *zero_points;
    float* out;
    int32_t outputs;
};

struct NormedRow {
    const float *x, *weight;  // no weight: as it is
    float epsilon;
    float* out;
};

// Of the outputs that lie in x: four taps, the last on the new number.
struct StepConvolution {
    const float* x;  // null: none
    Rows<const float> taps;
    StateTable states;
    int channels;
    float* out;
};

struct StepProducts {
    NormedRow row;
    StepConvolution convolution;
    int columns;
    DeviceWeight in_tiles, in_rows;  // formats, of 4 bits and of 8
    int tiled, matrices;             // those of 4 bits come first
    int row_outputs, row_blocks;     // blocks for 8 bits come first
    bool accumulate;
    Sharing sharing;
    StepMatrix of[kMostMatrices];
};

// The thread's first eight factors of a norm, asked for early.
struct Factors {
    float first[8];

    __device__ __forceinline__ Factors(const NormedRow& row, int columns) {
        if (row.weight != nullptr && 8 * static_cast<int>(threadIdx.x) < columns)
            load_eight(row.weight + 8 * threadIdx.x, first);
    }
};

// put(i, eight numbers) of the row; block 0 leaves them in memory, too.
template <typename Put>
__device__ __forceinline__ void norm_row(const NormedRow& row, int columns, const Factors& factors, const Put& put) {
    const int eights = columns / 8, own = threadIdx.x;
    const bool once = eights <= static_cast<int>(blockDim.x);
    float x[8] = {};
    if (once && own < eights) load_eight(row.x + 8 * own, x);
    const float scale = row.weight == nullptr ? 1.0f
                        : once                ? norm_scale_of(x, columns, row.epsilon)
                                              : norm_scale(row.x, columns, row.epsilon);
#pragma unroll 1
    for (int i = own; i < eights; i += blockDim.x) {
        if (!once) load_eight(row.x + 8 * i, x);
        if (row.weight != nullptr) {
            float factor[8];
            if (i != own) load_eight(row.weight + 8 * i, factor);
#pragma unroll
            for (int j = 0; j < 8; ++j) x[j] = x[j] * scale * (i == own ? factors.first[j] : factor[j]);
            if (blockIdx.x == 0) store_eight(row.out + 8 * i, x);
        }
        put(i, x);
    }
}

// A run of the row in shared memory, in the order of add_runs.
__device__ __forceinline__ void add_run(const AffineRun<8>& run, const float4* x, float& sum) {
    float values[kRun];
    run.decode(values);
#pragma unroll
    for (int i = 0; i < kRun / 4; ++i) {
        const float4 four = x[i];
        sum = fmaf(four.x, values[4 * i], sum);
        sum = fmaf(four.y, values[4 * i + 1], sum);
        sum = fmaf(four.z, values[4 * i + 2], sum);
        sum = fmaf(four.w, values[4 * i + 3], sum);
    }
}

// A warp: an output of a matrix in 8 bits.
__device__ __forceinline__ void rows_block(const StepProducts& args, float4* shared) {
    const int lane = threadIdx.x % 32, runs = args.columns / kRun;
    int output = static_cast<int>(blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32);
    const bool there = output < args.row_outputs;
    int m = args.tiled;
    while (there && output >= args.of[m].outputs) output -= args.of[m++].outputs;
    DeviceWeight weight = args.in_rows;
    AffineRun<8> held[kHeldRuns];
    if (there) {
        weight.data = args.of[m].data, weight.scales = args.of[m].scales;
        weight.zero_points = args.of[m].zero_points;
#pragma unroll
        for (int r = 0; r < kHeldRuns; ++r) {
            if (lane + 32 * r < runs) held[r].load(weight, output, lane + 32 * r);
        }
    }
    const Factors factors(args.row, args.columns);
    wait_for_previous();
    norm_row(args.row, args.columns, factors, [&](int i, const float(&x)[8]) {
        store_eight(reinterpret_cast<float*>(shared) + i / 4 * kRunPitch + i % 4 * 8, x);
    });
    __syncthreads();
    if (!there) return;
    float sums[1] = {};
#pragma unroll
    for (int r = 0; r < kHeldRuns; ++r) {
        const int run = lane + 32 * r;
        if (run < runs) add_run(held[r], shared + run * (kRunPitch / 4), sums[0]);
    }
    constexpr int kHeld = 32 * kHeldRuns;
    add_runs<Affine<8>, 1>(weight, output, kHeld, runs - kHeld, shared + kHeld * (kRunPitch / 4), 0, 1, sums);
    const float sum = warp_sum(sums[0]);
    if (lane != 0) return;
    float& out = args.of[m].out[output];
    out = args.accumulate ? out + sum : sum;
}

// What a channel's convolution reads beside the new number.
struct ChannelPast {
    float4 taps;
    float past[3];
    float *next, *out;  // null: there is none

    __device__ __forceinline__ void load(const StepConvolution& convolution, const float* number) {
        const int64_t channel = number - convolution.x;
        out = nullptr;
        if (convolution.x == nullptr || number == nullptr || channel < 0 || channel >= convolution.channels) return;
        out = convolution.out + channel;
        taps = __ldg(reinterpret_cast<const float4*>(convolution.taps[channel]));
        const float* const state = convolution.states.of(0) + channel;
        next = convolution.states.next_of(0) + channel;
#pragma unroll
        for (int i = 0; i < 3; ++i) past[i] = state[static_cast<int64_t>(i) * convolution.channels];
    }
    __device__ __forceinline__ void convolve(int channels, float number) {
        if (out == nullptr) return;
        float sum = fmaf(past[0], taps.x, 0.0f);
        sum = fmaf(past[1], taps.y, sum);
        sum = fmaf(past[2], taps.z, sum);
        sum = fmaf(number, taps.w, sum);
        *out = quick_silu(sum);
        next[0] = past[1];
        next[channels] = past[2];
        next[2 * static_cast<int64_t>(channels)] = number;
    }
};

// A block: some tiles of the matrices in 4 bits, one matrix after the other.
__device__ __forceinline__ void tiles_block(const StepProducts& args, uint4* shared) {
    const int chunks = args.columns / kChunk, outputs = args.sharing.outputs();
    const int first_tile = (static_cast<int>(blockIdx.x) - args.row_blocks) * args.sharing.tiles;
    Stage* const stages = reinterpret_cast<Stage*>(shared);
    uint4* const words = reinterpret_cast<uint4*>(stages + kWarps * args.sharing.stages);
    const StagedRows<1> staged(words, chunks);
    float* const partial = staged.end(chunks);
    // The matrix of a tile, whose number becomes that within it. The last one repeats its last tile.
    const auto matrix_of = [&](int& tile) {
        int m = 0;
#pragma unroll 1
        for (; m + 1 < args.tiled; ++m) {
            const int tiles = (args.of[m].outputs + kOutputs - 1) / kOutputs;
            if (tile < tiles) break;
            tile -= tiles;
        }
        return m;
    };
    const auto tile_of = [&](int number) {
        int tile = first_tile + number;
        const StepMatrix& of = args.of[matrix_of(tile)];
        return Tile<1>{.matrix = {.data = of.data,
                                  .groups = threadIdx.x % 32 < kOutputs ? of.scales : of.zero_points,
                                  .data_row_bytes = static_cast<uint32_t>(args.in_tiles.data_row_bytes),
                                  .group_row_bytes = static_cast<uint32_t>(args.in_tiles.scale_row_bytes),
                                  .last_row = of.outputs - 1,
                                  .chunks = chunks,
                                  .group_shift = args.in_tiles.group_size == kChunk ? 0 : 1},
                       .first_row = tile * kOutputs,
                       .staged = staged};
    };
    // Where an output of the block goes; null behind the last one.
    const auto place_of = [&](int number) {
        int tile = first_tile + number / kOutputs;
        const StepMatrix& of = args.of[matrix_of(tile)];
        const int row = tile * kOutputs + number % kOutputs;
        return row < of.outputs ? of.out + row : nullptr;
    };
    const int own = threadIdx.x;
    float *out = own < outputs ? place_of(own) : nullptr, before = 0;
    ChannelPast past;
    multiply_tiles<1, false>(args.sharing, chunks, stages, partial, tile_of, [&] {
        past.load(args.convolution, out);
        const Factors factors(args.row, args.columns);
        wait_for_previous();
        if (args.accumulate && out != nullptr) before = *out;
        norm_row(args.row, args.columns, factors, [&](int i, const float(&x)[8]) { stage_eight(staged, i, 0, x); });
    });
#pragma unroll 1
    for (int number = own; number < outputs; number += kThreads) {
        if (number != own) {
            out = place_of(number);
            past.load(args.convolution, out);
            before = args.accumulate && out != nullptr ? *out : 0.0f;
        }
        if (out == nullptr) continue;
        const float sum = sum_of_spans<1>(args.sharing, chunks, partial, number, 0);
        *out = args.accumulate ? before + sum : sum;
        past.convolve(args.convolution.channels, sum);
    }
}

__global__ void __launch_bounds__(kThreads, 1) step_products_kernel(const __grid_constant__ StepProducts args) {
    extern __shared__ uint4 shared[];
    let_next_begin();
    if (static_cast<int>(blockIdx.x) < args.row_blocks) {
        rows_block(args, reinterpret_cast<float4*>(shared));
    } else {
        tiles_block(args, shared);
    }
}

bool in_tiles(const Linear& op) {
    return in_four_bits(op.weight.format) && !op.full_precision;
}

bool takes(const Linear& op) {
    return (in_tiles(op) || in_eight_bits(op.weight.format)) && op.x.rows == 1 && op.bias.buffer == nullptr;
}

bool takes(const DeviceWeight& weight, const StepMatrix& matrix) {
    const auto places = reinterpret_cast<uintptr_t>(matrix.data) | reinterpret_cast<uintptr_t>(matrix.scales) |
                        reinterpret_cast<uintptr_t>(matrix.zero_points);
    return places % 16 == 0 && (weight.group_size == 64 || weight.group_size == 128) &&
           weight.scale_type == ScaleType::kBf16 && weight.scale_row_bytes % 8 == 0;
}

bool takes(const RmsNorm& norm) {
    return norm.x.rows == 1 && norm.run() == norm.x.columns && norm.weight.columns == norm.x.columns &&
           in_whole_eights(norm.x.columns) && floats_at(norm.x) != floats_at(norm.out);
}

bool takes(const CausalConvolution& op, StepConvolution& convolution) {
    convolution = {.x = floats_at(op.x),
                   .taps = rows_of(op.weight),
                   .states = table_of(op.states),
                   .channels = static_cast<int>(op.x.columns),
                   .out = floats_at(op.out)};
    return op.bias.buffer == nullptr && op.distance == 1 && op.weight.columns == 4 && op.x.rows == 1 &&
           op.sequences.rows.rows == 1 && convolves_in_fours(op);
}

uint64_t shared_bytes(const StepProducts& args, bool has_tiles) {
    const int chunks = args.columns / kChunk;
    const uint64_t rows = static_cast<uint64_t>(args.columns) / kRun * kRunPitch * sizeof(float);
    if (!has_tiles) return rows;
    const uint64_t tiles =
        stage_bytes(args.sharing) + StagedRows<1>::bytes(chunks) + partial_bytes(args.sharing, chunks, 1);
    return std::max(rows, tiles);
}

// Blocks of as many tiles each, so that they fill the card's turns, of which there are as few as memory allows.
void share_tiles(const Device& device, StepProducts& args, int tiles) {
    const int chunks = args.columns / kChunk, splits = splits_of(chunks, kWarps), at_once = kWarps / splits;
    const int places = device.multiprocessors() - args.row_blocks % device.multiprocessors();
    for (int turns = 1;; ++turns) {
        const auto each = static_cast<int>(blocks_for(tiles, int64_t{turns} * places * at_once));
        args.sharing = sharing_of(chunks, splits, at_once, each * at_once, kMostStages);
        if (each == 1 || shared_bytes(args, true) <= kMostSharedBytes) return;
    }
}

NormedRow row_of(const NormedProducts& joined) {
    if (joined.norm == nullptr) return {.x = floats_at(joined.products.front()->x)};
    const RmsNorm& norm = *joined.norm;
    return {floats_at(norm.x), floats_at(norm.weight), norm.epsilon, floats_at(norm.out)};
}

}  // namespace

bool compute_joined(Device& device, const NormedProducts& joined) {
    if (device.exact() || joined.products.empty() || joined.products.size() > kMostMatrices) return false;
    const Linear& front = *joined.products.front();
    if (joined.norm == nullptr ? joined.products.size() > 1 : !takes(*joined.norm)) return false;
    StepProducts args{.row = row_of(joined),
                      .columns = static_cast<int>(front.x.columns),
                      .accumulate = joined.norm == nullptr && front.accumulate};
    if (joined.convolution != nullptr && !takes(*joined.convolution, args.convolution)) return false;
    int tiles = 0;
    const Linear *first_tiled = nullptr, *first_of_rows = nullptr;
    for (const bool four_bits : {true, false}) {
        for (const Linear* op : joined.products) {
            if (!takes(*op) || op->accumulate != args.accumulate) return false;
            if (in_tiles(*op) != four_bits) continue;
            const Linear*& first = four_bits ? first_tiled : first_of_rows;
            if (first == nullptr) first = op;
            if (!(op->weight.format == first->weight.format)) return false;
            const Job job = job_of(op->weight, op->x, op->out);
            StepMatrix& matrix = args.of[args.matrices++];
            matrix = {job.data, job.scales, job.zero_points, job.out, static_cast<int32_t>(op->weight.rows)};
            (four_bits ? args.in_tiles : args.in_rows) = device_weight(device, op->weight);
            if (!four_bits) {
                args.row_outputs += matrix.outputs;
            } else if (args.columns % 128 == 0 && takes(args.in_tiles, matrix)) {
                tiles += static_cast<int>(blocks_for(matrix.outputs, kOutputs));
                ++args.tiled;
            } else {
                return false;
            }
        }
    }
    const int warps = tiles > 0 ? kWarps : kRowWarps;
    args.row_blocks = static_cast<int>(blocks_for(args.row_outputs, warps));
    unsigned blocks = static_cast<unsigned>(args.row_blocks);
    if (tiles > 0) {
        share_tiles(device, args, tiles);
        blocks += blocks_for(tiles, args.sharing.tiles);
    }
    const uint64_t bytes = shared_bytes(args, tiles > 0);
    if (!allow_shared_bytes(device, reinterpret_cast<const void*>(step_products_kernel), bytes)) return false;
    launch_early(device, {blocks, static_cast<unsigned>(32 * warps), bytes}, step_products_kernel, args);
    return true;
}

}  // namespace sluice::cuda
