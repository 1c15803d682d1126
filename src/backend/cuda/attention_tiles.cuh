#pragma once

// Attention of many new rows in tiles: 64 query vectors a group of four warps meet some keys and values at a time. What
// kernels of tensor cores share, whatever makes the products.

#include "backend/cuda/attention.h"

namespace sluice::cuda {

struct PrefillArgs {
    AttendArgs attend;
    int fold_bits;  // 2^fold_bits heads of a key head are vectors of one tile
    int row_tiles;  // no fewer than there are, for a group of heads
    int head_groups;
    bool aligned;      // queries, in 16 bytes
    bool out_aligned;  // in 8 bytes
    // A tile's keys are cut in so many pieces or fewer. More than one are put to `partial`, per row of the batch, head
    // and piece as AttendArgs has it, and joined.
    int pieces;
    float* partial;

    __host__ __device__ int work() const { return row_tiles * head_groups * pieces; }
    __device__ float* partial_at(int row, int head, int piece) const {
        return partial + ((static_cast<int64_t>(row) * attend.heads + head) * pieces + piece) * attend.partial_width();
    }
};

constexpr int kPrefillBoxRows = 16;

// kGroups times 64 query vectors and kKeys keys.
template <int kHeadSize, int kKeyCount, int kGroupCount, int kValueSize = kHeadSize>
struct PrefillTile {
    static constexpr int kHead = kHeadSize, kValue = kValueSize, kKeys = kKeyCount, kGroups = kGroupCount;
    static constexpr int kRows = 64 * kGroups, kThreads = 128 + 128 * kGroups;
    static constexpr int kStages = 2;
    static constexpr int kRuns = kHead / 64,
                         kValueRuns = kValue / 64;  // of 128 bytes, as copies and products take them
    static constexpr int kQueryBytes = 64 * kHead * 2, kKeyBytes = kKeys * kHead * 2, kValueBytes = kKeys * kValue * 2;
    static constexpr int kBytes = kGroups * kQueryBytes + kStages * (kKeyBytes + kValueBytes);
    static constexpr int kSharedBytes = kBytes + 1024;  // to begin at a multiple of 1024
};

// The keys of a tile that begins with row `first_row` of its sequence.
template <typename Tile>
struct PrefillKeys {
    int rows;          // of the tile
    int first, tiles;  // of all pieces
    int piece;         // tiles of one

    __device__ PrefillKeys(const PrefillArgs& args, const SequencePart& part, int first_row) {
        rows = min(Tile::kRows >> args.fold_bits, part.count - first_row);
        const int position = part.position + first_row;
        first = args.attend.first_seen(position + 1) / kPrefillBoxRows * kPrefillBoxRows;
        tiles = (position + rows - first + Tile::kKeys - 1) / Tile::kKeys;
        piece = (tiles + args.pieces - 1) / args.pieces;
    }
    __device__ int pieces() const { return (tiles + piece - 1) / piece; }
};

// A tile of query vectors: vector v is token first_token_row + (v >> fold_bits), head first_head + the rest.
struct PrefillWork {
    SequencePart part;
    int first_row, rows;  // of the sequence's new ones
    int first_head, key_head;
    int piece, first_key, tiles;  // of keys
    int tokens;                   // of the sequence
};

template <typename Tile>
__device__ inline bool prefill_work(const PrefillArgs& args, int index, PrefillWork& work) {
    const int tile_rows = Tile::kRows >> args.fold_bits;
    int first = 0;
    work.piece = index % args.pieces;
    index /= args.pieces;
    work.part = args.attend.sequences.of_tile(index / args.head_groups, tile_rows, first);
    if (work.part.sequence < 0 || work.part.count <= kFewRows) return false;
    // The last rows see the most.
    work.first_row = (work.part.count - 1) / tile_rows * tile_rows - first;
    work.first_head = index % args.head_groups << args.fold_bits;
    work.key_head = work.first_head / (args.attend.heads / args.attend.key_heads);
    const PrefillKeys<Tile> keys(args, work.part, work.first_row);
    if (work.piece >= keys.pieces()) return false;
    work.rows = keys.rows;
    work.first_key = keys.first + work.piece * keys.piece * Tile::kKeys;
    work.tiles = min(keys.piece, keys.tiles - work.piece * keys.piece);
    work.tokens = work.part.position + work.part.count;
    return true;
}

// A group's 64 query vectors as BF16; zeros behind the last. A warp has whole rows, a lane 8 numbers at a time.
template <int kHead>
__device__ inline void stage_queries(const PrefillArgs& args, const PrefillWork& work, int group, char* to) {
    constexpr int kUnits = kHead / 8, kVectors = 256 / kHead;  // that a warp has at once
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
    const int unit = lane % kUnits;
    if (lane >= kUnits * kVectors) return;
#pragma unroll 4
    for (int i = 0; i < 16; i += kVectors) {
        const int r = warp * 16 + i + lane / kUnits, v = group * 64 + r, row = v >> args.fold_bits;
        float x[8] = {};
        if (row < work.rows) {
            const int head = work.first_head + (v & ((1 << args.fold_bits) - 1));
            const float* const from = args.attend.query_a[work.part.first_row + work.first_row + row] +
                                      head * args.attend.query_a_head + unit * 8;
            if (args.aligned) {
                const float4 a = *reinterpret_cast<const float4*>(from), b = *reinterpret_cast<const float4*>(from + 4);
                x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w, x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
            } else {
#pragma unroll
                for (int j = 0; j < 8; ++j) x[j] = from[j];
            }
        }
        *reinterpret_cast<uint4*>(to + unit / 8 * 64 * 128 + r * 128 + ((unit % 8) ^ (r % 8)) * 16) = uint4{
            rounded_pair(x[0], x[1]), rounded_pair(x[2], x[3]), rounded_pair(x[4], x[5]), rounded_pair(x[6], x[7])};
    }
}

// What a thread keeps of its two query vectors, 8 apart: of scores and sums it has columns 8 j + 2 (lane % 4) + {0, 1}.
template <typename Tile>
struct PrefillRunning {
    static constexpr int kValue = Tile::kValue, kKeys = Tile::kKeys;
    float largest[2], total[2], rescale[2];
    float sums[kValue / 2], scores[kKeys / 2];
    uint32_t weights[kKeys / 4];

    __device__ __forceinline__ void begin() {
#pragma unroll
        for (int r = 0; r < 2; ++r) largest[r] = -INFINITY, total[r] = 0;
#pragma unroll
        for (int i = 0; i < kValue / 2; ++i) sums[i] = 0;
    }

    // Scores become weights, relative to the largest so far.
    __device__ __forceinline__ void weigh(float scale) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            float now = largest[r];
#pragma unroll
            for (int i = 0; i < kKeys / 4; ++i) now = fmaxf(now, scores[i / 2 * 4 + 2 * r + i % 2]);
            now = fmaxf(now, __shfl_xor_sync(kAllLanes, now, 1));
            now = fmaxf(now, __shfl_xor_sync(kAllLanes, now, 2));
            const float base = now == -INFINITY ? 0.0f : now * scale;
            rescale[r] = power_of_two(fmaf(largest[r], scale, -base));
            largest[r] = now;
            float sum = 0;
#pragma unroll
            for (int i = 0; i < kKeys / 4; ++i) {
                float& score = scores[i / 2 * 4 + 2 * r + i % 2];
                score = power_of_two(fmaf(score, scale, -base));
                sum += score;
            }
            total[r] = fmaf(total[r], rescale[r], sum);
        }
    }

    __device__ __forceinline__ void round_weights() {
#pragma unroll
        for (int i = 0; i < kKeys / 4; ++i) weights[i] = rounded_pair(scores[2 * i], scores[2 * i + 1]);
    }

    __device__ __forceinline__ void rescale_sums() {
#pragma unroll
        for (int i = 0; i < kValue / 2; ++i) sums[i] *= rescale[i / 2 % 2];
    }
};

// Which keys the vectors of a thread see, and those that all of the tile see.
template <typename Tile>
struct SeenKeys {
    const AttendArgs& args;
    int ends[2], all_see_from, all_see_to;

    __device__ __forceinline__ SeenKeys(const PrefillArgs& tiles, const PrefillWork& work, int group)
        : args(tiles.attend) {
        const int position = work.part.position + work.first_row;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const int v = group * 64 + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4 + 8 * r;
            ends[r] = position + min(v >> tiles.fold_bits, work.rows - 1) + 1;
        }
        all_see_to = position + 1, all_see_from = args.first_seen(position + work.rows);
    }

    // Scores of other keys, from `first` on, become -inf.
    __device__ __forceinline__ void hide(PrefillRunning<Tile>& running, int first) const {
        if (first + Tile::kKeys <= all_see_to && first >= all_see_from) return;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const int from = args.first_seen(ends[r]) - first, to = ends[r] - first;
#pragma unroll
            for (int i = 0; i < Tile::kKeys / 4; ++i) {
                const int column = i / 2 * 8 + threadIdx.x % 4 * 2 + i % 2;
                if (column >= to || column < from) running.scores[i / 2 * 4 + 2 * r + i % 2] = -INFINITY;
            }
        }
    }
};

// Sums over totals to their places.
template <typename Tile>
__device__ inline void put_out(const PrefillArgs& args, const PrefillWork& work, PrefillRunning<Tile>& running,
                               int group) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        float total = running.total[r];
        total += __shfl_xor_sync(kAllLanes, total, 1);
        total += __shfl_xor_sync(kAllLanes, total, 2);
        const int v = group * 64 + warp * 16 + lane / 4 + 8 * r, row = v >> args.fold_bits;
        if (row >= work.rows) continue;
        const int head = work.first_head + (v & ((1 << args.fold_bits) - 1));
        const int64_t at = work.part.first_row + work.first_row + row;
        float* out = args.attend.out[at] + static_cast<int64_t>(head) * Tile::kValue;
        float inverse = 1;
        if (args.pieces > 1) {
            out = args.partial_at(static_cast<int>(at), head, work.piece);
            if (lane % 4 == 0) out[0] = running.largest[r], out[1] = total;
            out += 2;
        } else {
            if (args.attend.sinks != nullptr) {
                total += power_of_two((args.attend.sinks[head] - running.largest[r] * args.attend.scale) * kLog2E);
            }
            inverse = 1.0f / total;
        }
        out += lane % 4 * 2;
#pragma unroll
        for (int i = 0; i < Tile::kValue / 8; ++i) {
            const float low = running.sums[4 * i + 2 * r] * inverse, high = running.sums[4 * i + 2 * r + 1] * inverse;
            if (args.out_aligned || args.pieces > 1) {
                *reinterpret_cast<float2*>(out + 8 * i) = float2{low, high};
            } else {
                out[8 * i] = low, out[8 * i + 1] = high;
            }
        }
    }
}

// A block: (row, head), a thread per column. The pieces in their order.
template <typename Tile>
__global__ void __launch_bounds__(Tile::kValue) join_prefilled_kernel(const __grid_constant__ PrefillArgs args) {
    const int row = blockIdx.x, head = blockIdx.y, tile_rows = Tile::kRows >> args.fold_bits;
    const SequencePart part = args.attend.sequences.of_row(row);
    if (part.sequence < 0 || part.count <= kFewRows) return;
    const PrefillKeys<Tile> keys(args, part, (row - part.first_row) / tile_rows * tile_rows);
    const float scale = args.attend.scale * kLog2E;
    float largest = args.attend.sinks == nullptr ? -INFINITY : args.attend.sinks[head] * kLog2E;
    float total = args.attend.sinks == nullptr ? 0.0f : 1.0f, sum = 0;
    for (int piece = 0; piece < keys.pieces(); ++piece) {
        const float* const partial = args.partial_at(row, head, piece);
        const float found = partial[0] * scale;
        if (found == -INFINITY) continue;
        const float now = fmaxf(largest, found), old = power_of_two(largest - now), weight = power_of_two(found - now);
        total = fmaf(partial[1], weight, total * old);
        sum = fmaf(partial[2 + threadIdx.x], weight, sum * old);
        largest = now;
    }
    args.attend.out[row][static_cast<int64_t>(head) * Tile::kValue + threadIdx.x] = sum / total;
}

// Nothing where keys are in one piece.
template <typename Tile>
void launch_join(cudaStream_t stream, const PrefillArgs& args) {
    if (args.pieces == 1) return;
    const dim3 rows(static_cast<unsigned>(args.attend.rows), static_cast<unsigned>(args.attend.heads));
    join_prefilled_kernel<Tile><<<rows, Tile::kValue, 0, stream>>>(args);
    check_launch("attention");
}

}  // namespace sluice::cuda
