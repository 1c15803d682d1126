#pragma once

// Attention of few new rows over a cache of BF16 or int8, split in pieces. A warp takes 16 tokens at a time: scores are
// K Q^T, sums are V^T P^T, so that 8 query vectors are the columns of one product. Queries and weights are taken as the
// sum of two BF16 numbers each, so that nothing is lost but what the cache lacks.

#include <algorithm>

#include "backend/cuda/attention.h"
#include "backend/cuda/early.cuh"
#include "backend/cuda/tensor_cores.cuh"

namespace sluice::cuda {

struct DecodeArgs {
    AttendArgs attend;
    int most_pieces, least_piece;  // of a sequence; tokens of one
    int vector_parts;              // of 8 query vectors, for a key head
    Rows<const float> gate;        // whose sigmoid what comes out is multiplied by; null: none
};

constexpr int kDecodeVectors = 8, kDecodeTokens = 16;

// How the tokens that a sequence's rows see are cut: by its own numbers alone.
struct DecodePieces {
    int first, end, piece;

    __device__ DecodePieces(const DecodeArgs& args, const SequencePart& part) {
        first = args.attend.first_seen(part.position + 1) / kDecodeTokens * kDecodeTokens;
        end = part.position + part.count;
        const int least = (end - first + args.most_pieces - 1) / args.most_pieces;
        piece = (least + args.least_piece - 1) / args.least_piece * args.least_piece;
    }
    __device__ int count() const { return (end - first + piece - 1) / piece; }
};

__device__ __forceinline__ void copy_4(uint32_t to, const void* from, bool there) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(there ? 4 : 0) : "memory");
}
// Rows of an 8x8 matrix over the lanes become columns.
__device__ __forceinline__ uint32_t turned_matrix(uint32_t matrix) {
    uint32_t turned = 0;
    asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(turned) : "r"(matrix));
    return turned;
}

// Two numbers as BF16, and what that rounding lost.
struct SplitPair {
    uint32_t high, low;
    SplitPair() = default;
    __device__ __forceinline__ SplitPair(float a, float b) {
        high = rounded_pair(a, b);
        const float rest_a = a - __uint_as_float(high << 16), rest_b = b - __uint_as_float(high & 0xffff0000);
        low = rounded_pair(rest_a, rest_b);
    }
};

// Rows of a cache in shared memory, 16 at a time, as products take them. Of a fragment's lane, g is lane / 4, c lane %
// 4: scores are of tokens g and g + 8 and vectors 2 c and 2 c + 1.
template <KvFormat kFormat, int kHead>
struct DecodeRows;

template <int kHead>
struct DecodeRows<KvFormat::kBF16, kHead> {
    static constexpr int kPitch = kHead * 2, kAlignment = 16;

    // Zeros for rows that are not known. 16-byte units are exchanged by the row's number modulo 8.
    template <typename Place>
    static __device__ __forceinline__ void bring(const Place& place, int known, uint32_t to) {
        constexpr int kUnits = kHead / 8;
        const int lane = threadIdx.x % 32;
#pragma unroll 2
        for (int i = 0; i < kDecodeTokens * kUnits / 32; ++i) {
            const int t = (i * 32 + lane) / kUnits, unit = (i * 32 + lane) % kUnits;
            copy_16(to + t * kPitch + ((unit ^ (t & 7)) * 16), place(t) + unit * 16, t < known);
        }
    }
    // The first of two neighbours that the lane's half `half` of 16 numbers of a query holds.
    static __device__ __forceinline__ int query_column(int k, int half) {
        return k * 16 + half * 8 + threadIdx.x % 4 * 2;
    }
    static __device__ __forceinline__ void load_keys(uint32_t rows, int k, uint32_t (&a)[4]) {
        const int lane = threadIdx.x % 32;
        load_matrices_at(rows + lane % 16 * kPitch + ((k * 2 + lane / 16) ^ (lane & 7)) * 16, a);
    }
    // Values of 32 columns from 32 i on.
    static __device__ __forceinline__ void load_values(uint32_t rows, int i, uint32_t (&a)[2][4]) {
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            const int unit = i * 4 + j * 2 + lane / 8 % 2;
            load_turned_matrices_at(rows + (lane % 8 + lane / 16 * 8) * kPitch + (unit ^ (lane & 7)) * 16, a[j]);
        }
    }
    // Which one row `half` of product `j` of those is.
    static __device__ __forceinline__ int value_column(int i, int j, int half) {
        return i * 32 + j * 16 + half * 8 + threadIdx.x % 32 / 4;
    }
    static __device__ __forceinline__ float scale_of(uint32_t, int) {
        return 1;
    }
};

// Levels, which BF16 holds; the rows' scales lie behind them. Numbers are taken in the order that whole words give.
template <int kHead>
struct DecodeRows<KvFormat::kInt8, kHead> {
    static constexpr int kPitch = kHead + 16, kAlignment = 4;

    template <typename Place>
    static __device__ __forceinline__ void bring(const Place& place, int known, uint32_t to) {
        constexpr int kWords = kHead / 4;
        const int lane = threadIdx.x % 32;
#pragma unroll 2
        for (int i = 0; i < kDecodeTokens * kWords / 32; ++i) {
            const int t = (i * 32 + lane) / kWords, word = (i * 32 + lane) % kWords;
            copy_4(to + t * kPitch + word * 4, place(t) + 4 + word * 4, t < known);
        }
        if (lane < kDecodeTokens) copy_4(to + lane * kPitch + kHead, place(lane), lane < known);
    }
    static __device__ __forceinline__ int query_column(int k, int half) {
        return k * 16 + threadIdx.x % 4 * 4 + half * 2;
    }
    static __device__ __forceinline__ void load_keys(uint32_t rows, int k, uint32_t (&a)[4]) {
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const uint32_t word = word_at(rows + (lane / 4 + 8 * r) * kPitch + (k * 4 + lane % 4) * 4);
            a[r] = levels(word, 0, word, 1), a[2 + r] = levels(word, 2, word, 3);
        }
    }
    static __device__ __forceinline__ void load_values(uint32_t rows, int i, uint32_t (&a)[2][4]) {
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const uint32_t at = rows + (lane % 4 * 2 + 8 * r) * kPitch + (i * 8 + lane / 4) * 4;
            const uint32_t word = word_at(at), next = word_at(at + kPitch);
#pragma unroll
            for (int b = 0; b < 4; ++b) a[b / 2][2 * r + b % 2] = levels(word, b, next, b);
        }
    }
    static __device__ __forceinline__ int value_column(int i, int j, int half) {
        return i * 32 + threadIdx.x % 32 / 4 * 4 + j * 2 + half;
    }
    static __device__ __forceinline__ float scale_of(uint32_t rows, int token) {
        return __uint_as_float(word_at(rows + token * kPitch + kHead));
    }

  private:
    static __device__ __forceinline__ uint32_t word_at(uint32_t at) {
        uint32_t word = 0;
        asm volatile("ld.shared.b32 %0, [%1];" : "=r"(word) : "r"(at) : "memory");
        return word;
    }
    // Byte `b` of a word as a number: 2^23 + 128 + level, less what was added.
    static __device__ __forceinline__ float level(uint32_t word, int b) {
        return __uint_as_float(__byte_perm(word ^ 0x80808080, 0x4b000000, 0x7440 + b)) - 8388736.0f;
    }
    static __device__ __forceinline__ uint32_t levels(uint32_t low, int b, uint32_t high, int d) {
        return rounded_pair(level(low, b), level(high, d));
    }
};

template <KvFormat kFormat, int kHead, int kWarps, int kStages>
struct DecodeTile {
    using CachedRows = DecodeRows<kFormat, kHead>;
    static constexpr int kTileBytes = kDecodeTokens * CachedRows::kPitch;
    static constexpr int kMergeBytes = kWarps * kDecodeVectors * (kHead + 2) * 4;
    static constexpr int kRingBytes = kWarps * kStages * 2 * kTileBytes;
    static constexpr int kSharedBytes = kRingBytes > kMergeBytes ? kRingBytes : kMergeBytes;
};

template <KvFormat kFormat, int kHead>
struct DecodeRunning {
    using CachedRows = DecodeRows<kFormat, kHead>;
    float largest[2], total[2];  // of vectors 2 c and 2 c + 1
    float sums[kHead / 32][2][4];
    SplitPair queries[kHead / 16][2];

    __device__ __forceinline__ void begin() {
#pragma unroll
        for (int e = 0; e < 2; ++e) largest[e] = -INFINITY, total[e] = 0;
#pragma unroll
        for (int i = 0; i < kHead / 4; ++i) sums[i / 8][i / 4 % 2][i % 4] = 0;
    }

    // The lane's vector is g, or none.
    __device__ __forceinline__ void load_queries(const float* from, float scale) {
#pragma unroll
        for (int i = 0; i < kHead / 8; ++i) {
            const int at = CachedRows::query_column(i / 2, i % 2);
            queries[i / 2][i % 2] =
                from == nullptr ? SplitPair(0, 0) : SplitPair(from[at] * scale, from[at + 1] * scale);
        }
    }

    // 16 tokens; `starts` and `ends` of a vector are counted from the first of them.
    __device__ __forceinline__ void add(uint32_t keys, uint32_t values, const int (&starts)[2], const int (&ends)[2]) {
        const int lane = threadIdx.x % 32;
        float products[4][4] = {}, scores[4];  // four at a time, as each waits for the one before
#pragma unroll
        for (int k = 0; k < kHead / 16; ++k) {
            uint32_t a[4];
            CachedRows::load_keys(keys, k, a);
            add_product(products[k % 2], a, queries[k][0].high, queries[k][1].high);
            add_product(products[2 + k % 2], a, queries[k][0].low, queries[k][1].low);
        }
        bool grows = false;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int token = lane / 4 + i / 2 * 8;
            scores[i] = (products[0][i] + products[1][i] + (products[2][i] + products[3][i])) *
                        CachedRows::scale_of(keys, token);
            if (token >= ends[i % 2] || token < starts[i % 2]) scores[i] = -INFINITY;
        }
        float now[2];
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            now[e] = fmaxf(scores[e], scores[2 + e]);
            for (int step = 4; step < 32; step *= 2) now[e] = fmaxf(now[e], __shfl_xor_sync(kAllLanes, now[e], step));
            grows = grows || now[e] > largest[e];
        }
        if (__any_sync(kAllLanes, grows)) rescale(now);
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            const float base = largest[e] == -INFINITY ? 0.0f : largest[e];
#pragma unroll
            for (int r = 0; r < 2; ++r) scores[2 * r + e] = power_of_two(scores[2 * r + e] - base);
            total[e] += scores[e] + scores[2 + e];
        }
        uint32_t high[2], low[2];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const float scale = CachedRows::scale_of(values, lane / 4 + 8 * r);
            const SplitPair weights(scores[2 * r] * scale, scores[2 * r + 1] * scale);
            high[r] = turned_matrix(weights.high), low[r] = turned_matrix(weights.low);
        }
#pragma unroll
        for (int i = 0; i < kHead / 32; ++i) {
            uint32_t a[2][4];
            CachedRows::load_values(values, i, a);
#pragma unroll
            for (int j = 0; j < 2; ++j) {
                add_product(sums[i][j], a[j], high[0], high[1]);
                add_product(sums[i][j], a[j], low[0], low[1]);
            }
        }
    }

    __device__ __forceinline__ void rescale(const float (&found)[2]) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            const float now = fmaxf(found[e], largest[e]);
            const float factor = now == -INFINITY ? 1.0f : power_of_two(largest[e] - now);
            largest[e] = now;
            total[e] *= factor;
#pragma unroll
            for (int i = 0; i < kHead / 8; ++i) sums[i / 4][i / 2 % 2][i % 2 * 2 + e] *= factor;
        }
    }
};

// Where a sequence's tokens lie.
struct TokenRows {
    const AttendArgs& args;
    int sequence, key_head, end;

    // The page of a tile's tokens, asked for before it is needed; of those behind the end, any.
    __device__ __forceinline__ int place_of(int token) const {
        return args.cache.pages[sequence][min(token, end - 1) / args.cache.page_tokens];
    }
    template <typename CachedRows>
    __device__ __forceinline__ void bring(const CacheRows& rows, int token, int page, uint32_t to) const {
        const int tokens = args.cache.page_tokens;
        const uint8_t* const first = args.cache.pool + rows.first + key_head * rows.head_bytes;
        const auto bytes = static_cast<int64_t>(args.cache.page_bytes);
        if (tokens % kDecodeTokens == 0) {
            const uint8_t* const at = first + page * bytes + token % tokens * rows.token_bytes;
            CachedRows::bring([&](int t) { return at + t * static_cast<int>(rows.token_bytes); }, end - token, to);
        } else {
            CachedRows::bring(
                [&](int t) {
                    const int known = min(token + t, end - 1);
                    return first + place_of(known) * bytes + known % tokens * rows.token_bytes;
                },
                end - token, to);
        }
    }
};

// A block: (piece of the cache, key head and 8 of its query vectors, sequence). Vector v is row v / heads of a key
// head.
template <KvFormat kFormat, int kHead, int kWarps, int kStages>
__global__ void __launch_bounds__(32 * kWarps) decode_kernel(const __grid_constant__ DecodeArgs args) {
    using Tile = DecodeTile<kFormat, kHead, kWarps, kStages>;
    extern __shared__ __align__(128) uint8_t ring[];
    const AttendArgs& attend = args.attend;
    let_next_begin();
    const SequencePart part = attend.sequences.at(blockIdx.z);
    const int per_key_head = attend.heads / attend.key_heads;
    const int key_head = blockIdx.y / args.vector_parts;
    const int first_vector = blockIdx.y % args.vector_parts * kDecodeVectors;
    const DecodePieces pieces(args, part);
    if (part.count > kFewRows || first_vector >= part.count * per_key_head ||
        static_cast<int>(blockIdx.x) >= pieces.count()) {
        return wait_for_previous();
    }
    const int first = pieces.first + blockIdx.x * pieces.piece, end = min(first + pieces.piece, pieces.end);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int tiles = (end - first + kDecodeTokens - 1) / kDecodeTokens;
    const int vectors = min(kDecodeVectors, part.count * per_key_head - first_vector);

    const uint32_t mine = static_cast<uint32_t>(__cvta_generic_to_shared(ring)) + warp * kStages * 2 * Tile::kTileBytes;
    const TokenRows rows{attend, part.sequence, key_head, pieces.end};
    int place = rows.place_of(first + warp * kDecodeTokens);
    const auto bring = [&](int tile, int stage) {
        const int token = first + tile * kDecodeTokens;
        if (tile < tiles) {
            const uint32_t to = mine + stage * 2 * Tile::kTileBytes;
            rows.template bring<typename Tile::CachedRows>(attend.key_a, token, place, to);
            rows.template bring<typename Tile::CachedRows>(attend.value, token, place, to + Tile::kTileBytes);
        }
        copies_end();
        place = rows.place_of(token + kWarps * kDecodeTokens);
    };
    const auto row_of = [&](int v) { return (first_vector + v) / per_key_head; };
    const auto head_of = [&](int v) { return key_head * per_key_head + (first_vector + v) % per_key_head; };
    DecodeRunning<kFormat, kHead> running;
    running.begin();
    int starts[2], ends[2];
#pragma unroll
    for (int e = 0; e < 2; ++e) {
        const int seen = part.position + row_of(min(lane % 4 * 2 + e, vectors - 1)) + 1;
        starts[e] = attend.first_seen(seen), ends[e] = min(seen, end);
    }
    // Tokens of earlier steps are asked for before the kernel before has ended. The first turn is over no token:
    // instructions are read then, which takes longer than what they do.
    constexpr int kAhead = kStages - 1;
    const bool all_there = first + (warp + (kAhead - 1) * kWarps + 1) * kDecodeTokens <= part.position;
    int brought = warp, to_stage = 0, stage = kStages - 1;
#pragma unroll 1
    for (int tile = warp - kWarps; tile < tiles; tile += kWarps) {
        const bool dry = tile < 0;
        if (tile == warp) wait_for_previous();
#pragma unroll 1
        for (; brought <= tile + kAhead * kWarps && (!dry || all_there); brought += kWarps) {
            bring(brought, to_stage);
            to_stage = (to_stage + 1) % kStages;
        }
        if (tile <= warp) {
            const int loaded = lane / 4;
            const float* const query = attend.query_a[part.first_row + row_of(loaded)] +
                                       static_cast<int64_t>(head_of(loaded)) * attend.query_a_head;
            running.load_queries(!dry && loaded < vectors ? query : nullptr, attend.scale * kLog2E);
        }
        copies_wait<kAhead>();
        __syncwarp();
        const int at = first + tile * kDecodeTokens;
        const int from[2] = {starts[0] - at, starts[1] - at};
        const int to[2] = {dry ? 0 : ends[0] - at, dry ? 0 : ends[1] - at};
        const uint32_t keys = mine + stage * 2 * Tile::kTileBytes;
        running.add(keys, keys + Tile::kTileBytes, from, to);
        if (dry) running.begin();
        stage = (stage + 1) % kStages;
        __syncwarp();
    }
    wait_for_previous();
    copies_wait<0>();
    __syncthreads();

    // The warps' parts meet in shared memory, in their order.
    auto* const merge = reinterpret_cast<float*>(ring);  // [warp][vector][largest, total, sums]
    constexpr int kWidth = kHead + 2;
#pragma unroll
    for (int e = 0; e < 2; ++e) {
        float total = running.total[e];
        for (int step = 4; step < 32; step *= 2) total += __shfl_xor_sync(kAllLanes, total, step);
        float* const to = merge + (warp * kDecodeVectors + lane % 4 * 2 + e) * kWidth;
        if (lane < 4) to[0] = running.largest[e], to[1] = total;
#pragma unroll
        for (int i = 0; i < kHead / 8; ++i) {
            to[2 + Tile::CachedRows::value_column(i / 4, i / 2 % 2, i % 2)] =
                running.sums[i / 4][i / 2 % 2][i % 2 * 2 + e];
        }
    }
    __syncthreads();
    for (int v = warp; v < vectors; v += kWarps) {
        float largest = -INFINITY, total = 0, weights[kWarps];
#pragma unroll
        for (int w = 0; w < kWarps; ++w) largest = fmaxf(largest, merge[(w * kDecodeVectors + v) * kWidth]);
#pragma unroll
        for (int w = 0; w < kWarps; ++w) {
            const float* const from = merge + (w * kDecodeVectors + v) * kWidth;
            weights[w] = from[0] == -INFINITY ? 0.0f : power_of_two(from[0] - largest);
            total = fmaf(weights[w], from[1], total);
        }
        float* const to = attend.partial_at(part, row_of(v), head_of(v)) + blockIdx.x * kWidth;
        if (lane == 0) to[0] = largest, to[1] = total;
#pragma unroll 2
        for (int i = lane; i < kHead; i += 32) {
            float sum = 0;
#pragma unroll
            for (int w = 0; w < kWarps; ++w) {
                sum = fmaf(weights[w], merge[(w * kDecodeVectors + v) * kWidth + 2 + i], sum);
            }
            to[2 + i] = sum;
        }
    }
}

constexpr int kJoinThreads = 256, kJoinColumns = 64, kMostDecodePieces = 64;

// A block: (row, head, columns). Its threads are columns times runs of pieces, each added in order.
__global__ void __launch_bounds__(kJoinThreads) join_decoded_kernel(const __grid_constant__ DecodeArgs args) {
    constexpr int kRuns = kJoinThreads / kJoinColumns, kEach = kMostDecodePieces / kRuns;
    __shared__ float weights[kMostDecodePieces], run_sums[kJoinThreads], all_total;
    const AttendArgs& attend = args.attend;
    const int row = blockIdx.x, head = blockIdx.y, thread = threadIdx.x;
    let_next_begin();
    const SequencePart part = attend.sequences.of_row(row);
    if (part.sequence < 0 || part.count > kFewRows) return wait_for_previous();
    const DecodePieces pieces(args, part);
    const int width = attend.partial_width();
    const float* const from = attend.partial_at(part, row - part.first_row, head);
    const int column = blockIdx.z * kJoinColumns + thread % kJoinColumns, run = thread / kJoinColumns;
    // The first time over no piece, so that instructions are read while the kernel before still runs.
#pragma unroll 1
    for (int count = 0;; count = pieces.count()) {
        if (count > 0) wait_for_previous();
        float sums[kEach];  // asked for before the weights are known
#pragma unroll
        for (int i = 0; i < kEach; ++i) {
            const int p = run + i * kRuns;
            sums[i] = p < count ? from[p * width + 2 + column] : 0.0f;
        }
        if (thread < 32) {
            const float sink = attend.sinks == nullptr ? -INFINITY : attend.sinks[head] * kLog2E;
            const bool has_first = thread < count, has_second = thread + 32 < count;
            const float first = has_first ? from[thread * width] : -INFINITY;
            const float second = has_second ? from[(thread + 32) * width] : -INFINITY;
            const float first_total = has_first ? from[thread * width + 1] : 0.0f;
            const float second_total = has_second ? from[(thread + 32) * width + 1] : 0.0f;
            const float largest = fmaxf(sink, warp_max(fmaxf(first, second)));
            weights[thread] = power_of_two(first - largest);
            weights[thread + 32] = power_of_two(second - largest);
            const float total = warp_sum(weights[thread] * first_total + weights[thread + 32] * second_total);
            if (thread == 0) all_total = total + power_of_two(sink - largest);
        }
        __syncthreads();
        float sum = 0;
#pragma unroll
        for (int i = 0; i < kEach; ++i) sum = fmaf(weights[run + i * kRuns], sums[i], sum);
        run_sums[thread] = sum;
        __syncthreads();
#pragma unroll
        for (int r = 1; r < kRuns; ++r) sum += run_sums[r * kJoinColumns + thread % kJoinColumns];
        if (count == 0) continue;
        const int64_t place = static_cast<int64_t>(head) * attend.value.width + column;
        float value = sum / all_total;
        if (args.gate.first != nullptr) value *= sigmoid(args.gate[row][place]);
        if (run == 0) attend.out[row][place] = value;
        return;
    }
}

// Pieces that no sequence of the batch has more of.
inline int plan_pieces(const DecodeArgs& args, int64_t most_tokens) {
    return static_cast<int>(
        std::min<int64_t>(args.most_pieces, (most_tokens + kDecodeTokens + args.least_piece - 1) / args.least_piece));
}

template <KvFormat kFormat, int kHead, int kWarps, int kStages>
void launch_decode(Device& device, const DecodeArgs& args) {
    constexpr auto kKernel = decode_kernel<kFormat, kHead, kWarps, kStages>;
    constexpr int kBytes = DecodeTile<kFormat, kHead, kWarps, kStages>::kSharedBytes;
    check(cudaFuncSetAttribute(kKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
          "shared memory of attention");
    const AttendArgs& attend = args.attend;
    const dim3 pieces(static_cast<unsigned>(attend.splits), static_cast<unsigned>(attend.key_heads * args.vector_parts),
                      static_cast<unsigned>(attend.sequences.count));
    launch_early(device, {pieces, 32 * kWarps, kBytes}, kKernel, args);
    const dim3 columns(static_cast<unsigned>(attend.rows), static_cast<unsigned>(attend.heads),
                       static_cast<unsigned>(attend.value.width / kJoinColumns));
    launch_early(device, {columns, kJoinThreads}, join_decoded_kernel, args);
}

}  // namespace sluice::cuda
