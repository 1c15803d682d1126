// Gated DeltaNet: its split, the causal convolution and the delta rule, token by token.

#include <algorithm>

#include "backend/cuda/views.cuh"

namespace sluice::cuda {

namespace {

struct StateTable {
    std::byte* pool;
    uint64_t slot_bytes;
    Rows<const int32_t> slots;
    __device__ float* of(int sequence) const {
        return reinterpret_cast<float*>(pool + static_cast<uint64_t>(slots[sequence][0]) * slot_bytes);
    }
};

StateTable table_of(const StateSlots& states) {
    return {device_bytes(states.pool), states.slot_bytes, ints_of(states.slots)};
}

struct SplitArgs {
    Rows<const float> qkvz, ba;
    int key_heads, value_heads, key_dim, value_dim;
    Rows<float> qkv, z, b, a;
};

// A thread per element of a row of qkvz and ba together.
__global__ void split_kernel(const SplitArgs args) {
    const int per_key_head = args.value_heads / args.key_heads;
    const int keys = args.key_heads * args.key_dim, values = per_key_head * args.value_dim;
    const int head_width = 2 * (args.key_dim + values), fused = args.key_heads * head_width;
    const int column = blockIdx.x * blockDim.x + threadIdx.x;
    const int64_t row = blockIdx.y;
    if (column < fused) {
        const int h = column / head_width, c = column % head_width;
        const float value = args.qkvz[row][column];
        if (c < 2 * args.key_dim) {
            args.qkv[row][c / args.key_dim * keys + h * args.key_dim + c % args.key_dim] = value;
        } else if (c < 2 * args.key_dim + values) {
            args.qkv[row][2 * keys + h * values + c - 2 * args.key_dim] = value;
        } else {
            args.z[row][h * values + c - 2 * args.key_dim - values] = value;
        }
    } else if (column < fused + 2 * args.value_heads) {
        const int g = column - fused, h = g / (2 * per_key_head), c = g % (2 * per_key_head);
        const Rows<float>& out = c < per_key_head ? args.b : args.a;
        out[row][h * per_key_head + c % per_key_head] = args.ba[row][g];
    }
}

// A thread per row and channel.
__global__ void convolve_kernel(Rows<const float> x, Rows<const float> weight, SequenceTable sequences,
                                StateTable states, int channels, int kernel, Rows<float> out) {
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    const int row = blockIdx.y;
    const SequencePart part = sequences.of_row(row);
    if (c >= channels || part.sequence < 0) return;
    const float* state = states.of(part.sequence);
    const int past = kernel - 1, i = row - part.first_row;
    float sum = 0;
    for (int k = 0; k < kernel; ++k) {
        const int at = i + k;  // among the state's inputs and then the rows'
        const float input =
            at < past ? state[static_cast<int64_t>(at) * channels + c] : x[part.first_row + at - past][c];
        sum = fmaf(input, weight[c][k], sum);
    }
    out[row][c] = sum * sigmoid(sum);
}

// The last kernel - 1 inputs become the state: a thread per sequence and channel, oldest first, so that what is read
// was not written yet.
__global__ void keep_inputs_kernel(Rows<const float> x, SequenceTable sequences, StateTable states, int channels,
                                   int past) {
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= channels) return;
    const SequencePart part = sequences.at(blockIdx.y);
    float* state = states.of(part.sequence);
    for (int i = 0; i < past; ++i) {
        const int at = part.count + i;
        state[static_cast<int64_t>(i) * channels + c] =
            at < past ? state[static_cast<int64_t>(at) * channels + c] : x[part.first_row + at - past][c];
    }
}

struct DeltaArgs {
    Rows<const float> qkv, b, a;
    const float *a_log, *dt_bias;
    int rows, key_heads, value_heads, key_dim, value_dim;
    bool tiled;
    SequenceTable sequences;
    StateTable states;
    // Of every row: q and k of all heads normalized, then decay and step of every value head, then q . k of every key
    // head.
    float* prepared;
    Rows<float> out;

    __host__ __device__ int prepared_columns() const { return 2 * key_heads * key_dim + 2 * value_heads + key_heads; }
    __device__ int key_head_of(int head) const { return tiled ? head % key_heads : head / (value_heads / key_heads); }
};

// A warp per row and key head for q and k, then a thread per value head.
__global__ void prepare_delta_kernel(const DeltaArgs args) {
    const int row = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    float* const out = args.prepared + static_cast<int64_t>(row) * args.prepared_columns();
    for (int vector = warp; vector < 2 * args.key_heads; vector += warps) {
        const float* from = args.qkv[row] + static_cast<int64_t>(vector) * args.key_dim;
        float squares = 0;
        for (int i = lane; i < args.key_dim; i += 32) squares += from[i] * from[i];
        const float scale = vector < args.key_heads ? 1.0f / sqrtf(static_cast<float>(args.key_dim)) : 1.0f;
        const float factor = scale / sqrtf(warp_sum(squares) + 1e-6f);
        for (int i = lane; i < args.key_dim; i += 32) out[vector * args.key_dim + i] = from[i] * factor;
    }
    __syncthreads();
    const int keys = args.key_heads * args.key_dim;
    for (int h = warp; h < args.key_heads; h += warps) {
        const float* const q = out + h * args.key_dim;
        float product = 0;
        for (int i = lane; i < args.key_dim; i += 32) product = fmaf(q[i], q[keys + i], product);
        product = warp_sum(product);
        if (lane == 0) out[2 * keys + 2 * args.value_heads + h] = product;
    }
    float* const gates = out + 2 * keys;
    for (int h = threadIdx.x; h < args.value_heads; h += blockDim.x) {
        const float x = args.a[row][h] + args.dt_bias[h];
        const float step = x > 30.0f ? x : log1pf(expf(x));
        gates[h] = expf(-expf(args.a_log[h]) * step);
        gates[args.value_heads + h] = sigmoid(args.b[row][h]);
    }
}

constexpr int kDeltaRows = 4, kDeltaWarps = 4;  // state rows of a warp, warps of a block

// Of one token, asked for while the one before is computed.
template <int kPerLane>
struct DeltaInputs {
    float q[kPerLane], k[kPerLane], v[kDeltaRows], decay, beta, key_query;

    __device__ DeltaInputs(const DeltaArgs& args, const SequencePart& part, int head, int key_head, int first, int t) {
        const int lane = threadIdx.x % 32, keys = args.key_heads * args.key_dim;
        const int64_t row = part.first_row + t;
        const float* const prepared = args.prepared + row * args.prepared_columns();
#pragma unroll
        for (int i = 0; i < kPerLane; ++i) {
            const int column = lane + 32 * i;
            const bool there = column < args.key_dim;
            q[i] = there ? prepared[key_head * args.key_dim + column] : 0.0f;
            k[i] = there ? prepared[keys + key_head * args.key_dim + column] : 0.0f;
        }
        decay = prepared[2 * keys + head];
        beta = prepared[2 * keys + args.value_heads + head];
        key_query = prepared[2 * keys + 2 * args.value_heads + key_head];
        const float* const values = args.qkv[row] + 2 * keys + static_cast<int64_t>(head) * args.value_dim + first;
#pragma unroll
        for (int r = 0; r < kDeltaRows; ++r) v[r] = first + r < args.value_dim ? values[r] : 0.0f;
    }
};

// A warp keeps kDeltaRows rows of a head's state in registers, kPerLane columns in each lane, over all tokens of the
// sequence: S = g S; S += beta (v - S k) k^T; out = S q.
template <int kPerLane>
__global__ void __launch_bounds__(32 * kDeltaWarps) delta_kernel(const DeltaArgs args) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const SequencePart part = args.sequences.at(blockIdx.z);
    const int head = blockIdx.y, key_head = args.key_head_of(head);
    const int first = (blockIdx.x * kDeltaWarps + warp) * kDeltaRows;
    if (first >= args.value_dim) return;
    float* const state = args.states.of(part.sequence) + static_cast<int64_t>(head) * args.value_dim * args.key_dim;
    float s[kDeltaRows][kPerLane];
    for (int r = 0; r < kDeltaRows; ++r) {
        for (int i = 0; i < kPerLane; ++i) {
            const int column = lane + 32 * i;
            const bool there = first + r < args.value_dim && column < args.key_dim;
            s[r][i] = there ? state[static_cast<int64_t>(first + r) * args.key_dim + column] : 0.0f;
        }
    }
    DeltaInputs<kPerLane> next(args, part, head, key_head, first, 0);
    for (int t = 0; t < part.count; ++t) {
        const DeltaInputs<kPerLane> now = next;
        if (t + 1 < part.count) next = DeltaInputs<kPerLane>(args, part, head, key_head, first, t + 1);
        float* const out = args.out[part.first_row + t] + static_cast<int64_t>(head) * args.value_dim + first;
        // What is remembered of k, and what q would be answered without the change: out = S q + delta (k . q).
        float memory[kDeltaRows] = {}, answer[kDeltaRows] = {};
#pragma unroll
        for (int r = 0; r < kDeltaRows; ++r) {
#pragma unroll
            for (int i = 0; i < kPerLane; ++i) {
                s[r][i] *= now.decay;
                memory[r] = fmaf(s[r][i], now.k[i], memory[r]);
                answer[r] = fmaf(s[r][i], now.q[i], answer[r]);
            }
        }
#pragma unroll
        for (int step = 16; step > 0; step /= 2) {
#pragma unroll
            for (int r = 0; r < kDeltaRows; ++r) {
                memory[r] += __shfl_xor_sync(kAllLanes, memory[r], step);
                answer[r] += __shfl_xor_sync(kAllLanes, answer[r], step);
            }
        }
#pragma unroll
        for (int r = 0; r < kDeltaRows; ++r) {
            const float delta = now.beta * (now.v[r] - memory[r]);
#pragma unroll
            for (int i = 0; i < kPerLane; ++i) s[r][i] = fmaf(delta, now.k[i], s[r][i]);
            if (lane == r && first + r < args.value_dim) out[r] = fmaf(delta, now.key_query, answer[r]);
        }
    }
    for (int r = 0; r < kDeltaRows; ++r) {
        for (int i = 0; i < kPerLane; ++i) {
            const int column = lane + 32 * i;
            if (first + r < args.value_dim && column < args.key_dim) {
                state[static_cast<int64_t>(first + r) * args.key_dim + column] = s[r][i];
            }
        }
    }
}

}  // namespace

void compute(Device& device, const SplitLinearProjections& op) {
    if (op.qkvz.rows == 0) return;
    const SplitArgs args{.qkvz = rows_of(op.qkvz),
                         .ba = rows_of(op.ba),
                         .key_heads = static_cast<int>(op.key_heads),
                         .value_heads = static_cast<int>(op.value_heads),
                         .key_dim = static_cast<int>(op.key_dim),
                         .value_dim = static_cast<int>(op.value_dim),
                         .qkv = writable_rows_of(op.qkv),
                         .z = writable_rows_of(op.z),
                         .b = writable_rows_of(op.b),
                         .a = writable_rows_of(op.a)};
    const dim3 grid(blocks_for(op.qkvz.columns + op.ba.columns, 256), static_cast<unsigned>(op.qkvz.rows));
    split_kernel<<<grid, 256, 0, device.stream()>>>(args);
    check_launch("SplitLinearProjections");
}

void compute(Device& device, const CausalConvolution& op) {
    if (op.bias.buffer != nullptr) refuse("CausalConvolution on CUDA: it has no bias; `device` cpu has one");
    if (op.distance != 1) refuse("CausalConvolution on CUDA: taps follow each other; `device` cpu has others");
    if (op.x.rows == 0) return;
    const auto channels = static_cast<int>(op.x.columns), kernel = static_cast<int>(op.weight.columns);
    const SequenceTable sequences = table_of(op.sequences);
    convolve_kernel<<<dim3(blocks_for(channels, 128), static_cast<unsigned>(op.x.rows)), 128, 0, device.stream()>>>(
        rows_of(op.x), rows_of(op.weight), sequences, table_of(op.states), channels, kernel, writable_rows_of(op.out));
    check_launch("CausalConvolution");
    keep_inputs_kernel<<<dim3(blocks_for(channels, 128), static_cast<unsigned>(sequences.count)), 128, 0,
                         device.stream()>>>(rows_of(op.x), sequences, table_of(op.states), channels, kernel - 1);
    check_launch("CausalConvolution");
}

void compute(Device& device, const GatedDeltaRule& op) {
    if (op.decays_by_channel() || op.decay_bound != 0) {
        refuse("GatedDeltaRule on CUDA: a head has one decay, without a bound; `device` cpu has others");
    }
    if (op.qkv.rows == 0) return;
    DeltaArgs args{.qkv = rows_of(op.qkv),
                   .b = rows_of(op.b),
                   .a = rows_of(op.a),
                   .a_log = rows_of(op.a_log).first,
                   .dt_bias = rows_of(op.dt_bias).first,
                   .rows = static_cast<int>(op.qkv.rows),
                   .key_heads = static_cast<int>(op.key_heads),
                   .value_heads = static_cast<int>(op.value_heads),
                   .key_dim = static_cast<int>(op.key_dim),
                   .value_dim = static_cast<int>(op.value_dim),
                   .tiled = op.tiled,
                   .sequences = table_of(op.sequences),
                   .states = table_of(op.states),
                   .prepared = nullptr,
                   .out = writable_rows_of(op.out)};
    const auto columns = static_cast<uint64_t>(args.prepared_columns());
    args.prepared =
        reinterpret_cast<float*>(device.scratch(static_cast<uint64_t>(op.qkv.rows) * columns * sizeof(float)));
    prepare_delta_kernel<<<static_cast<unsigned>(op.qkv.rows), 128, 0, device.stream()>>>(args);
    check_launch("GatedDeltaRule");
    const dim3 grid(blocks_for(op.value_dim, kDeltaRows * kDeltaWarps), static_cast<unsigned>(op.value_heads),
                    static_cast<unsigned>(args.sequences.count));
    const auto launch = [&](auto* kernel) {
        kernel<<<grid, 32 * kDeltaWarps, 0, device.stream()>>>(args);
        check_launch("GatedDeltaRule");
    };
    if (op.key_dim <= 128) {
        launch(delta_kernel<4>);
    } else if (op.key_dim <= 256) {
        launch(delta_kernel<8>);
    } else if (op.key_dim <= 512) {
        launch(delta_kernel<16>);
    } else {
        refuse("GatedDeltaRule on CUDA: heads of 512 keys are the widest");
    }
}

}  // namespace sluice::cuda
