// SelectiveScan and PoolTokens: what goes from token to token beside attention and the delta rule, in F32.

#include <algorithm>

#include "backend/cuda/early.cuh"
#include "backend/cuda/recurrent.cuh"

namespace sluice::cuda {

namespace {

constexpr int kScanWarps = 4, kMostOfLane = 8;  // numbers of a state's row

struct ScanArgs {
    Rows<const float> xbc, dt;
    const float *a_log, *dt_bias, *skip;
    int heads, head_dim, groups, state_dim;
    SequenceTable sequences;
    StateTable states;
    Rows<float> out;
};

__device__ __forceinline__ float softplus(float x) {
    return x > 30.0f ? x : log1pf(expf(x));
}

// A warp: a row of a sequence's state, which stays in registers from token to token.
__global__ void __launch_bounds__(32 * kScanWarps) scan_kernel(const ScanArgs args) {
    let_next_begin();
    wait_for_previous();
    const int lane = threadIdx.x % 32, inner = args.heads * args.head_dim;
    const int i = blockIdx.x * kScanWarps + threadIdx.x / 32;
    if (i >= inner) return;
    const SequencePart part = args.sequences.at(blockIdx.y);
    const int head = i / args.head_dim, group = head / (args.heads / args.groups);
    const int first_b = inner + group * args.state_dim, first_c = first_b + args.groups * args.state_dim;
    const float* const state = args.states.of(part.sequence) + static_cast<int64_t>(i) * args.state_dim;
    float* const next = args.states.next_of(part.sequence) + static_cast<int64_t>(i) * args.state_dim;
    const float rate = -expf(args.a_log[head]), bias = args.dt_bias[head], skip = args.skip[head];
    float values[kMostOfLane];
#pragma unroll
    for (int k = 0; k < kMostOfLane; ++k) {
        const int j = lane + 32 * k;
        values[k] = j < args.state_dim ? state[j] : 0.0f;
    }
    for (int row = part.first_row; row < part.first_row + part.count; ++row) {
        const float* const x = args.xbc[row];
        const float step = softplus(args.dt[row][head] + bias), decay = expf(rate * step), added = step * x[i];
        float sum = 0;
#pragma unroll
        for (int k = 0; k < kMostOfLane; ++k) {
            const int j = lane + 32 * k;
            if (j >= args.state_dim) break;
            values[k] = fmaf(decay, values[k], added * x[first_b + j]);
            sum = fmaf(values[k], x[first_c + j], sum);
        }
        sum = warp_sum(sum);
        if (lane == 0) args.out[row][i] = fmaf(skip, x[i], sum);
    }
#pragma unroll
    for (int k = 0; k < kMostOfLane; ++k) {
        const int j = lane + 32 * k;
        if (j < args.state_dim) next[j] = values[k];
    }
}

constexpr int kPoolThreads = 128;

struct PoolArgs {
    Rows<const float> values, gates, offsets;  // gates.first null: zero
    SequenceTable sequences;
    StateTable states;
    int ratio, seen, width, channels;
    int64_t state_columns;
    bool overlapping;
    Rows<float> out;

    // Of the token at `position`: among the new rows, or in the state.
    __device__ const float* state_row(const SequencePart& part, int position) const {
        return states.of(part.sequence) + position % seen * state_columns;
    }
    __device__ float value(const SequencePart& part, int position, int channel) const {
        return position < part.position ? state_row(part, position)[channel]
                                        : values[part.first_row + position - part.position][channel];
    }
    __device__ float gate(const SequencePart& part, int position, int channel) const {
        const float offset = offsets[position % ratio][channel];
        if (gates.first == nullptr) return offset;
        return offset + (position < part.position ? state_row(part, position)[width + channel]
                                                  : gates[part.first_row + position - part.position][channel]);
    }
};

// A thread per channel of a row.
__global__ void __launch_bounds__(kPoolThreads) pool_kernel(const PoolArgs args) {
    let_next_begin();
    wait_for_previous();
    const int c = blockIdx.x * kPoolThreads + threadIdx.x, row = blockIdx.y;
    if (c >= args.channels) return;
    const SequencePart part = args.sequences.of_row(row);
    if (part.sequence < 0) return;
    const int position = part.position + row - part.first_row;
    if ((position + 1) % args.ratio != 0) {
        args.out[row][c] = 0;
        return;
    }
    const auto channel = [&](int p) { return args.overlapping && p > position - args.ratio ? args.channels + c : c; };
    const int first = max(0, position + 1 - args.seen);
    float largest = -INFINITY;
    for (int p = first; p <= position; ++p) largest = fmaxf(largest, args.gate(part, p, channel(p)));
    float sum = 0, total = 0;
    for (int p = first; p <= position; ++p) {
        const float weight = expf(args.gate(part, p, channel(p)) - largest);
        sum = fmaf(weight, args.value(part, p, channel(p)), sum);
        total += weight;
    }
    args.out[row][c] = sum / total;
}

// The last tokens become the state, once no one reads it any more.
__global__ void __launch_bounds__(kPoolThreads) keep_kernel(const PoolArgs args) {
    let_next_begin();
    wait_for_previous();
    const int c = blockIdx.x * kPoolThreads + threadIdx.x, row = blockIdx.y;
    if (c >= args.width) return;
    const SequencePart part = args.sequences.of_row(row);
    if (part.sequence < 0 || row - part.first_row < part.count - args.seen) return;
    const int position = part.position + row - part.first_row;
    float* const state = args.states.of(part.sequence) + position % args.seen * args.state_columns;
    state[c] = args.values[row][c];
    if (args.gates.first != nullptr) state[args.width + c] = args.gates[row][c];
}

}  // namespace

void compute(Device& device, const SelectiveScan& op) {
    if (op.xbc.rows == 0) return;
    if (op.state_dim > 32 * kMostOfLane) refuse("SelectiveScan on CUDA: states of 256 numbers are the widest");
    const ScanArgs args{.xbc = rows_of(op.xbc),
                        .dt = rows_of(op.dt),
                        .a_log = rows_of(op.a_log).first,
                        .dt_bias = rows_of(op.dt_bias).first,
                        .skip = rows_of(op.skip).first,
                        .heads = static_cast<int>(op.heads),
                        .head_dim = static_cast<int>(op.head_dim),
                        .groups = static_cast<int>(op.groups),
                        .state_dim = static_cast<int>(op.state_dim),
                        .sequences = table_of(op.sequences),
                        .states = table_of(op.states),
                        .out = writable_rows_of(op.out)};
    const dim3 grid(blocks_for(op.inner(), kScanWarps), static_cast<unsigned>(args.sequences.count));
    launch_early(device, {grid, 32 * kScanWarps}, scan_kernel, args);
}

void compute(Device& device, const PoolTokens& op) {
    if (op.values.rows == 0) return;
    const PoolArgs args{.values = rows_of(op.values),
                        .gates = op.gates.buffer == nullptr ? Rows<const float>{} : rows_of(op.gates),
                        .offsets = rows_of(op.offsets),
                        .sequences = table_of(op.sequences),
                        .states = table_of(op.states),
                        .ratio = static_cast<int>(op.ratio()),
                        .seen = static_cast<int>(op.seen()),
                        .width = static_cast<int>(op.width()),
                        .channels = static_cast<int>(op.out.columns),
                        .state_columns = op.state_columns(),
                        .overlapping = op.overlapping,
                        .out = writable_rows_of(op.out)};
    const auto rows = static_cast<unsigned>(op.values.rows);
    launch_early(device, {dim3(blocks_for(args.channels, kPoolThreads), rows), kPoolThreads}, pool_kernel, args);
    launch_early(device, {dim3(blocks_for(args.width, kPoolThreads), rows), kPoolThreads}, keep_kernel, args);
}

}  // namespace sluice::cuda
