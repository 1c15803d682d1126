// Operations on one row at a time: norms, rotations, gates, moves.

#include <algorithm>

#include "backend/cuda/early.cuh"
#include "backend/cuda/elements.cuh"
#include "backend/cuda/norm.cuh"
#include "backend/cuda/products.h"
#include "backend/cuda/rotary.cuh"
#include "backend/cuda/views.cuh"

namespace sluice::cuda {

namespace {

struct NormArgs {
    Rows<const float> x;
    const float* weight;  // of `weights` runs, which are repeated
    Rows<const float> z;  // first null: none
    float epsilon;
    int width, weights;
    bool silu;  // of z; else its sigmoid
    Rows<float> out;

    __device__ const float* weight_of_run(int run) const { return weight + run % weights * width; }
    __device__ float gate(float z) const { return (silu ? z : 1.0f) * sigmoid(z); }
};

// out = x / rms(x) * weight, times a gate of z where there is one. A block per run.
__global__ void norm_kernel(const NormArgs args) {
    let_next_begin();
    wait_for_previous();
    const float* const weight = args.weight_of_run(blockIdx.y);
    const int64_t row = blockIdx.x, first = static_cast<int64_t>(blockIdx.y) * args.width;
    const float* from = args.x[row] + first;
    float squares = 0;
    for (int i = threadIdx.x; i < args.width; i += blockDim.x) squares += from[i] * from[i];
    const float scale = rsqrtf(block_sum(squares) / static_cast<float>(args.width) + args.epsilon);
    for (int i = threadIdx.x; i < args.width; i += blockDim.x) {
        float value = from[i] * scale * weight[i];
        if (args.z.first != nullptr) value *= args.gate(args.z[row][first + i]);
        args.out[row][first + i] = value;
    }
}

// Eight numbers of a run times its scale, weights and gates.
__device__ __forceinline__ void write_eight(const NormArgs& args, int64_t row, int64_t column, const float* factors,
                                            float scale, float (&value)[8]) {
    float factor[8];
    load_eight(factors, factor);
#pragma unroll
    for (int j = 0; j < 8; ++j) value[j] = value[j] * scale * factor[j];
    if (args.z.first != nullptr) {
        float gate[8];
        load_eight(args.z[row] + column, gate);
#pragma unroll
        for (int j = 0; j < 8; ++j) value[j] *= args.gate(gate[j]);
    }
    store_eight(args.out[row] + column, value);
}

// The same of runs of whole eights.
__global__ void norm_eights_kernel(const NormArgs args) {
    let_next_begin();
    wait_for_previous();
    const int64_t row = blockIdx.x, first = static_cast<int64_t>(blockIdx.y) * args.width;
    const float* const from = args.x[row] + first;
    const float scale = norm_scale(from, args.width, args.epsilon);
    for (int i = 8 * threadIdx.x; i < args.width; i += 8 * blockDim.x) {
        float value[8];
        load_eight(from + i, value);
        write_eight(args, row, first + i, args.weight_of_run(blockIdx.y) + i, scale, value);
    }
}

// The same of runs that a warp has at once: a warp per run.
constexpr int kWarpRun = 256, kRunsOfBlock = 8;

__global__ void __launch_bounds__(32 * kRunsOfBlock) norm_warps_kernel(const NormArgs args, int runs, int64_t all) {
    let_next_begin();
    wait_for_previous();
    const int64_t index = static_cast<int64_t>(blockIdx.x) * kRunsOfBlock + threadIdx.x / 32;
    if (index >= all) return;
    const int64_t row = index / runs;
    const int run = static_cast<int>(index % runs), at = 8 * (threadIdx.x % 32);
    const int64_t first = static_cast<int64_t>(run) * args.width;
    float value[8] = {};
    if (at < args.width) load_eight(args.x[row] + first + at, value);
    const float squares = warp_sum(squares_of(value));
    const float scale = rsqrtf(squares / static_cast<float>(args.width) + args.epsilon);
    if (at < args.width) write_eight(args, row, first + at, args.weight_of_run(run) + at, scale, value);
}

void run_norm(Device& device, const NormArgs& args, int64_t rows, int64_t columns) {
    if (rows == 0) return;
    const int64_t width = args.width, runs = columns / width;
    const bool eights = in_whole_eights(width);
    if (eights && width <= kWarpRun) {
        launch_early(device, {blocks_for(rows * runs, kRunsOfBlock), 32 * kRunsOfBlock}, norm_warps_kernel, args,
                     static_cast<int>(runs), rows * runs);
        return;
    }
    const dim3 grid(static_cast<unsigned>(rows), static_cast<unsigned>(runs));
    const int64_t each = eights ? 8 : 1, most = eights ? 256 : 512;
    const auto threads = static_cast<unsigned>(std::clamp<int64_t>((width / each + 31) / 32 * 32, 32, most));
    launch_early(device, {grid, threads}, eights ? norm_eights_kernel : norm_kernel, args);
}

// A block per run.
__global__ void layer_norm_kernel(Rows<const float> x, const float* weight, const float* bias, float epsilon, int width,
                                  Rows<float> out) {
    let_next_begin();
    wait_for_previous();
    const int64_t row = blockIdx.x, first = static_cast<int64_t>(blockIdx.y) * width;
    const float* const from = x[row] + first;
    float sum = 0, squares = 0;
    for (int i = threadIdx.x; i < width; i += blockDim.x) sum += from[i];
    const float mean = block_sum(sum) / static_cast<float>(width);
    __syncthreads();
    for (int i = threadIdx.x; i < width; i += blockDim.x) squares += (from[i] - mean) * (from[i] - mean);
    const float scale = rsqrtf(block_sum(squares) / static_cast<float>(width) + epsilon);
    for (int i = threadIdx.x; i < width; i += blockDim.x)
        out[row][first + i] = fmaf((from[i] - mean) * scale, weight[i], bias[i]);
}

// A thread per row and pair; all heads turn by the same angle.
__global__ void rotary_kernel(Rows<float> x, Rows<const int32_t> positions, Rows<const float> frequencies, int rows,
                              int half, int heads, int head_dim, int first, bool interleaved, float magnitude) {
    let_next_begin();
    wait_for_previous();
    const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (index >= static_cast<int64_t>(rows) * half) return;
    const int row = static_cast<int>(index / half), pair = static_cast<int>(index % half);
    const Turn turn(positions[row][0], frequencies[0][pair], magnitude);
    for (int head = blockIdx.y; head < heads; head += gridDim.y) {
        float* rotated = x[row] + static_cast<int64_t>(head) * head_dim + first;
        turn.apply(rotated[interleaved ? 2 * pair : pair], rotated[interleaved ? 2 * pair + 1 : pair + half]);
    }
}

__global__ void split_query_gate_kernel(Rows<const float> fused, int head_dim, Rows<float> query, Rows<float> gate,
                                        int64_t rows, int64_t columns) {
    let_next_begin();
    wait_for_previous();
    const int64_t c = element_column();
    if (c >= columns) return;
    const int64_t from = c / head_dim * 2 * head_dim + c % head_dim;
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
        query[row][c] = fused[row][from];
        gate[row][c] = fused[row][from + head_dim];
    }
}

bool in_fours(const float* first, int64_t stride) {
    return reinterpret_cast<uintptr_t>(first) % 16 == 0 && stride % 4 == 0;
}

// Four columns of a row from `first` on; `fours`: rows lie at multiples of 16 bytes and have whole fours.
struct RowShape {
    int64_t rows, columns;
    bool fours;
};
__device__ __forceinline__ float4 four_of(const RowShape& shape, const float* row, int64_t first) {
    if (shape.fours) return *reinterpret_cast<const float4*>(row + first);
    const auto at = [&](int64_t column) { return column < shape.columns ? row[column] : 0.0f; };
    return {at(first), at(first + 1), at(first + 2), at(first + 3)};
}
__device__ __forceinline__ void put_four(const RowShape& shape, float* row, int64_t first, const float4& four) {
    if (shape.fours) {
        *reinterpret_cast<float4*>(row + first) = four;
        return;
    }
    const float values[4] = {four.x, four.y, four.z, four.w};
    for (int i = 0; i < 4; ++i) {
        if (first + i < shape.columns) row[first + i] = values[i];
    }
}

__global__ void sigmoid_gate_kernel(Rows<float> x, Rows<const float> gate, bool silu, RowShape shape) {
    let_next_begin();
    wait_for_previous();
    const int64_t first = 4 * element_column();
    if (first >= shape.columns) return;
    const auto gated = [&](float value, float by) { return value * ((silu ? by : 1.0f) * sigmoid(by)); };
    for (int64_t row = blockIdx.y; row < shape.rows; row += gridDim.y) {
        const float4 by = four_of(shape, gate[row], first), old = four_of(shape, x[row], first);
        put_four(shape, x[row], first,
                 {gated(old.x, by.x), gated(old.y, by.y), gated(old.z, by.z), gated(old.w, by.w)});
    }
}

// A gate stands for `run` values.
__global__ void sigmoid_runs_kernel(Rows<float> x, Rows<const float> gate, bool silu, int64_t run, RowShape shape) {
    let_next_begin();
    wait_for_previous();
    const int64_t column = element_column();
    if (column >= shape.columns) return;
    for (int64_t row = blockIdx.y; row < shape.rows; row += gridDim.y) {
        const float by = gate[row][column / run];
        x[row][column] *= (silu ? by : 1.0f) * sigmoid(by);
    }
}

__global__ void add_kernel(Rows<const float> x, Rows<const float> gate, Rows<float> out, RowShape shape) {
    let_next_begin();
    wait_for_previous();
    const int64_t first = 4 * element_column();
    if (first >= shape.columns) return;
    for (int64_t row = blockIdx.y; row < shape.rows; row += gridDim.y) {
        const float factor = gate.first == nullptr ? 1.0f : sigmoid(gate[row][0]);
        const float4 added = four_of(shape, x[row], first), old = four_of(shape, out[row], first);
        put_four(shape, out[row], first,
                 {fmaf(factor, added.x, old.x), fmaf(factor, added.y, old.y), fmaf(factor, added.z, old.z),
                  fmaf(factor, added.w, old.w)});
    }
}

__global__ void gather_kernel(Rows<const float> x, Rows<const int32_t> numbers, Rows<float> out, int64_t rows,
                              int64_t columns) {
    let_next_begin();
    wait_for_previous();
    const int64_t c = element_column();
    if (c >= columns) return;
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) out[row][c] = x[numbers[row][0]][c];
}

// What is added behind: x of a gate's part, as add_kernel has it.
struct Addend {
    Rows<const float> x, gate;  // x.first null: nothing; gate.first null: all of it
};

__global__ void combine_kernel(Rows<const float> parts, Rows<const float> weights, int top_k, bool accumulate,
                               Addend added, Rows<float> out, int64_t rows, int64_t columns) {
    let_next_begin();
    wait_for_previous();
    const int64_t c = element_column();
    if (c >= columns) return;
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
        float sum = accumulate ? out[row][c] : 0;
        for (int j = 0; j < top_k; ++j) {
            const float weight = weights.first == nullptr ? 1.0f : weights[row][j];
            sum = fmaf(weight, parts[row * top_k + j][c], sum);
        }
        if (added.x.first != nullptr) {
            const float factor = added.gate.first == nullptr ? 1.0f : sigmoid(added.gate[row][0]);
            sum = fmaf(factor, added.x[row][c], sum);
        }
        out[row][c] = sum;
    }
}

__global__ void weigh_kernel(Rows<const float> x, Rows<const float> weights, int top_k, Rows<float> out, int64_t rows,
                             int64_t columns) {
    let_next_begin();
    wait_for_previous();
    const int64_t c = element_column();
    if (c >= columns) return;
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
        out[row][c] = weights[row / top_k][row % top_k] * x[row / top_k][c];
    }
}

__global__ void scale_kernel(Rows<float> x, float factor, float limit, float cap, int64_t rows, int64_t columns) {
    let_next_begin();
    wait_for_previous();
    const int64_t c = element_column();
    if (c >= columns) return;
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
        float scaled = x[row][c] * factor;
        if (limit != 0) scaled = fminf(fmaxf(scaled, -limit), limit);
        x[row][c] = cap == 0 ? scaled : cap * tanhf(scaled / cap);
    }
}

__global__ void scale_by_position_kernel(Rows<float> x, Rows<const int32_t> positions, float factor, float interval,
                                         int64_t rows, int64_t columns) {
    let_next_begin();
    wait_for_previous();
    const int64_t c = element_column();
    if (c >= columns) return;
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
        const double turns = floor((positions[row][0] + 1.0) / static_cast<double>(interval));
        x[row][c] *= static_cast<float>(1 + static_cast<double>(factor) * log1p(turns));
    }
}

}  // namespace

void compute(Device& device, const RmsNorm& op) {
    const NormArgs args{.x = rows_of(op.x),
                        .weight = rows_of(op.weight).first,
                        .z = {},
                        .epsilon = op.epsilon,
                        .width = static_cast<int>(op.run()),
                        .weights = static_cast<int>(op.weight.columns / op.run()),
                        .silu = false,
                        .out = writable_rows_of(op.out)};
    run_norm(device, args, op.x.rows, op.x.columns);
}

void compute(Device& device, const LayerNorm& op) {
    if (op.x.rows == 0) return;
    const int64_t width = op.weight.columns;
    const dim3 grid(static_cast<unsigned>(op.x.rows), static_cast<unsigned>(op.x.columns / width));
    const auto threads = static_cast<unsigned>(std::clamp<int64_t>((width + 31) / 32 * 32, 32, 512));
    launch_early(device, {grid, threads}, layer_norm_kernel, rows_of(op.x), rows_of(op.weight).first,
                 rows_of(op.bias).first, op.epsilon, static_cast<int>(width), writable_rows_of(op.out));
}

void compute(Device& device, const GatedRmsNorm& op) {
    const NormArgs args{.x = rows_of(op.x),
                        .weight = rows_of(op.weight).first,
                        .z = rows_of(op.z),
                        .epsilon = op.epsilon,
                        .width = static_cast<int>(op.weight.columns),
                        .weights = 1,
                        .silu = !op.sigmoid,
                        .out = writable_rows_of(op.out)};
    run_norm(device, args, op.x.rows, op.x.columns);
}

void compute(Device& device, const Rotary& op) {
    const int64_t half = op.frequencies.columns, heads = op.x.columns / op.head_dim;
    if (op.x.rows * half == 0) return;
    // Few rows have too few pairs to hide what an angle takes.
    const auto parts = static_cast<unsigned>(op.x.rows > 64 ? 1 : std::min<int64_t>(heads, 8));
    launch_early(device, {dim3(blocks_for(op.x.rows * half, 64), parts), 64}, rotary_kernel, writable_rows_of(op.x),
                 ints_of(op.positions), rows_of(op.frequencies), static_cast<int>(op.x.rows), static_cast<int>(half),
                 static_cast<int>(heads), static_cast<int>(op.head_dim), static_cast<int>(op.first), op.interleaved,
                 op.magnitude);
}

void compute(Device& device, const SplitQueryGate& op) {
    if (op.query.rows == 0) return;
    launch_early(device, {element_grid(op.query.rows, op.query.columns), kElementThreads}, split_query_gate_kernel,
                 rows_of(op.fused), static_cast<int>(op.head_dim), writable_rows_of(op.query),
                 writable_rows_of(op.gate), op.query.rows, op.query.columns);
}

namespace {

RowShape shape_of(const Tensor& a, const Tensor& b) {
    const auto fours = [](const Tensor& tensor) { return in_fours(floats_at(tensor), tensor.row_stride); };
    return {a.rows, a.columns, a.columns % 4 == 0 && fours(a) && fours(b)};
}

}  // namespace

void compute(Device& device, const SigmoidGate& op) {
    if (op.x.rows == 0) return;
    if (op.run() > 1) {
        return launch_early(device, {element_grid(op.x.rows, op.x.columns), kElementThreads}, sigmoid_runs_kernel,
                            writable_rows_of(op.x), rows_of(op.gate), op.silu, op.run(), shape_of(op.x, op.gate));
    }
    launch_early(device, {element_grid(op.x.rows, (op.x.columns + 3) / 4), kElementThreads}, sigmoid_gate_kernel,
                 writable_rows_of(op.x), rows_of(op.gate), op.silu, shape_of(op.x, op.gate));
}

void compute(Device& device, const AddGated& op) {
    if (op.x.rows == 0) return;
    const Rows<const float> gate = op.gate.buffer == nullptr ? Rows<const float>{} : rows_of(op.gate);
    launch_early(device, {element_grid(op.x.rows, (op.x.columns + 3) / 4), kElementThreads}, add_kernel, rows_of(op.x),
                 gate, writable_rows_of(op.out), shape_of(op.x, op.out));
}

void compute(Device& device, const GatherRows& op) {
    if (op.out.rows == 0) return;
    launch_early(device, {element_grid(op.out.rows, op.out.columns), kElementThreads}, gather_kernel, rows_of(op.x),
                 ints_of(op.rows), writable_rows_of(op.out), op.out.rows, op.out.columns);
}

namespace {

void combine(Device& device, const CombineExperts& op, const Addend& added) {
    if (op.out.rows == 0) return;
    const Rows<const float> weights = op.weights.buffer == nullptr ? Rows<const float>{} : rows_of(op.weights);
    launch_early(device, {element_grid(op.out.rows, op.out.columns), kElementThreads}, combine_kernel,
                 rows_of(op.parts), weights, static_cast<int>(op.parts.rows / op.out.rows), op.accumulate, added,
                 writable_rows_of(op.out), op.out.rows, op.out.columns);
}

}  // namespace

void compute(Device& device, const CombineExperts& op) {
    combine(device, op, {});
}

void compute_together(Device& device, const CombineExperts& op, const AddGated& added) {
    const Rows<const float> gate = added.gate.buffer == nullptr ? Rows<const float>{} : rows_of(added.gate);
    combine(device, op, {rows_of(added.x), gate});
}

void compute(Device& device, const WeighRows& op) {
    if (op.out.rows == 0) return;
    launch_early(device, {element_grid(op.out.rows, op.out.columns), kElementThreads}, weigh_kernel, rows_of(op.x),
                 rows_of(op.weights), static_cast<int>(op.weights.columns), writable_rows_of(op.out), op.out.rows,
                 op.out.columns);
}

void compute(Device& device, const Scale& op) {
    if (op.x.rows == 0) return;
    launch_early(device, {element_grid(op.x.rows, op.x.columns), kElementThreads}, scale_kernel, writable_rows_of(op.x),
                 op.factor, op.limit, op.cap, op.x.rows, op.x.columns);
}

void compute(Device& device, const ScaleByPosition& op) {
    if (op.x.rows == 0) return;
    launch_early(device, {element_grid(op.x.rows, op.x.columns), kElementThreads}, scale_by_position_kernel,
                 writable_rows_of(op.x), ints_of(op.positions), op.factor, op.interval, op.x.rows, op.x.columns);
}

}  // namespace sluice::cuda
