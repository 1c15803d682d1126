// Attention in float32 with an online softmax, for heads and caches of any form. A lane scores a token, then owns every
// 32nd number of the values. Where every row sees something else, a block has one row, and what it sees are its tokens.
// Sequences with few new rows are split over their cache in pieces of fixed length, so that how a row is computed
// depends on its own sequence alone.

#include "backend/cuda/append.cuh"
#include "backend/cuda/attention.h"
#include "backend/cuda/cache_rows.cuh"

#include <algorithm>

namespace sluice::cuda {

namespace {

constexpr int kTile = 32;          // tokens that a block holds at once
constexpr int kMostWarps = 8;      // of a block
constexpr int kSplitTokens = 128;  // of a piece of a cache
constexpr int kSplitEntries = 32;  // of what is seen by one row alone, and is little

// Of a piece.
__host__ __device__ inline int split_tokens_of(const AttendArgs& args) {
    return args.rows_apart() ? kSplitEntries : kSplitTokens;
}

__device__ inline int padded(int width) {
    return (width + 31) / 32 * 32;
}

// What the block of a row goes through, one after the other: tokens of the cache, or recent keys and what is listed.
class Entries {
  public:
    __device__ Entries(const AttendArgs& args, const SequencePart& part, int row, int key_head)
        : args_(args), part_(part), position_(part.position + row), key_head_(key_head) {
        const int64_t batch_row = part.first_row + row;
        list_ = args.listed.first == nullptr ? nullptr : args.listed[batch_row];
        recent_ = min(args.recent.window, position_ + 1);
    }

    // Of a row that sees what no other one does.
    __device__ int count() const {
        if (list_ != nullptr) return recent_ + listed_count(list_, args_.most_listed);
        return recent_ + (args_.recent.ratio == 0 ? 0 : (position_ + 1) / args_.recent.ratio);
    }
    __device__ const uint8_t* row(const CacheRows& rows, int i, KvFormat& format) const {
        format = args_.cache.format;
        if (i < recent_) {
            format = KvFormat::kF32;
            return reinterpret_cast<const uint8_t*>(recent_key(position_ + 1 - recent_ + i));
        }
        const int token = i - recent_;
        return row_at(args_, rows, part_.sequence, key_head_, list_ == nullptr ? token : list_[token]);
    }

  private:
    __device__ const float* recent_key(int position) const {
        const RecentKeys& recent = args_.recent;
        if (position >= part_.position) return recent.keys[part_.first_row + position - part_.position];
        return recent.states.of(part_.sequence) + static_cast<int64_t>(position % recent.window) * args_.key_a.width;
    }

    const AttendArgs& args_;
    const SequencePart& part_;
    const int position_, key_head_;
    const int32_t* list_;
    int recent_;
};

// Eight numbers of BF16 or four of F32 at a time, where rows are aligned and their width is whole steps.
template <KvFormat kFormat>
__device__ inline void load_tile_in_steps(const Entries& entries, const CacheRows& rows, int first, int count,
                                          float* to, int pitch) {
    constexpr int kStep = kFormat == KvFormat::kBF16 ? 8 : 4;
    const int steps = rows.width / kStep;
#pragma unroll 4
    for (int i = threadIdx.x; i < kTile * steps; i += blockDim.x) {
        const int t = i / steps, at = i % steps * kStep;
        uint4 value{};
        if (t < count) {
            KvFormat format = kFormat;
            value = *(reinterpret_cast<const uint4*>(entries.row(rows, first + t, format)) + i % steps);
        }
        const uint32_t words[4] = {value.x, value.y, value.z, value.w};
#pragma unroll
        for (int j = 0; j < kStep; ++j) {
            const uint32_t bits = kStep == 4   ? words[j % 4]
                                  : j % 2 == 0 ? words[j / 2] << 16
                                               : words[j / 2] & 0xffff0000;
            to[t * pitch + at + j] = __uint_as_float(bits);
        }
    }
}

// Rows of entries [first, first + count) to floats at `to`, `pitch` apart; behind width and count are zeros.
__device__ inline void load_tile(const AttendArgs& args, const Entries& entries, const CacheRows& rows, int first,
                                 int count, float* to, int pitch) {
    const KvFormat format = args.cache.format;
    const auto places = static_cast<uint64_t>(rows.first | rows.head_bytes | rows.token_bytes) | args.cache.page_bytes |
                        reinterpret_cast<uint64_t>(args.cache.pool);
    if (places % 16 == 0 && rows.width % 32 == 0 && format != KvFormat::kInt8 && args.recent.window == 0) {
        if (format == KvFormat::kF32) {
            return load_tile_in_steps<KvFormat::kF32>(entries, rows, first, count, to, pitch);
        }
        return load_tile_in_steps<KvFormat::kBF16>(entries, rows, first, count, to, pitch);
    }
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
    for (int t = warp; t < kTile; t += warps) {
        KvFormat own = format;
        const uint8_t* row = t < count ? entries.row(rows, first + t, own) : nullptr;
        if (row != nullptr && rows.width % 32 == 0 && lies_in_fours(own, row, rows.width)) {
#pragma unroll 4
            for (int i = 4 * lane; i < rows.width; i += 128) {
                const float4 four = four_at(own, row, i);
                float* const at = to + t * pitch + i;
                at[0] = four.x, at[1] = four.y, at[2] = four.z, at[3] = four.w;
            }
            continue;
        }
        for (int i = lane; i < padded(rows.width); i += 32) {
            to[t * pitch + i] = row != nullptr && i < rows.width ? number_at(own, row, i) : 0.0f;
        }
    }
}

// What one warp keeps of its query vectors: vector v of a block is row v / heads of its tile, head v % heads.
template <int kValues, int kQueries>
struct Running {
    float largest[kQueries], total[kQueries], sums[kQueries][kValues];

    __device__ void begin() {
#pragma unroll
        for (int q = 0; q < kQueries; ++q) {
            largest[q] = -INFINITY;
            total[q] = 0;
#pragma unroll
            for (int i = 0; i < kValues; ++i) sums[q][i] = 0;
        }
    }

    // Scores of the lane's token for each vector, -inf where it is not seen; values of the tile.
    __device__ void add(const float (&scores)[kQueries], const float* values, int pitch, int width, int count) {
        const int lane = threadIdx.x % 32;
        float weights[kQueries];
#pragma unroll
        for (int q = 0; q < kQueries; ++q) {
            const float now = fmaxf(largest[q], warp_max(scores[q]));
            const float rescale = now == -INFINITY ? 1.0f : expf(largest[q] - now);
            weights[q] = scores[q] == -INFINITY ? 0.0f : expf(scores[q] - now);
            largest[q] = now;
            total[q] = total[q] * rescale + warp_sum(weights[q]);
#pragma unroll
            for (int i = 0; i < kValues; ++i) sums[q][i] *= rescale;
        }
#pragma unroll 4
        for (int t = 0; t < count; ++t) {
            float weight[kQueries];
#pragma unroll
            for (int q = 0; q < kQueries; ++q) weight[q] = __shfl_sync(kAllLanes, weights[q], t);
#pragma unroll
            for (int i = 0; i < kValues; ++i) {
                if (32 * i >= width) break;
                const float value = values[t * pitch + lane + 32 * i];
#pragma unroll
                for (int q = 0; q < kQueries; ++q) sums[q][i] = fmaf(weight[q], value, sums[q][i]);
            }
        }
    }
};

struct Tiling {
    int rows, heads;  // of a block: its query vectors are rows * heads
    bool split;       // few-rowed sequences alone, each block a piece of the cache; else the others
};

// A block: (tile of rows, key head and part of its heads, piece of the cache).
template <int kValues, int kQueries>
__global__ void __launch_bounds__(32 * kMostWarps) attend_kernel(const AttendArgs args, const Tiling tiling) {
    extern __shared__ float shared[];
    int first_row = 0;
    const SequencePart part = args.sequences.of_tile(blockIdx.x, tiling.rows, first_row);
    if (part.sequence < 0 || (part.count <= kFewRows) != tiling.split) return;
    const int per_key_head = args.heads / args.key_heads;
    const int head_parts = (per_key_head + tiling.heads - 1) / tiling.heads;
    const int key_head = blockIdx.y / head_parts, first_in_group = blockIdx.y % head_parts * tiling.heads;
    const int first_head = key_head * per_key_head + first_in_group;
    const int heads = min(tiling.heads, per_key_head - first_in_group);
    const int rows = min(tiling.rows, part.count - first_row);
    const Entries entries(args, part, first_row, key_head);
    // What the first row sees first, in whole tiles, and what the last one does last.
    int first_token = args.rows_apart() ? 0 : args.first_seen(part.position + first_row + 1) / kTile * kTile;
    int end = args.rows_apart() ? entries.count() : part.position + first_row + rows;
    if (tiling.split) {
        first_token = max(first_token, static_cast<int>(blockIdx.z) * split_tokens_of(args));
        end = min(end, (static_cast<int>(blockIdx.z) + 1) * split_tokens_of(args));
    }
    if (first_token >= end) return;

    const int a = padded(args.key_a.width), b = args.key_b.width > 0 ? padded(args.key_b.width) : 0;
    const int key_pitch = a + b + 1, value_pitch = args.value_is_key_a ? key_pitch : padded(args.value.width);
    const int vectors = rows * heads;
    float* const keys = shared;
    float* const values = args.value_is_key_a ? keys : keys + kTile * key_pitch;
    float* const queries = values + kTile * value_pitch;
    for (int v = threadIdx.x / 32; v < vectors; v += blockDim.x / 32) {
        const int64_t row = part.first_row + first_row + v / heads;
        const int head = first_head + v % heads;
        for (int i = threadIdx.x % 32; i < a + b; i += 32) {
            float value = 0;
            if (i < args.key_a.width) {
                value = args.query_a[row][head * args.query_a_head + i];
            } else if (i >= a && i - a < args.key_b.width) {
                value = args.query_b[row][head * args.query_b_head + i - a];
            }
            queries[v * (a + b) + i] = value * args.scale;
        }
    }

    const int lane = threadIdx.x % 32, first_vector = threadIdx.x / 32 * kQueries;
    Running<kValues, kQueries> running;
    running.begin();
    for (int token = first_token; token < end; token += kTile) {
        const int count = min(kTile, end - token);
        __syncthreads();
        load_tile(args, entries, args.key_a, token, count, keys, key_pitch);
        if (b > 0) load_tile(args, entries, args.key_b, token, count, keys + a, key_pitch);
        if (!args.value_is_key_a) load_tile(args, entries, args.value, token, count, values, value_pitch);
        __syncthreads();
        if (first_vector >= vectors) continue;
        float scores[kQueries] = {};
        const float* const key = keys + lane * key_pitch;
#pragma unroll 8
        for (int i = 0; i < a + b; ++i) {
            const float number = key[i];
#pragma unroll
            for (int q = 0; q < kQueries; ++q) {
                const int v = min(first_vector + q, vectors - 1);
                scores[q] = fmaf(number, queries[v * (a + b) + i], scores[q]);
            }
        }
#pragma unroll
        for (int q = 0; q < kQueries; ++q) {
            const int seen = part.position + first_row + min(first_vector + q, vectors - 1) / heads + 1;
            const bool sees = args.rows_apart() || (token + lane < seen && token + lane >= args.first_seen(seen));
            if (!sees || token + lane >= end) scores[q] = -INFINITY;
        }
        running.add(scores, values, value_pitch, args.value.width, count);
    }

#pragma unroll
    for (int q = 0; q < kQueries; ++q) {
        const int v = first_vector + q;
        if (v >= vectors) break;
        const int64_t row = part.first_row + first_row + v / heads;
        const int head = first_head + v % heads;
        if (tiling.split) {
            float* const partial = args.partial_at(part, first_row, head) + blockIdx.z * args.partial_width();
            if (lane == 0) partial[0] = running.largest[q], partial[1] = running.total[q];
#pragma unroll
            for (int i = 0; i < kValues; ++i) {
                if (lane + 32 * i < args.value.width) partial[2 + lane + 32 * i] = running.sums[q][i];
            }
        } else {
            const float largest =
                args.sinks == nullptr ? running.largest[q] : fmaxf(running.largest[q], args.sinks[head]);
            const float weight = expf(running.largest[q] - largest);
            const float total =
                running.total[q] * weight + (args.sinks == nullptr ? 0 : expf(args.sinks[head] - largest));
#pragma unroll
            for (int i = 0; i < kValues; ++i) {
                if (lane + 32 * i < args.value.width) {
                    args.out[row][static_cast<int64_t>(head) * args.value.width + lane + 32 * i] =
                        running.sums[q][i] * weight / total;
                }
            }
        }
    }
}

// The pieces of a row and head joined in their order.
__global__ void join_kernel(const AttendArgs args) {
    const int64_t row = blockIdx.x;
    const int head = blockIdx.y;
    const SequencePart part = args.sequences.of_row(static_cast<int>(row));
    if (part.sequence < 0 || part.count > kFewRows) return;
    const int own_row = static_cast<int>(row) - part.first_row;
    const int tokens = args.rows_apart() ? Entries(args, part, own_row, 0).count() : part.position + own_row + 1;
    const int pieces = (tokens + split_tokens_of(args) - 1) / split_tokens_of(args);
    const float* const first = args.partial_at(part, own_row, head);
    const int first_piece = args.rows_apart() ? 0 : args.first_seen(tokens) / kTile * kTile / split_tokens_of(args);
    float largest = args.sinks == nullptr ? -INFINITY : args.sinks[head];
    for (int p = first_piece; p < pieces; ++p)
        largest = fmaxf(largest, first[static_cast<int64_t>(p) * args.partial_width()]);
    for (int i = threadIdx.x; i < args.value.width; i += blockDim.x) {
        float total = args.sinks == nullptr ? 0 : expf(args.sinks[head] - largest), sum = 0;
        for (int p = first_piece; p < pieces; ++p) {
            const float* const partial = first + static_cast<int64_t>(p) * args.partial_width();
            const float weight = expf(partial[0] - largest);
            total = fmaf(weight, partial[1], total);
            sum = fmaf(weight, partial[2 + i], sum);
        }
        args.out[row][static_cast<int64_t>(head) * args.value.width + i] = sum / total;
    }
}

int64_t host_padded(int64_t width) {
    return (width + 31) / 32 * 32;
}

template <int kValues, int kQueries>
void launch(Device& device, const AttendArgs& args, bool split) {
    const int per_key_head = args.heads / args.key_heads;
    const int most = kMostWarps * kQueries;
    const int heads = std::min(per_key_head, most);
    const bool one_row = split || args.rows_apart();
    const Tiling tiling{.rows = one_row ? 1 : std::max(1, most / heads), .heads = heads, .split = split};
    const int vectors = tiling.rows * tiling.heads, warps = (vectors + kQueries - 1) / kQueries;
    const int64_t a = host_padded(args.key_a.width), b = args.key_b.width > 0 ? host_padded(args.key_b.width) : 0;
    const int64_t floats =
        kTile * (a + b + 1) + (args.value_is_key_a ? 0 : kTile * host_padded(args.value.width)) + vectors * (a + b);
    const auto bytes = static_cast<int>(floats * static_cast<int64_t>(sizeof(float)));
    check(cudaFuncSetAttribute(attend_kernel<kValues, kQueries>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
          "shared memory of attention");
    const int head_parts = (per_key_head + heads - 1) / heads;
    const dim3 grid(
        blocks_for(args.rows, tiling.rows) + (tiling.rows > 1 ? static_cast<unsigned>(args.sequences.count) : 0),
        static_cast<unsigned>(args.key_heads * head_parts), static_cast<unsigned>(split ? args.splits : 1));
    attend_kernel<kValues, kQueries><<<grid, 32 * warps, bytes, device.stream()>>>(args, tiling);
    check_launch("attention");
}

template <int kValues, int kQueries>
void run(Device& device, const AttendArgs& args, bool split) {
    if (!split) return launch<kValues, kQueries>(device, args, false);
    launch<kValues, 1>(device, args, true);
    join_kernel<<<dim3(static_cast<unsigned>(args.rows), static_cast<unsigned>(args.heads)),
                  static_cast<unsigned>(std::min<int64_t>(host_padded(args.value.width), 256)), 0, device.stream()>>>(
        args);
    check_launch("attention");
}

void run(Device& device, const AttendArgs& args, bool split) {
    const int width = args.value.width;
    if (width <= 64) return run<2, 4>(device, args, split);
    if (width <= 128) return run<4, 4>(device, args, split);
    if (width <= 256) return run<8, 4>(device, args, split);
    if (width <= 512) return run<16, 2>(device, args, split);
    refuse("attention on CUDA: values of 512 numbers are the widest");
}

// Keys and values of the new tokens, a warp per row and vector: rows of `width` numbers of `from`, one per key head.
struct AppendArgs {
    Rows<const float> from;
    CacheRows rows;
    CachePages cache;
    SequenceTable sequences;
    int batch_rows, key_heads;
};

__global__ void append_kernel(const AppendArgs args) {
    const int64_t index = static_cast<int64_t>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
    if (index >= static_cast<int64_t>(args.batch_rows) * args.key_heads) return;
    const int row = static_cast<int>(index / args.key_heads);
    const int head = static_cast<int>(index % args.key_heads), width = args.rows.width;
    const SequencePart part = args.sequences.of_row(row);
    if (part.sequence < 0) return;
    const float* const from = args.from[row] + static_cast<int64_t>(head) * width;
    store_row(args.cache, args.rows, part.sequence, head, part.position + row - part.first_row, from);
}

void append(Device& device, const Tensor& from, const CacheRows& rows, const PagedCache& cache,
            const Sequences& sequences, int64_t key_heads) {
    if (from.rows == 0) return;
    const AppendArgs args{.from = rows_of(from),
                          .rows = rows,
                          .cache = pages_of(cache),
                          .sequences = table_of(sequences),
                          .batch_rows = static_cast<int>(from.rows),
                          .key_heads = static_cast<int>(key_heads)};
    append_kernel<<<blocks_for(from.rows * key_heads, 4), 128, 0, device.stream()>>>(args);
    check_launch("storing keys and values");
}

}  // namespace

CacheRows grouped_rows(const GroupedKvLayout& layout, int64_t width, int part) {
    const auto token = static_cast<int64_t>(part == 0 ? layout.key_bytes : layout.value_bytes);
    const int64_t head = layout.page_tokens * token;
    return {.width = static_cast<int32_t>(width),
            .first = static_cast<int64_t>(part == 0 ? layout.key(0, 0) : layout.value(0, 0)),
            .head_bytes = head,
            .token_bytes = token};
}

CachePages pages_of(const PagedCache& cache) {
    return {.pool = reinterpret_cast<const uint8_t*>(device_bytes(cache.pool)),
            .pool_bytes = cache.pool->bytes(),
            .page_bytes = cache.page_bytes,
            .pages = ints_of(cache.pages),
            .page_tokens = static_cast<int32_t>(cache.page_tokens),
            .format = cache.format};
}

namespace {

// That a row goes through.
int64_t most_entries(const AttendArgs& args, int64_t most_tokens) {
    if (!args.rows_apart()) return most_tokens;
    const int64_t runs = args.recent.window == 0  ? most_tokens
                         : args.recent.ratio == 0 ? 0
                                                  : most_tokens / args.recent.ratio;
    const int64_t of_cache = args.listed.first == nullptr ? runs : std::min<int64_t>(runs, args.most_listed);
    return std::min<int64_t>(args.recent.window, most_tokens) + of_cache;
}

}  // namespace

uint64_t plan_splits(AttendArgs& args, const Sequences& sequences) {
    const int64_t entries = most_entries(args, sequences.most_tokens);
    const int64_t piece = split_tokens_of(args);
    args.splits = static_cast<int>((entries + piece - 1) / piece);
    args.split_rows = static_cast<int>(std::min<int64_t>(sequences.most_rows, kFewRows));
    const int64_t vectors = sequences.rows.rows * args.split_rows * args.heads;
    return static_cast<uint64_t>(vectors * args.splits * args.partial_width()) * sizeof(float);
}

void attend(Device& device, AttendArgs args, const Sequences& sequences) {
    if (args.rows == 0) return;
    const bool many = sequences.most_rows > kFewRows, apart = args.rows_apart();
    if (many && (apart || !prefill(device, args, sequences))) run(device, args, false);
    if ((many && args.sequences.count == 1) || (!apart && decode(device, args, sequences))) return;
    if (args.partial == nullptr) {
        args.partial = reinterpret_cast<float*>(device.scratch(plan_splits(args, sequences)));
    }
    run(device, args, true);
}

void compute(Device& device, const AppendKeyValue& op) {
    const int64_t head_dim = op.keys.columns / op.kv_heads, value_dim = op.values.columns / op.kv_heads;
    const GroupedKvLayout layout(op.cache.format, op.cache.page_tokens, op.kv_heads, head_dim, value_dim);
    append(device, op.keys, grouped_rows(layout, head_dim, 0), op.cache, op.sequences, op.kv_heads);
    append(device, op.values, grouped_rows(layout, value_dim, 1), op.cache, op.sequences, op.kv_heads);
}

void compute(Device& device, const AppendLatent& op) {
    const LatentKvLayout layout(op.cache.format, op.cache.page_tokens, op.latent.columns, op.rotary_key.columns);
    const auto token = static_cast<int64_t>(layout.token_bytes);
    append(device, op.latent,
           {.width = static_cast<int32_t>(op.latent.columns), .first = 0, .head_bytes = 0, .token_bytes = token},
           op.cache, op.sequences, 1);
    if (op.rotary_key.buffer == nullptr) return;
    append(device, op.rotary_key,
           {.width = static_cast<int32_t>(op.rotary_key.columns),
            .first = static_cast<int64_t>(layout.latent_bytes),
            .head_bytes = 0,
            .token_bytes = token},
           op.cache, op.sequences, 1);
}

AttendArgs arguments_of(const Attention& op) {
    const int64_t head_dim = op.query.columns / op.heads, value_dim = op.out.columns / op.heads;
    const GroupedKvLayout layout(op.cache.format, op.cache.page_tokens, op.kv_heads, head_dim, value_dim);
    AttendArgs args{};
    args.query_a = rows_of(op.query);
    args.query_a_head = head_dim;
    args.key_a = grouped_rows(layout, head_dim, 0);
    args.value = grouped_rows(layout, value_dim, 1);
    args.cache = pages_of(op.cache);
    args.sequences = table_of(op.sequences);
    args.rows = static_cast<int>(op.query.rows);
    args.heads = static_cast<int>(op.heads);
    args.key_heads = static_cast<int>(op.kv_heads);
    args.scale = op.scale;
    args.window = static_cast<int>(op.window);
    args.chunk = static_cast<int>(op.chunk);
    args.sinks = op.sinks.buffer == nullptr ? nullptr : rows_of(op.sinks).first;
    list_seen(args, op.selected);
    args.out = writable_rows_of(op.out);
    return args;
}

void list_seen(AttendArgs& args, const Tensor& selected) {
    if (selected.buffer == nullptr) return;
    args.listed = ints_of(selected);
    args.most_listed = static_cast<int>(selected.columns);
}

void compute(Device& device, const Attention& op) {
    attend(device, arguments_of(op), op.sequences);
}

}  // namespace sluice::cuda
