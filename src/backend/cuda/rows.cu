// Operations on one row at a time: norms, rotations, gates, moves.

#include <algorithm>

#include "backend/cuda/product.cuh"

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

void run_norm(Device& device, const Tensor& x, const Tensor& weight, const Tensor* z, float epsilon,
              const Tensor& out) {
    if (x.rows == 0) return;
    const int64_t width = weight.columns;
    const dim3 grid(static_cast<unsigned>(x.rows), static_cast<unsigned>(x.columns / width));
    const auto threads = static_cast<unsigned>(std::clamp<int64_t>((width + 31) / 32 * 32, 32, 512));
    norm_kernel<<<grid, threads, 0, device.stream()>>>(rows_of(x), rows_of(weight),
                                                       z == nullptr ? Rows<const float>{} : rows_of(*z), epsilon,
                                                       static_cast<int>(width), writable_rows_of(out));
    check_launch("a norm");
}

// A thread per row and pair; all heads turn by the same angle. The angle is too large for float's digits.
__global__ void rotary_kernel(Rows<float> x, Rows<const int32_t> positions, Rows<const float> frequencies, int rows,
                              int half, int heads, int head_dim, int first, bool interleaved, float magnitude) {
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
    const int64_t c = element_column();
    if (c >= columns) return;
    const int64_t from = c / head_dim * 2 * head_dim + c % head_dim;
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
        query[row][c] = fused[row][from];
        gate[row][c] = fused[row][from + head_dim];
    }
}

__global__ void sigmoid_gate_kernel(Rows<float> x, Rows<const float> gate, int64_t rows, int64_t columns) {
    const int64_t c = element_column();
    if (c >= columns) return;
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) x[row][c] *= sigmoid(gate[row][c]);
}

__global__ void add_kernel(Rows<const float> x, Rows<const float> gate, Rows<float> out, int64_t rows,
                           int64_t columns) {
    const int64_t c = element_column();
    if (c >= columns) return;
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
        const float factor = gate.first == nullptr ? 1.0f : sigmoid(gate[row][0]);
        out[row][c] = fmaf(factor, x[row][c], out[row][c]);
    }
}

__global__ void gather_kernel(Rows<const float> x, Rows<const int32_t> numbers, Rows<float> out, int64_t rows,
                              int64_t columns) {
    const int64_t c = element_column();
    if (c >= columns) return;
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) out[row][c] = x[numbers[row][0]][c];
}

__global__ void combine_kernel(Rows<const float> parts, Rows<const float> weights, int top_k, bool accumulate,
                               Rows<float> out, int64_t rows, int64_t columns) {
    const int64_t c = element_column();
    if (c >= columns) return;
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
        float sum = accumulate ? out[row][c] : 0;
        for (int j = 0; j < top_k; ++j) {
            const float weight = weights.first == nullptr ? 1.0f : weights[row][j];
            sum = fmaf(weight, parts[row * top_k + j][c], sum);
        }
        out[row][c] = sum;
    }
}

__global__ void weigh_kernel(Rows<const float> x, Rows<const float> weights, int top_k, Rows<float> out, int64_t rows,
                             int64_t columns) {
    const int64_t c = element_column();
    if (c >= columns) return;
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
        out[row][c] = weights[row / top_k][row % top_k] * x[row / top_k][c];
    }
}

__global__ void scale_kernel(Rows<float> x, float factor, float limit, float cap, int64_t rows, int64_t columns) {
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
    const int64_t c = element_column();
    if (c >= columns) return;
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
        const double turns = floor((positions[row][0] + 1.0) / static_cast<double>(interval));
        x[row][c] *= static_cast<float>(1 + static_cast<double>(factor) * log1p(turns));
    }
}

__global__ void activate_kernel(const __grid_constant__ Product product) {
    const Job& job = product.table != nullptr ? product.table[blockIdx.y] : product.jobs[blockIdx.y];
    const int64_t numbers = job.count * product.weight.columns;
    auto* const x = const_cast<float*>(job.x);
    for (int64_t i = element_column(); i < numbers; i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
        x[i] = activated(product, x[i], job.up[i]);
    }
}

}  // namespace

// The rows of x lie without gaps.
void activate(Device& device, const Product& product) {
    const int64_t numbers = product.most_rows * product.weight.columns;
    const dim3 grid(static_cast<unsigned>(std::min<int64_t>(blocks_for(numbers, kThreads), 1024)),
                    static_cast<unsigned>(product.job_count));
    activate_kernel<<<grid, kThreads, 0, device.stream()>>>(product);
    check_launch("an activation");
}

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
    rotary_kernel<<<dim3(blocks_for(op.x.rows * half, 64), parts), 64, 0, device.stream()>>>(
        writable_rows_of(op.x), ints_of(op.positions), rows_of(op.frequencies), static_cast<int>(op.x.rows),
        static_cast<int>(half), static_cast<int>(heads), static_cast<int>(op.head_dim), static_cast<int>(op.first),
        op.interleaved, op.magnitude);
    check_launch("Rotary");
}

void compute(Device& device, const SplitQueryGate& op) {
    if (op.query.rows == 0) return;
    split_query_gate_kernel<<<element_grid(op.query.rows, op.query.columns), kThreads, 0, device.stream()>>>(
        rows_of(op.fused), static_cast<int>(op.head_dim), writable_rows_of(op.query), writable_rows_of(op.gate),
        op.query.rows, op.query.columns);
    check_launch("SplitQueryGate");
}

void compute(Device& device, const SigmoidGate& op) {
    if (op.silu) refuse("SigmoidGate on CUDA: it is a sigmoid; `device` cpu has silu, too");
    if (op.x.rows == 0) return;
    sigmoid_gate_kernel<<<element_grid(op.x.rows, op.x.columns), kThreads, 0, device.stream()>>>(
        writable_rows_of(op.x), rows_of(op.gate), op.x.rows, op.x.columns);
    check_launch("SigmoidGate");
}

void compute(Device& device, const AddGated& op) {
    if (op.x.rows == 0) return;
    const Rows<const float> gate = op.gate.buffer == nullptr ? Rows<const float>{} : rows_of(op.gate);
    add_kernel<<<element_grid(op.x.rows, op.x.columns), kThreads, 0, device.stream()>>>(
        rows_of(op.x), gate, writable_rows_of(op.out), op.x.rows, op.x.columns);
    check_launch("AddGated");
}

void compute(Device& device, const GatherRows& op) {
    if (op.out.rows == 0) return;
    gather_kernel<<<element_grid(op.out.rows, op.out.columns), kThreads, 0, device.stream()>>>(
        rows_of(op.x), ints_of(op.rows), writable_rows_of(op.out), op.out.rows, op.out.columns);
    check_launch("GatherRows");
}

void compute(Device& device, const CombineExperts& op) {
    if (op.out.rows == 0) return;
    const Rows<const float> weights = op.weights.buffer == nullptr ? Rows<const float>{} : rows_of(op.weights);
    combine_kernel<<<element_grid(op.out.rows, op.out.columns), kThreads, 0, device.stream()>>>(
        rows_of(op.parts), weights, static_cast<int>(op.parts.rows / op.out.rows), op.accumulate,
        writable_rows_of(op.out), op.out.rows, op.out.columns);
    check_launch("CombineExperts");
}

void compute(Device& device, const WeighRows& op) {
    if (op.out.rows == 0) return;
    weigh_kernel<<<element_grid(op.out.rows, op.out.columns), kThreads, 0, device.stream()>>>(
        rows_of(op.x), rows_of(op.weights), static_cast<int>(op.weights.columns), writable_rows_of(op.out), op.out.rows,
        op.out.columns);
    check_launch("WeighRows");
}

void compute(Device& device, const Scale& op) {
    if (op.x.rows == 0) return;
    scale_kernel<<<element_grid(op.x.rows, op.x.columns), kThreads, 0, device.stream()>>>(
        writable_rows_of(op.x), op.factor, op.limit, op.cap, op.x.rows, op.x.columns);
    check_launch("Scale");
}

void compute(Device& device, const ScaleByPosition& op) {
    if (op.x.rows == 0) return;
    scale_by_position_kernel<<<element_grid(op.x.rows, op.x.columns), kThreads, 0, device.stream()>>>(
        writable_rows_of(op.x), ints_of(op.positions), op.factor, op.interval, op.x.rows, op.x.columns);
    check_launch("ScaleByPosition");
}

}  // namespace sluice::cuda
