// What heads of sequences of a row each need before they attend: queries parted from their gates, norms, positions, and
// the cache.

#include "backend/cuda/append.cuh"
#include "backend/cuda/early.cuh"
#include "backend/cuda/joined.h"
#include "backend/cuda/norm.cuh"
#include "backend/cuda/products.h"
#include "backend/cuda/rotary.cuh"

namespace sluice::cuda {

namespace {

constexpr int kMostHead = 512;

// Heads of rows that are normed and turned.
struct TurnedHeads {
    Rows<const float> from;
    int from_step;  // from one head to the next
    const float* norm;
    float epsilon;
    Rows<float> out;
};

struct StepHeads {
    TurnedHeads queries, keys;
    Rows<float> gates;  // behind each head of queries.from; null: none
    Rows<const float> values;
    int heads, key_heads, head_dim;
    Rows<const int32_t> positions;
    const float* frequencies;
    int half, first;
    bool interleaved;
    float magnitude;
    CachePages cache;
    CacheRows key_rows, value_rows;
    SequenceTable sequences;
};

// As norm_scale(), of a warp's own head.
__device__ __forceinline__ float norm_scale_of_warp(const float* x, int width, float epsilon) {
    float sum = squares_of_eights(x, 0, width / 8);
    if (width > 256) sum += squares_of_eights(x, 32, width / 8);
    return rsqrtf(sum / static_cast<float>(width) + epsilon);
}

// A head from `from`, normed and turned, in shared memory.
__device__ __forceinline__ void make_head(const StepHeads& args, const TurnedHeads& heads, const float* from,
                                          const Turn* turns, float* head) {
    const float scale = norm_scale_of_warp(from, args.head_dim, heads.epsilon);
#pragma unroll 1
    for (int i = 8 * threadIdx.x; i < args.head_dim; i += 8 * 32) {
        float x[8], factor[8];
        load_eight(from + i, x);
        load_eight(heads.norm + i, factor);
#pragma unroll
        for (int j = 0; j < 8; ++j) head[i + j] = x[j] * scale * factor[j];
    }
    __syncwarp();
    float* const turned = head + args.first;
#pragma unroll 1
    for (int p = threadIdx.x; p < args.half; p += 32) {
        turns[p].apply(turned[args.interleaved ? 2 * p : p], turned[args.interleaved ? 2 * p + 1 : p + args.half]);
    }
    __syncwarp();
}

__device__ __forceinline__ void copy_eights(const float* from, int width, float* to) {
#pragma unroll 1
    for (int i = 8 * threadIdx.x; i < width; i += 8 * 32) {
        float x[8];
        load_eight(from + i, x);
        store_eight(to + i, x);
    }
}

// A warp: a query, a key or a value. Angles are known before the kernel before has ended; until then a head is made of
// the norm's factors, so that instructions are read, which takes longer than what they do.
__global__ void __launch_bounds__(32) step_heads_kernel(const __grid_constant__ StepHeads args) {
    __shared__ __align__(16) float head[kMostHead];
    __shared__ Turn turns[kMostHead / 2];
    let_next_begin();
    const int nth = blockIdx.x, width = args.head_dim, sequence = blockIdx.y;
    const SequencePart part = args.sequences.at(sequence);
    const int row = part.first_row;
    const bool is_query = nth < args.heads, is_value = nth >= args.heads + args.key_heads;
    const TurnedHeads& heads = is_query ? args.queries : args.keys;
    const int number = is_query ? nth : is_value ? nth - args.heads - args.key_heads : nth - args.heads;
    const float* const values = args.values[row] + number * args.value_rows.width;
    const float* const from = heads.from[row] + number * heads.from_step;
    if (!is_value) {
        const int32_t position = args.positions[row][0];
#pragma unroll 1
        for (int p = threadIdx.x; p < args.half; p += 32)
            turns[p] = Turn(position, args.frequencies[p], args.magnitude);
        __syncwarp();
#pragma unroll 1
        for (int turn = 0; turn < 2; ++turn) {
            if (turn > 0) wait_for_previous();
            make_head(args, heads, turn == 0 ? heads.norm : from, turns, head);
        }
        copy_eights(head, width, heads.out[row] + number * width);
    } else {
        wait_for_previous();
    }
    if (is_query) {
        if (args.gates.first != nullptr) copy_eights(from + width, width, args.gates[row] + number * width);
        return;
    }
    store_row(args.cache, is_value ? args.value_rows : args.key_rows, sequence, number, part.position,
              is_value ? values : head);
}

bool takes(const RmsNorm& norm, const Rotary& rotary, int64_t head_dim) {
    return same_place(norm.x, norm.out) && same_place(norm.out, rotary.x) && norm.run() == head_dim &&
           norm.weight.columns == head_dim && rotary.head_dim == head_dim;
}

bool alike(const Rotary& a, const Rotary& b) {
    return same_place(a.positions, b.positions) && same_place(a.frequencies, b.frequencies) && a.first == b.first &&
           a.frequencies.columns == b.frequencies.columns && a.interleaved == b.interleaved &&
           a.magnitude == b.magnitude;
}

bool takes(const HeadsStep& joined) {
    const AppendKeyValue& append = *joined.append;
    const int64_t head_dim = append.keys.columns / append.kv_heads;
    const bool split = joined.split == nullptr ||
                       (same_place(joined.split->query, joined.query_norm->x) && joined.split->head_dim == head_dim);
    return split && head_dim % 8 == 0 && head_dim <= kMostHead && same_place(append.keys, joined.key_rotary->x) &&
           takes(*joined.query_norm, *joined.query_rotary, head_dim) &&
           takes(*joined.key_norm, *joined.key_rotary, head_dim) && alike(*joined.query_rotary, *joined.key_rotary) &&
           append.sequences.most_rows == 1 && append.sequences.rows.rows == append.keys.rows;
}

}  // namespace

bool compute_joined(Device& device, const HeadsStep& joined) {
    if (!takes(joined)) return false;
    const AppendKeyValue& append = *joined.append;
    const Rotary& rotary = *joined.query_rotary;
    const int64_t head_dim = append.keys.columns / append.kv_heads, value_dim = append.values.columns / append.kv_heads;
    const GroupedKvLayout layout(append.cache.format, append.cache.page_tokens, append.kv_heads, head_dim, value_dim);
    const auto heads_of = [&](const RmsNorm& norm) {
        return TurnedHeads{.from = rows_of(norm.x),
                           .from_step = static_cast<int>(head_dim),
                           .norm = floats_at(norm.weight),
                           .epsilon = norm.epsilon,
                           .out = writable_rows_of(norm.out)};
    };
    StepHeads args{.queries = heads_of(*joined.query_norm),
                   .keys = heads_of(*joined.key_norm),
                   .gates = {},
                   .values = rows_of(append.values),
                   .heads = static_cast<int>(joined.query_norm->x.columns / head_dim),
                   .key_heads = static_cast<int>(append.kv_heads),
                   .head_dim = static_cast<int>(head_dim),
                   .positions = ints_of(rotary.positions),
                   .frequencies = floats_at(rotary.frequencies),
                   .half = static_cast<int>(rotary.frequencies.columns),
                   .first = static_cast<int>(rotary.first),
                   .interleaved = rotary.interleaved,
                   .magnitude = rotary.magnitude,
                   .cache = pages_of(append.cache),
                   .key_rows = grouped_rows(layout, head_dim, 0),
                   .value_rows = grouped_rows(layout, value_dim, 1),
                   .sequences = table_of(append.sequences)};
    if (joined.split != nullptr) {
        args.queries.from = rows_of(joined.split->fused);
        args.queries.from_step = static_cast<int>(2 * head_dim);
        args.gates = writable_rows_of(joined.split->gate);
    }
    const auto blocks = static_cast<unsigned>(args.heads + 2 * args.key_heads);
    launch_early(device, {{blocks, static_cast<unsigned>(append.keys.rows)}, 32}, step_heads_kernel, args);
    return true;
}

}  // namespace sluice::cuda
