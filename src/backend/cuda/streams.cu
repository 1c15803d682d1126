// Operations of a residual of several streams, in F32.

#include <algorithm>

#include "backend/cuda/early.cuh"
#include "backend/cuda/elements.cuh"
#include "backend/cuda/views.cuh"

namespace sluice::cuda {

namespace {

constexpr int kThreads = 256, kMostStreams = 16;

__global__ void gate_kernel(Rows<float> x, float factor, float gain, bool silu, int64_t rows, int64_t columns) {
    let_next_begin();
    wait_for_previous();
    const int64_t c = element_column();
    if (c >= columns) return;
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
        const float scaled = factor * x[row][c];
        x[row][c] = gain * (silu ? scaled : 1.0f) * sigmoid(scaled);
    }
}

__global__ void average_kernel(Rows<const float> streams, Rows<const float> gates, int count, Rows<float> out,
                               int64_t rows, int64_t hidden) {
    let_next_begin();
    wait_for_previous();
    const int64_t c = element_column();
    if (c >= hidden) return;
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
        float sum = 0;
        for (int k = 0; k < count; ++k)
            sum = fmaf(sigmoid(gates[row][k * hidden + c]), streams[row][k * hidden + c], sum);
        out[row][c] = sum / static_cast<float>(count);
    }
}

// A block per stream of a row.
__global__ void match_kernel(Rows<const float> keys, Rows<const float> queries, Rows<const float> value, int hidden,
                             Rows<float> out) {
    let_next_begin();
    wait_for_previous();
    const int64_t row = blockIdx.x, first = static_cast<int64_t>(blockIdx.y) * hidden;
    float sum = 0;
    for (int i = threadIdx.x; i < hidden; i += blockDim.x)
        sum = fmaf(keys[row][first + i], queries[row][first + i], sum);
    const float match = block_sum(sum) / sqrtf(static_cast<float>(hidden));
    const float root = sqrtf(fmaxf(fabsf(match), MatchStreams::kLeastMagnitude));
    const float gate = sigmoid(match == 0 ? 0.0f : copysignf(root, match));
    for (int i = threadIdx.x; i < hidden; i += blockDim.x) out[row][first + i] = gate * value[row][i];
}

__global__ void weigh_streams_kernel(Rows<const float> streams, Rows<const float> weights, int count, Rows<float> out,
                                     int64_t rows, int64_t hidden) {
    let_next_begin();
    wait_for_previous();
    const int64_t c = element_column();
    if (c >= hidden) return;
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
        float sum = 0;
        for (int k = 0; k < count; ++k) {
            const float weight = weights.first == nullptr ? 1.0f / static_cast<float>(count) : weights[row][k];
            sum = fmaf(weight, streams[row][k * hidden + c], sum);
        }
        out[row][c] = sum;
    }
}

struct MixArgs {
    Rows<const float> x, weights, mix;  // mix.first null: streams stay
    Rows<float> streams;
    int64_t rows, hidden;
    int count;
};

__global__ void mix_kernel(const MixArgs args) {
    let_next_begin();
    wait_for_previous();
    const int64_t c = element_column();
    if (c >= args.hidden) return;
    for (int64_t row = blockIdx.y; row < args.rows; row += gridDim.y) {
        float* const stream = args.streams[row] + c;
        const float x = args.x[row][c];
        float before[kMostStreams];
        for (int k = 0; k < args.count; ++k) before[k] = stream[k * args.hidden];
        for (int k = 0; k < args.count; ++k) {
            float sum = args.weights[row][k] * x;
            if (args.mix.first == nullptr) {
                sum += before[k];
            } else {
                for (int j = 0; j < args.count; ++j) sum = fmaf(args.mix[row][j * args.count + k], before[j], sum);
            }
            stream[k * args.hidden] = sum;
        }
    }
}

struct ConnectArgs {
    Rows<float> coefficients;
    Rows<const float> streams;
    const float *base, *scale;
    int count, columns, width;  // columns: of the coefficients; width: of the streams
    int64_t rounds;
    float norm_epsilon, epsilon;
};

// Divides what a lane has of the matrix, `count` numbers `step` apart, by their sum.
__device__ __forceinline__ void divide_by_sum(float* first, int count, int step, float epsilon) {
    float sum = epsilon;
    for (int i = 0; i < count; ++i) sum += first[i * step];
    for (int i = 0; i < count; ++i) first[i * step] /= sum;
}

// Sinkhorn's rounds, by a warp: a lane per row, then per column.
__device__ void balance(float* mix, int count, int64_t rounds, float epsilon) {
    const int lane = threadIdx.x;
    float* const row = mix + lane * count;
    if (lane < count) {
        float largest = row[0];
        for (int i = 1; i < count; ++i) largest = fmaxf(largest, row[i]);
        for (int i = 0; i < count; ++i) row[i] = expf(row[i] - largest);
        divide_by_sum(row, count, 1, 0);
        for (int i = 0; i < count; ++i) row[i] += epsilon;
    }
    for (int64_t round = 0; round < rounds; ++round) {
        if (round > 0 && lane < count) divide_by_sum(row, count, 1, epsilon);
        __syncwarp();
        if (lane < count) divide_by_sum(mix + lane, count, count, epsilon);
        __syncwarp();
    }
}

// A block per row.
__global__ void __launch_bounds__(kThreads) connect_kernel(const ConnectArgs args) {
    __shared__ float values[(2 + kMostStreams) * kMostStreams];
    let_next_begin();
    wait_for_previous();
    const float* const streams = args.streams[blockIdx.x];
    float* const row = args.coefficients[blockIdx.x];
    float squares = 0;
    for (int i = threadIdx.x; i < args.width; i += kThreads) squares = fmaf(streams[i], streams[i], squares);
    const float norm = rsqrtf(block_sum(squares) / static_cast<float>(args.width) + args.norm_epsilon);
    for (int i = threadIdx.x; i < args.columns; i += kThreads)
        values[i] = fmaf(row[i] * norm, args.scale[min(i / args.count, 2)], args.base[i]);
    __syncthreads();
    if (args.columns > args.count && threadIdx.x < 32)
        balance(values + 2 * args.count, args.count, max(args.rounds, int64_t{1}), args.epsilon);
    __syncthreads();
    for (int i = threadIdx.x; i < args.columns; i += kThreads) {
        const bool reads = i < args.count, writes = !reads && i < 2 * args.count;
        row[i] = reads ? sigmoid(values[i]) + args.epsilon : writes ? 2.0f * sigmoid(values[i]) : values[i];
    }
}

void check_count(const char* name, int64_t count) {
    if (count > kMostStreams) refuse(std::string(name) + " on CUDA: 16 streams are the most");
}

}  // namespace

void compute(Device& device, const Gate& op) {
    if (op.x.rows == 0) return;
    launch_early(device, {element_grid(op.x.rows, op.x.columns), kElementThreads}, gate_kernel, writable_rows_of(op.x),
                 op.factor, op.gain, op.silu, op.x.rows, op.x.columns);
}

void compute(Device& device, const AverageGatedStreams& op) {
    if (op.out.rows == 0) return;
    launch_early(device, {element_grid(op.out.rows, op.out.columns), kElementThreads}, average_kernel,
                 rows_of(op.streams), rows_of(op.gates), static_cast<int>(op.streams.columns / op.out.columns),
                 writable_rows_of(op.out), op.out.rows, op.out.columns);
}

void compute(Device& device, const MatchStreams& op) {
    if (op.out.rows == 0) return;
    const dim3 grid(static_cast<unsigned>(op.out.rows), static_cast<unsigned>(op.out.columns / op.value.columns));
    launch_early(device, {grid, kThreads}, match_kernel, rows_of(op.keys), rows_of(op.queries), rows_of(op.value),
                 static_cast<int>(op.value.columns), writable_rows_of(op.out));
}

void compute(Device& device, const WeighStreams& op) {
    if (op.out.rows == 0) return;
    const Rows<const float> weights = op.weights.buffer == nullptr ? Rows<const float>{} : rows_of(op.weights);
    launch_early(device, {element_grid(op.out.rows, op.out.columns), kElementThreads}, weigh_streams_kernel,
                 rows_of(op.streams), weights, static_cast<int>(op.streams.columns / op.out.columns),
                 writable_rows_of(op.out), op.out.rows, op.out.columns);
}

void compute(Device& device, const MixStreams& op) {
    if (op.x.rows == 0) return;
    check_count(op.kName, op.weights.columns);
    const MixArgs args{.x = rows_of(op.x),
                       .weights = rows_of(op.weights),
                       .mix = op.mix.buffer == nullptr ? Rows<const float>{} : rows_of(op.mix),
                       .streams = writable_rows_of(op.streams),
                       .rows = op.x.rows,
                       .hidden = op.x.columns,
                       .count = static_cast<int>(op.weights.columns)};
    launch_early(device, {element_grid(op.x.rows, op.x.columns), kElementThreads}, mix_kernel, args);
}

void compute(Device& device, const ConnectStreams& op) {
    if (op.coefficients.rows == 0) return;
    check_count(op.kName, op.count);
    const ConnectArgs args{.coefficients = writable_rows_of(op.coefficients),
                           .streams = rows_of(op.streams),
                           .base = rows_of(op.base).first,
                           .scale = rows_of(op.scale).first,
                           .count = static_cast<int>(op.count),
                           .columns = static_cast<int>(op.coefficients.columns),
                           .width = static_cast<int>(op.streams.columns),
                           .rounds = op.rounds,
                           .norm_epsilon = op.norm_epsilon,
                           .epsilon = op.epsilon};
    launch_early(device, {static_cast<unsigned>(op.coefficients.rows), kThreads}, connect_kernel, args);
}

}  // namespace sluice::cuda
