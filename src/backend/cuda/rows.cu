// Operations on one row at a time: norms, rotations, gates, moves.

#include <algorithm>

#include "backend/cuda/early.cuh"
#include "backend/cuda/products.h"
#include "backend/cuda/views.cuh"

namespace sluice::cuda {

namespace {

constexpr int kThreads = 256;

// One thread per element of [rows, columns]; rows are in y, as many as a grid takes at a time.
constexpr int64_t kMostGridRows = 65535;
__device__ inline int64_t element_column() {
    return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
dim3 element_grid(int64_t rows, int64_t columns) {
    return {blocks_for(columns, kThreads), static_cast<unsigned>(std::min(rows, kMostGridRows))};
}

// out = x / rms(x) * weight, times silu(z) where there is one. A block per run.
__global__ void norm_kernel(Rows<const float> x, Rows<const float> weight, Rows<const float> z, float epsilon,
                            int width, Rows<float> out) {
    let_next_begin();
    wait_for_previous();
    const int64_t row = blockIdx.x, first = static_cast<int64_t>(blockIdx.y) * width;
    const float* from = x[row] + first;
    float squares = 0;
    for (int i = threadIdx.x; i < width; i += blockDim.x) squares += from[i] * from[i];
    const float scale = rsqrtf(block_sum(squares) / static_cast<float>(width) + epsilon);
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        float value = from[i] * scale * weight[0][i];
        if (z.first != nullptr) {
            const float gate = z[row][first + i];
            value *= gate * sigmoid(gate);
        }
        out[row][first + i] = value;
    }
}

// The same of rows that lie at multiples of 16 bytes: a thread has kFours times four numbers, which it keeps.
template <int kFours>
__global__ void norm_fours_kernel(Rows<const float> x, Rows<const float> weight, Rows<const float> z, float epsilon,
                                  int width, Rows<float> out) {
    let_next_begin();
    wait_for_previous();
    const int64_t row = blockIdx.x, first = static_cast<int64_t>(blockIdx.y) * width;
    const auto* const from = reinterpret_cast<const float4*>(x[row] + first);
    const auto* const factors = reinterpret_cast<const float4*>(weight[0]);
    float4 value[kFours], factor[kFours];
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kFours; ++i) {
        const int at = threadIdx.x + i * blockDim.x;
        const bool there = 4 * at < width;
        factor[i] = there ? factors[at] : float4{};
        value[i] = there ? from[at] : float4{};
        squares +=
            value[i].x * value[i].x + value[i].y * value[i].y + value[i].z * value[i].z + value[i].w * value[i].w;
    }
    const float scale = rsqrtf(block_sum(squares) / static_cast<float>(width) + epsilon);
#pragma unroll
    for (int i = 0; i < kFours; ++i) {
        const int at = threadIdx.x + i * blockDim.x;
        if (4 * at >= width) break;
        float4 normed{value[i].x * scale * factor[i].x, value[i].y * scale * factor[i].y,
                      value[i].z * scale * factor[i].z, value[i].w * scale * factor[i].w};
        if (z.first != nullptr) {
            const float4 gate = reinterpret_cast<const float4*>(z[row] + first)[at];
            normed.x *= gate.x * sigmoid(gate.x);
            normed.y *= gate.y * sigmoid(gate.y);
            normed.z *= gate.z * sigmoid(gate.z);
            normed.w *= gate.w * sigmoid(gate.w);
        }
        reinterpret_cast<float4*>(out[row] + first)[at] = normed;
    }
}

bool in_fours(const Tensor& tensor) {
    return reinterpret_cast<uintptr_t>(floats_at(tensor)) % 16 == 0 && tensor.row_stride % 4 == 0;
}

void run_norm(Device& device, const Tensor& x, const Tensor& weight, const Tensor* z, float epsilon,
              const Tensor& out) {
    if (x.rows == 0) return;
    const int64_t width = weight.columns;
    const dim3 grid(static_cast<unsigned>(x.rows), static_cast<unsigned>(x.columns / width));
    const auto threads = static_cast<unsigned>(std::clamp<int64_t>((width + 31) / 32 * 32, 32, 512));
    const Rows<const float> gate = z == nullptr ? Rows<const float>{} : rows_of(*z);
    const bool fours = width % 4 == 0 && width <= 8192 && in_fours(x) && in_fours(weight) && in_fours(out) &&
                       (z == nullptr || in_fours(*z));
    if (fours) {
        auto* const kernel = width <= 2048 ? norm_fours_kernel<1> : norm_fours_kernel<4>;
        const int64_t threads_of_row = (width / 4 + (width <= 2048 ? 0 : 3)) / (width <= 2048 ? 1 : 4);
        launch_early(device, {grid, static_cast<unsigned>((threads_of_row + 31) / 32 * 32)}, kernel, rows_of(x),
                     rows_of(weight), gate, epsilon, static_cast<int>(width), writable_rows_of(out));
        return;
    }
    launch_early(device, {grid, threads}, norm_kernel, rows_of(x), rows_of(weight), gate, epsilon,
                 static_cast<int>(width), writable_rows_of(out));
}

// A thread per row and pair; all heads turn by the same angle. The angle is too large for float's digits.
__global__ void rotary_kernel(Rows<float> x, Rows<const int32_t> positions, Rows<const float> frequencies, int rows,
                              int half, int heads, int head_dim, int first, bool interleaved, float magnitude) {
    let_next_begin();
    wait_for_previous();
    const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (index >= static_cast<int64_t>(rows) * half) return;
    const int row = static_cast<int>(index / half), pair = static_cast<int>(index % half);
    double sine, cosine;
    sincos(static_cast<double>(positions[row][0]) * frequencies[0][pair], &sine, &cosine);
    const auto s = static_cast<float>(sine * magnitude), c = static_cast<float>(cosine * magnitude);
    for (int head = blockIdx.y; head < heads; head += gridDim.y) {
        float* rotated = x[row] + static_cast<int64_t>(head) * head_dim + first;
        float& a = rotated[interleaved ? 2 * pair : pair];
        float& b = rotated[interleaved ? 2 * pair + 1 : pair + half];
        const float before_a = a, before_b = b;
        a = before_a * c - before_b * s;
        b = before_b * c + before_a * s;
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

__global__ void sigmoid_gate_kernel(Rows<float> x, Rows<const float> gate, int64_t rows, int64_t columns) {
    let_next_begin();
    wait_for_previous();
    const int64_t c = element_column();
    if (c >= columns) return;
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) x[row][c] *= sigmoid(gate[row][c]);
}

__global__ void add_kernel(Rows<const float> x, Rows<const float> gate, Rows<float> out, int64_t rows,
                           int64_t columns) {
    let_next_begin();
    wait_for_previous();
    const int64_t c = element_column();
    if (c >= columns) return;
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
        const float factor = gate.first == nullptr ? 1.0f : sigmoid(gate[row][0]);
        out[row][c] = fmaf(factor, x[row][c], out[row][c]);
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
    if (op.run() != op.weight.columns) {
        refuse("RmsNorm on CUDA: the weight is as wide as what is normed; `device` cpu has others");
    }
    run_norm(device, op.x, op.weight, nullptr, op.epsilon, op.out);
}

void compute(Device& device, const GatedRmsNorm& op) {
    if (op.sigmoid) refuse("GatedRmsNorm on CUDA: the gate is silu; `device` cpu has a sigmoid, too");
    run_norm(device, op.x, op.weight, &op.z, op.epsilon, op.out);
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
    launch_early(device, {element_grid(op.query.rows, op.query.columns), kThreads}, split_query_gate_kernel,
                 rows_of(op.fused), static_cast<int>(op.head_dim), writable_rows_of(op.query),
                 writable_rows_of(op.gate), op.query.rows, op.query.columns);
}

void compute(Device& device, const SigmoidGate& op) {
    if (op.silu) refuse("SigmoidGate on CUDA: it is a sigmoid; `device` cpu has silu, too");
    if (op.x.rows == 0) return;
    launch_early(device, {element_grid(op.x.rows, op.x.columns), kThreads}, sigmoid_gate_kernel, writable_rows_of(op.x),
                 rows_of(op.gate), op.x.rows, op.x.columns);
}

void compute(Device& device, const AddGated& op) {
    if (op.x.rows == 0) return;
    const Rows<const float> gate = op.gate.buffer == nullptr ? Rows<const float>{} : rows_of(op.gate);
    launch_early(device, {element_grid(op.x.rows, op.x.columns), kThreads}, add_kernel, rows_of(op.x), gate,
                 writable_rows_of(op.out), op.x.rows, op.x.columns);
}

void compute(Device& device, const GatherRows& op) {
    if (op.out.rows == 0) return;
    launch_early(device, {element_grid(op.out.rows, op.out.columns), kThreads}, gather_kernel, rows_of(op.x),
                 ints_of(op.rows), writable_rows_of(op.out), op.out.rows, op.out.columns);
}

namespace {

void combine(Device& device, const CombineExperts& op, const Addend& added) {
    if (op.out.rows == 0) return;
    const Rows<const float> weights = op.weights.buffer == nullptr ? Rows<const float>{} : rows_of(op.weights);
    launch_early(device, {element_grid(op.out.rows, op.out.columns), kThreads}, combine_kernel, rows_of(op.parts),
                 weights, static_cast<int>(op.parts.rows / op.out.rows), op.accumulate, added, writable_rows_of(op.out),
                 op.out.rows, op.out.columns);
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
    launch_early(device, {element_grid(op.out.rows, op.out.columns), kThreads}, weigh_kernel, rows_of(op.x),
                 rows_of(op.weights), static_cast<int>(op.weights.columns), writable_rows_of(op.out), op.out.rows,
                 op.out.columns);
}

void compute(Device& device, const Scale& op) {
    if (op.x.rows == 0) return;
    launch_early(device, {element_grid(op.x.rows, op.x.columns), kThreads}, scale_kernel, writable_rows_of(op.x),
                 op.factor, op.limit, op.cap, op.x.rows, op.x.columns);
}

void compute(Device& device, const ScaleByPosition& op) {
    if (op.x.rows == 0) return;
    launch_early(device, {element_grid(op.x.rows, op.x.columns), kThreads}, scale_by_position_kernel,
                 writable_rows_of(op.x), ints_of(op.positions), op.factor, op.interval, op.x.rows, op.x.columns);
}

}  // namespace sluice::cuda
