#pragma once

// Attention of many new rows on Hopper. One warp brings tiles of keys and values by the copy engine; groups of four
// warps have 64 query vectors each: the softmax of one tile is made while its predecessor's weights meet the values.
// A block takes tiles of query vectors in turn, the longest first.

#include <algorithm>

#include "backend/cuda/attention_tiles.cuh"
#include "backend/cuda/hopper_tiles.cuh"

namespace sluice::cuda {

// What a measurement leaves out, to see what it costs.
enum AttentionPart : int { kScores = 1, kSoftmax = 2, kValueSums = 4, kStaging = 8 };

// Tiles in turn, there and back, so that no block has the longest of every round.
__device__ inline int prefill_index(int round) {
    return round * static_cast<int>(gridDim.x) +
           static_cast<int>(round % 2 == 0 ? blockIdx.x : gridDim.x - 1 - blockIdx.x);
}

template <int kStages>
struct PrefillBarriers {
    uint64_t key_full[kStages], key_empty[kStages], value_full[kStages], value_empty[kStages], edge;
};

// The copying warp. Lane i has box i of a tile: 16 tokens of 64 numbers.
template <typename Tile, int kLeftOut>
__device__ inline void bring_tiles(const PrefillArgs& args, const CUtensorMap& key_map, const CUtensorMap& value_map,
                                   char* keys, char* values, PrefillBarriers<Tile::kStages>& barriers) {
    constexpr int kKeys = Tile::kKeys, kBoxes = kKeys / kPrefillBoxRows;
    static_assert(kBoxes * Tile::kRuns <= 32);
    const int lane = threadIdx.x % 32, box_row = lane % kBoxes * kPrefillBoxRows, run = lane / kBoxes;
    const int place = run * kKeys * 128 + box_row * 128;
    const CachePages& cache = args.attend.cache;
    uint32_t step = 0, edges = 0;
    for (int round = 0; round * static_cast<int>(gridDim.x) < args.work(); ++round) {
        PrefillWork work;
        if (!prefill_work<Tile>(args, prefill_index(round), work)) continue;
        for (int tile = work.tiles - 1; tile >= 0; --tile, ++step) {
            const uint32_t stage = step % Tile::kStages, parity = step / Tile::kStages % 2;
            const int first = work.first_key + tile * kKeys, token = first + box_row;
            int page = -1, row = 0;  // outside: zeros
            if (token < work.tokens) {
                page = cache.pages[work.part.sequence][token / cache.page_tokens];
                row = work.key_head * cache.page_tokens + token % cache.page_tokens;
            }
            barrier_wait(&barriers.key_empty[stage], parity ^ 1);
            if (kLeftOut & kStaging) {
                if (lane == 0) barrier_arrive(&barriers.key_full[stage]);
            } else {
                if (lane == 0) barrier_expect(&barriers.key_full[stage], Tile::kKeyBytes);
                __syncwarp();
                if (run < Tile::kRuns) {
                    copy_box(key_map, keys + stage * Tile::kKeyBytes + place, &barriers.key_full[stage], run * 64, row,
                             page);
                }
            }
            barrier_wait(&barriers.value_empty[stage], parity ^ 1);
            if (kLeftOut & kStaging) {
                if (lane == 0) barrier_arrive(&barriers.value_full[stage]);
                continue;
            }
            // Behind the sequence's end is anything, NaN too, which no weight of zero hides.
            const int known = work.tokens - first;
            const bool ends = known < kKeys;
            uint64_t* const full = ends ? &barriers.edge : &barriers.value_full[stage];
            char* const to = values + stage * Tile::kValueBytes;
            if (lane == 0) barrier_expect(full, Tile::kValueBytes);
            __syncwarp();
            if (run < Tile::kValueRuns) copy_box(value_map, to + place, full, run * 64, row, page);
            if (!ends) continue;
            barrier_wait(full, edges++ % 2);
            const int boxed = (known + kPrefillBoxRows - 1) / kPrefillBoxRows * kPrefillBoxRows;
            for (int i = lane; i < (boxed - known) * Tile::kValueRuns * 8; i += 32) {
                const int at = known + i / (Tile::kValueRuns * 8), unit = i % (Tile::kValueRuns * 8);
                *reinterpret_cast<uint4*>(to + unit / 8 * kKeys * 128 + at * 128 + unit % 8 * 16) = uint4{};
            }
            publish_shared();
            __syncwarp();
            if (lane == 0) barrier_arrive(&barriers.value_full[stage]);
        }
    }
}

template <typename Tile, int kLeftOut>
__device__ __forceinline__ void start_scores(PrefillRunning<Tile>& running, uint64_t queries, uint64_t keys) {
#pragma unroll
    for (int k = 0; k < (kLeftOut & kScores ? 0 : Tile::kHead / 16); ++k) {
        multiply_rows<Tile::kKeys>(running.scores, queries + k / 4 * (64 * 128 / 16) + k % 4 * 2,
                                   keys + k / 4 * (Tile::kKeys * 128 / 16) + k % 4 * 2, k > 0);
    }
    products_end();
}

template <typename Tile, int kLeftOut>
__device__ __forceinline__ void start_sums(PrefillRunning<Tile>& running, uint64_t values) {
#pragma unroll
    for (int k = 0; k < (kLeftOut & kValueSums ? 0 : Tile::kKeys / 16); ++k) {
        multiply_columns<Tile::kValue>(running.sums, running.weights + 4 * k, values + k * 128);
    }
    products_end();
}

// A group of four warps over all tiles of its block.
template <typename Tile, int kLeftOut>
__device__ inline void attend_tiles(const PrefillArgs& args, char* all_queries, const char* keys, const char* values,
                                    PrefillBarriers<Tile::kStages>& barriers) {
    const int group = threadIdx.x / 128 - 1, lane = threadIdx.x % 32;
    char* const queries = all_queries + group * Tile::kQueryBytes;
    const uint64_t query_tile = tile_descriptor(queries, 16);
    const uint64_t key_tiles = tile_descriptor(keys, 16), value_tiles = tile_descriptor(values, Tile::kKeys * 128);
    const float scale = args.attend.scale * kLog2E;
    uint32_t step = 0;
    PrefillRunning<Tile> running;
    for (int round = 0; round * static_cast<int>(gridDim.x) < args.work(); ++round) {
        PrefillWork work;
        if (!prefill_work<Tile>(args, prefill_index(round), work)) continue;
        sync_threads_of(1 + group, 128);  // all are done with the queries before
        if (!(kLeftOut & kStaging)) stage_queries<Tile::kHead>(args, work, group, queries);
        publish_shared();
        sync_threads_of(1 + group, 128);

        const SeenKeys<Tile> seen(args, work, group);
        const auto weigh = [&](int tile) {
            if (kLeftOut & kSoftmax) {
                running.rescale[0] = running.rescale[1] = 1;
                return;
            }
            seen.hide(running, work.first_key + tile * Tile::kKeys);
            running.weigh(scale);
        };

        running.begin();
        barrier_wait(&barriers.key_full[step % Tile::kStages], step / Tile::kStages % 2);
        products_begin();
        start_scores<Tile, kLeftOut>(running, query_tile, key_tiles + step % Tile::kStages * (Tile::kKeyBytes / 16));
        products_wait<0>();
        made_by_products(running.scores);
        if (lane == 0) barrier_arrive(&barriers.key_empty[step % Tile::kStages]);
        weigh(work.tiles - 1);
        running.round_weights();
        for (int tile = work.tiles - 2; tile >= 0; --tile, ++step) {
            const uint32_t stage = step % Tile::kStages, next = (step + 1) % Tile::kStages;
            barrier_wait(&barriers.key_full[next], (step + 1) / Tile::kStages % 2);
            products_begin();
            start_scores<Tile, kLeftOut>(running, query_tile, key_tiles + next * (Tile::kKeyBytes / 16));
            barrier_wait(&barriers.value_full[stage], step / Tile::kStages % 2);
            products_begin();
            start_sums<Tile, kLeftOut>(running, value_tiles + stage * (Tile::kValueBytes / 16));
            products_wait<1>();
            made_by_products(running.scores);
            if (lane == 0) barrier_arrive(&barriers.key_empty[next]);
            weigh(tile);
            products_wait<0>();
            made_by_products(running.sums);
            if (lane == 0) barrier_arrive(&barriers.value_empty[stage]);
            running.rescale_sums();
            running.round_weights();
        }
        barrier_wait(&barriers.value_full[step % Tile::kStages], step / Tile::kStages % 2);
        products_begin();
        start_sums<Tile, kLeftOut>(running, value_tiles + step % Tile::kStages * (Tile::kValueBytes / 16));
        products_wait<0>();
        made_by_products(running.sums);
        if (lane == 0) barrier_arrive(&barriers.value_empty[step % Tile::kStages]);
        ++step;
        put_out(args, work, running, group);
    }
}

template <typename Tile, int kLeftOut = 0>
__global__ void __launch_bounds__(Tile::kThreads, 1)
    prefill_kernel(const __grid_constant__ CUtensorMap key_map, const __grid_constant__ CUtensorMap value_map,
                   const __grid_constant__ PrefillArgs args) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    extern __shared__ char unaligned[];
    __shared__ PrefillBarriers<Tile::kStages> barriers;
    char* const queries = unaligned + (1024 - shared_address(unaligned) % 1024) % 1024;
    char* const keys = queries + Tile::kGroups * Tile::kQueryBytes;
    char* const values = keys + Tile::kStages * Tile::kKeyBytes;
    if (threadIdx.x == 0) {
        for (int i = 0; i < Tile::kStages; ++i) {
            barrier_init(&barriers.key_full[i], 1);
            barrier_init(&barriers.value_full[i], 1);
            barrier_init(&barriers.key_empty[i], 4 * Tile::kGroups);
            barrier_init(&barriers.value_empty[i], 4 * Tile::kGroups);
        }
        barrier_init(&barriers.edge, 1);
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    if (threadIdx.x < 128) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Tile::kGroups == 2 ? 40 : 32));
        if (threadIdx.x < 32) bring_tiles<Tile, kLeftOut>(args, key_map, value_map, keys, values, barriers);
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Tile::kGroups == 2 ? 232 : 160));
        attend_tiles<Tile, kLeftOut>(args, queries, keys, values, barriers);
    }
#endif
}

// Whether the copy engine can take the cache's rows, and how it takes some of them.
bool can_be_boxed(const AttendArgs& args);
CUtensorMap boxed(const AttendArgs& args, const CacheRows& rows);
// In one piece, which is not put to `partial`.
PrefillArgs tiles_of(const AttendArgs& args, int fold_bits, int tile_rows);
// Whether the program has the kernel for this card: its barriers are in the code for Hopper alone.
bool compiled_for_card(const void* kernel);

template <typename Tile, int kLeftOut = 0>
void launch_prefill(cudaStream_t stream, int multiprocessors, const PrefillArgs& args) {
    constexpr auto kKernel = prefill_kernel<Tile, kLeftOut>;
    check(cudaFuncSetAttribute(kKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kSharedBytes),
          "shared memory of attention");
    const AttendArgs& attend = args.attend;
    const auto blocks = static_cast<unsigned>(std::min(multiprocessors, args.work()));
    kKernel<<<blocks, Tile::kThreads, Tile::kSharedBytes, stream>>>(boxed(attend, attend.key_a),
                                                                    boxed(attend, attend.value), args);
    check_launch("attention");
    launch_join<Tile>(stream, args);
}

}  // namespace sluice::cuda
