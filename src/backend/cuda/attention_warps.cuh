#pragma once

// Attention of many new rows where four warps are no group that multiplies together: each makes the products of its 16
// query vectors, keys and values come by plain copies of 16 bytes.

#include "backend/cuda/attention_tiles.cuh"
#include "backend/cuda/tensor_cores.cuh"

namespace sluice::cuda {

constexpr int kWarpTileThreads = 128;

// Where 16-byte unit `unit` of row `row` is in a tile of so many rows: in runs of 64 numbers, units exchanged by the
// row's number modulo 8.
__device__ __forceinline__ uint32_t unit_at(uint32_t tile, int rows, int row, int unit) {
    return tile + unit / 8 * rows * 128 + row * 128 + ((unit % 8) ^ (row % 8)) * 16;
}

// Tokens from `first` on, zeros behind the sequence's end.
template <typename Tile>
__device__ inline void copy_rows(const AttendArgs& args, const CacheRows& rows, const PrefillWork& work, int first,
                                 uint32_t to) {
    constexpr int kUnits = Tile::kHead / 8;
#pragma unroll 4
    for (int i = threadIdx.x; i < Tile::kKeys * kUnits; i += kWarpTileThreads) {
        const int t = i / kUnits, unit = i % kUnits, token = min(first + t, work.tokens - 1);
        const uint8_t* const row = row_at(args, rows, work.part.sequence, work.key_head, token);
        copy_16(unit_at(to, Tile::kKeys, t, unit), row + unit * 16, first + t < work.tokens);
    }
}

template <typename Tile>
__device__ __forceinline__ void multiply_scores(PrefillRunning<Tile>& running, uint32_t queries, uint32_t keys) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
    for (float& score : running.scores) score = 0;
#pragma unroll
    for (int k = 0; k < Tile::kHead / 16; ++k) {
        uint32_t a[4];
        load_matrices_at(unit_at(queries, 64, warp * 16 + lane % 16, k * 2 + lane / 16), a);
#pragma unroll
        for (int j = 0; j < Tile::kKeys / 16; ++j) {
            uint32_t b[4];
            load_matrices_at(unit_at(keys, Tile::kKeys, j * 16 + lane / 16 * 8 + lane % 8, k * 2 + lane / 8 % 2), b);
            add_product(running.scores + 8 * j, a, b[0], b[1]);
            add_product(running.scores + 8 * j + 4, a, b[2], b[3]);
        }
    }
}

template <typename Tile>
__device__ __forceinline__ void multiply_values(PrefillRunning<Tile>& running, uint32_t values) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < Tile::kKeys / 16; ++k) {
#pragma unroll
        for (int j = 0; j < Tile::kHead / 16; ++j) {
            uint32_t b[4];
            load_turned_matrices_at(unit_at(values, Tile::kKeys, k * 16 + lane % 16, j * 2 + lane / 16), b);
            add_product(running.sums + 8 * j, running.weights + 4 * k, b[0], b[1]);
            add_product(running.sums + 8 * j + 4, running.weights + 4 * k, b[2], b[3]);
        }
    }
}

// A block has one tile of query vectors and a ring of two tiles of keys and values.
template <typename Tile>
__global__ void __launch_bounds__(kWarpTileThreads) warp_tiles_kernel(const __grid_constant__ PrefillArgs args) {
    extern __shared__ __align__(128) char tiles[];
    PrefillWork work;
    if (!prefill_work<Tile>(args, blockIdx.x, work)) return;
    const auto queries = static_cast<uint32_t>(__cvta_generic_to_shared(tiles));
    const uint32_t ring = queries + Tile::kQueryBytes;
    const auto bring = [&](int tile) {
        if (tile >= 0) {
            const uint32_t to = ring + tile % 2 * 2 * Tile::kKeyBytes;
            const int first = work.first_key + tile * Tile::kKeys;
            copy_rows<Tile>(args.attend, args.attend.key_a, work, first, to);
            copy_rows<Tile>(args.attend, args.attend.value, work, first, to + Tile::kKeyBytes);
        }
        copies_end();
    };
    bring(work.tiles - 1);
    stage_queries<Tile::kHead>(args, work, 0, tiles);
    const SeenKeys<Tile> seen(args, work, 0);
    PrefillRunning<Tile> running;
    running.begin();
    for (int tile = work.tiles - 1; tile >= 0; --tile) {
        bring(tile - 1);
        copies_wait<1>();
        __syncthreads();
        const uint32_t keys = ring + tile % 2 * 2 * Tile::kKeyBytes;
        multiply_scores(running, queries, keys);
        seen.hide(running, work.first_key + tile * Tile::kKeys);
        running.weigh(args.attend.scale * kLog2E);
        running.rescale_sums();
        running.round_weights();
        multiply_values(running, keys + Tile::kKeyBytes);
        __syncthreads();
    }
    put_out(args, work, running, 0);
}

template <typename Tile>
void launch_warp_tiles(cudaStream_t stream, const PrefillArgs& args) {
    constexpr auto kKernel = warp_tiles_kernel<Tile>;
    check(cudaFuncSetAttribute(kKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kBytes),
          "shared memory of attention");
    kKernel<<<static_cast<unsigned>(args.work()), kWarpTileThreads, Tile::kBytes, stream>>>(args);
    check_launch("attention");
    launch_join<Tile>(stream, args);
}

}  // namespace sluice::cuda
