// What comes before the recurrence of gated DeltaNet: the split of its projections, and the causal convolution.

#include <algorithm>

#include "backend/cuda/early.cuh"
#include "backend/cuda/recurrent.cuh"

namespace sluice::cuda {

namespace {

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

constexpr int kConvolveRows = 32;  // of a tile

struct ConvolveArgs {
    Rows<const float> x, weight;
    const float* bias;  // null: zero
    SequenceTable sequences;
    StateTable states;
    int channels, taps, distance, tile_rows;
    bool one_tile;  // of each sequence
    Rows<float> out;

    // Tiles of a sequence's rows, from `first` on.
    __device__ SequencePart part_of(int tile, int& first) const {
        return one_tile ? sequences.at(tile) : sequences.of_tile(tile, tile_rows, first);
    }
};

// A thread per channel of a tile. That of the first tile alone reads the state, and makes the last inputs the state,
// oldest first, so that what is read was not written yet.
__global__ void convolve_kernel(const ConvolveArgs args) {
    int first = 0;
    const SequencePart part = args.part_of(blockIdx.y, first);
    const int c = blockIdx.x * blockDim.x + threadIdx.x, past = (args.taps - 1) * args.distance;
    if (c >= args.channels || part.sequence < 0) return;
    const float* const state = args.states.of(part.sequence) + c;
    float* const next = args.states.next_of(part.sequence) + c;
    // Among the state's inputs and then the rows'.
    const auto input = [&](int at) {
        return at < past ? state[static_cast<int64_t>(at) * args.channels] : args.x[part.first_row + at - past][c];
    };
    const int end = min(first + args.tile_rows, part.count);
    for (int row = first; row < end; ++row) {
        float sum = args.bias == nullptr ? 0.0f : args.bias[c];
        for (int k = 0; k < args.taps; ++k) sum = fmaf(input(row + k * args.distance), args.weight[c][k], sum);
        args.out[part.first_row + row][c] = sum * sigmoid(sum);
    }
    if (first > 0) return;
    for (int i = 0; i < past; ++i) next[static_cast<int64_t>(i) * args.channels] = input(part.count + i);
}

__device__ inline float4 silu_of_taps(const float4 (&taps)[4], const float4 (&inputs)[4]) {
    float sums[4] = {};
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        const float x[4] = {inputs[k].x, inputs[k].y, inputs[k].z, inputs[k].w};
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const float weight = k == 0 ? taps[j].x : k == 1 ? taps[j].y : k == 2 ? taps[j].z : taps[j].w;
            sums[j] = fmaf(x[j], weight, sums[j]);
        }
    }
#pragma unroll
    for (float& sum : sums) sum = quick_silu(sum);
    return {sums[0], sums[1], sums[2], sums[3]};
}

// The same of four taps: a thread has four channels, and the last inputs in registers. Taps are on their way
// before the kernel before has ended.
__global__ void __launch_bounds__(128) convolve_fours_kernel(const ConvolveArgs args) {
    constexpr int kPast = 3;
    int first = 0;
    let_next_begin();
    const SequencePart part = args.part_of(blockIdx.y, first);
    const int c = 4 * (blockIdx.x * blockDim.x + threadIdx.x);
    if (c >= args.channels || part.sequence < 0) return wait_for_previous();
    const float* const state = args.states.of(part.sequence) + c;
    float* const next = args.states.next_of(part.sequence) + c;
    const auto input = [&](int at) {
        const float* const from =
            at < kPast ? state + static_cast<int64_t>(at) * args.channels : args.x[part.first_row + at - kPast] + c;
        return *reinterpret_cast<const float4*>(from);
    };
    float4 taps[4], inputs[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) taps[j] = __ldg(reinterpret_cast<const float4*>(args.weight[c + j]));
    wait_for_previous();
#pragma unroll
    for (int i = 0; i < kPast; ++i) inputs[i] = input(first + i);
    if (first == 0) {
        float4 kept[kPast];
#pragma unroll
        for (int i = 0; i < kPast; ++i) kept[i] = input(part.count + i);
#pragma unroll
        for (int i = 0; i < kPast; ++i) {
            *reinterpret_cast<float4*>(next + static_cast<int64_t>(i) * args.channels) = kept[i];
        }
    }
    const float* x = args.x[part.first_row + first] + c;
    float* out = args.out[part.first_row + first] + c;
    const int rows = min(args.tile_rows, part.count - first);
#pragma unroll 8
    for (int row = 0; row < rows; ++row) {
        inputs[kPast] = __ldcg(reinterpret_cast<const float4*>(x + row * args.x.stride));
        *reinterpret_cast<float4*>(out + row * args.out.stride) = silu_of_taps(taps, inputs);
#pragma unroll
        for (int i = 0; i < kPast; ++i) inputs[i] = inputs[i + 1];
    }
}

}  // namespace

bool convolves_in_fours(const CausalConvolution& op) {
    return op.weight.columns == 4 && op.distance == 1 && op.bias.buffer == nullptr && op.x.columns % 4 == 0 &&
           in_fours(rows_of(op.x)) && in_fours(rows_of(op.weight)) && in_fours(writable_rows_of(op.out)) &&
           table_of(op.states).in_fours();
}

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
    if (op.x.rows == 0) return;
    ConvolveArgs args{.x = rows_of(op.x),
                      .weight = rows_of(op.weight),
                      .bias = op.bias.buffer == nullptr ? nullptr : rows_of(op.bias).first,
                      .sequences = table_of(op.sequences),
                      .states = table_of(op.states),
                      .channels = static_cast<int>(op.x.columns),
                      .taps = static_cast<int>(op.weight.columns),
                      .distance = static_cast<int>(op.distance),
                      .tile_rows = 0,
                      .one_tile = false,
                      .out = writable_rows_of(op.out)};
    args.tile_rows =
        std::max(kConvolveRows, static_cast<int>(op.history()));  // so that later tiles have all their inputs in x
    args.one_tile = op.sequences.most_rows <= args.tile_rows;
    const auto sequences = static_cast<unsigned>(args.sequences.count);
    const unsigned tiles = args.one_tile ? sequences : blocks_for(op.x.rows, args.tile_rows) + sequences;
    if (convolves_in_fours(op)) {
        launch_early(device, {dim3(blocks_for(args.channels, 4 * 128), tiles), 128}, convolve_fours_kernel, args);
        return;
    }
    convolve_kernel<<<dim3(blocks_for(args.channels, 128), tiles), 128, 0, device.stream()>>>(args);
    check_launch("CausalConvolution");
}

}  // namespace sluice::cuda
