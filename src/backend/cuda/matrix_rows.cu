// What comes before products on tensor cores: rows of x in BF16, tiles of rows from the counts of jobs.

#include "backend/cuda/matrix_rows.h"
#include "backend/cuda/product.cuh"

namespace sluice::cuda {

namespace {

constexpr int kRoundThreads = 256, kColumnsOfThread = 8;

__device__ __forceinline__ uint32_t rounded_pair(float low, float high) {
    uint32_t pair = 0;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

// Eight columns from `first` on.
__device__ __forceinline__ void load_eight(const float* x, int64_t first, int64_t columns, float (&out)[8]) {
    if (first + 8 <= columns && reinterpret_cast<uintptr_t>(x + first) % sizeof(float4) == 0) {
        const float4 low = *reinterpret_cast<const float4*>(x + first);
        const float4 high = *reinterpret_cast<const float4*>(x + first + 4);
        out[0] = low.x, out[1] = low.y, out[2] = low.z, out[3] = low.w;
        out[4] = high.x, out[5] = high.y, out[6] = high.z, out[7] = high.w;
        return;
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) out[i] = first + i < columns ? x[first + i] : 0.0f;
}

// A thread: eight columns of a row.
__global__ void __launch_bounds__(kRoundThreads)
    round_kernel(RowsToRound rows, const __grid_constant__ Product product) {
    const int64_t padded = (rows.columns + kChunkColumns - 1) / kChunkColumns * kChunkColumns;
    const int64_t eights = padded / kColumnsOfThread, all = rows.parts * rows.count * eights;
    const int64_t index = static_cast<int64_t>(blockIdx.x) * kRoundThreads + threadIdx.x;
    if (index >= all) return;
    const int64_t row = index / eights, first = index % eights * kColumnsOfThread;
    const int64_t from = row / rows.count * rows.part_step + row % rows.count * rows.stride;
    float values[8];
    load_eight(rows.x + from, first, rows.columns, values);
    if (rows.up != nullptr) {
        float ups[8];
        load_eight(rows.up + from, first, rows.columns, ups);
#pragma unroll
        for (int i = 0; i < 8; ++i) values[i] = activated(product, values[i], ups[i]);
    }
    auto* const chunk = reinterpret_cast<uint32_t*>(rows.out + row * padded + first / kChunkColumns * kChunkColumns);
    const int eight = first % kChunkColumns / 8;
    // Word 8 s + 4 h + c has positions 16 s + 8 h + 2 c and the next.
    if (rows.order == ColumnOrder::kNibbles) {
#pragma unroll
        for (int s = 0; s < 4; ++s) chunk[8 * s + eight % 2 * 4 + eight / 2] = rounded_pair(values[s], values[s + 4]);
    } else if (rows.order == ColumnOrder::kPairs) {
#pragma unroll
        for (int i = 0; i < 4; ++i)
            chunk[8 * (eight / 4 * 2 + i / 2) + i % 2 * 4 + eight % 4] = rounded_pair(values[2 * i], values[2 * i + 1]);
    } else {
        reinterpret_cast<uint4*>(chunk)[eight] =
            uint4{rounded_pair(values[0], values[1]), rounded_pair(values[2], values[3]),
                  rounded_pair(values[4], values[5]), rounded_pair(values[6], values[7])};
    }
}

constexpr int kListThreads = 1024;

// Rows of a job, and its tiles of each width.
struct Counted {
    int rows = 0, tiles[TileLists::kWidths] = {};

    __device__ void add(const Counted& other) {
        rows += other.rows;
#pragma unroll
        for (int w = 0; w < TileLists::kWidths; ++w) tiles[w] += other.tiles[w];
    }
    __device__ Counted from_lane_below(int distance) const {
        Counted other;
        other.rows = __shfl_up_sync(kAllLanes, rows, distance);
#pragma unroll
        for (int w = 0; w < TileLists::kWidths; ++w) {
            other.tiles[w] = __shfl_up_sync(kAllLanes, tiles[w], distance);
        }
        return other;
    }
};

// Which list the tile that begins at row `first` of a job belongs to.
__device__ __forceinline__ int list_of(int left, int widest) {
    int list = 0;
    while (list < widest && left > TileLists::rows(list)) ++list;
    return list;
}

template <typename Visit>
__device__ __forceinline__ void visit_tiles(int rows, int widest, const Visit& visit) {
    for (int first = 0; first < rows;) {
        const int list = list_of(rows - first, widest), count = min(TileLists::rows(list), rows - first);
        visit(list, first, count);
        first += count;
    }
}

// One block: a thread per job, 1024 jobs after the other.
__global__ void __launch_bounds__(kListThreads)
    list_kernel(const __grid_constant__ Product product, JobRange range, TileLists lists) {
    __shared__ Counted of_warps[kListThreads / 32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    Counted before;  // this round of jobs
    for (int begin = 0; begin < range.jobs; begin += kListThreads) {
        const int job = begin + static_cast<int>(threadIdx.x);
        const bool listed = job >= range.first && job < range.end;
        Counted mine;
        if (job < range.jobs) mine.rows = (product.table != nullptr ? product.table : product.jobs)[job].count;
        if (listed) visit_tiles(mine.rows, lists.widest, [&](int list, int, int) { ++mine.tiles[list]; });
        Counted sum = mine;
        for (int step = 1; step < 32; step *= 2) {
            const Counted below = sum.from_lane_below(step);
            if (lane >= step) sum.add(below);
        }
        if (lane == 31) of_warps[warp] = sum;
        __syncthreads();
        // Up to this job, without it.
        Counted place = before;
        for (int w = 0; w < warp; ++w) place.add(of_warps[w]);
        const Counted below = sum.from_lane_below(1);
        if (lane > 0) place.add(below);
        if (listed) {
            visit_tiles(mine.rows, lists.widest, [&](int list, int first, int count) {
                lists.tiles[list][place.tiles[list]++] = {job, first, count, place.rows};
            });
        }
        for (const Counted& each : of_warps) before.add(each);
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        for (int w = 0; w < TileLists::kWidths; ++w) lists.counts[w] = before.tiles[w];
    }
}

// Of one list at most: every job may leave a tile, the others are full.
int64_t most_tiles(int jobs, int64_t all_rows) {
    return jobs + all_rows / TileLists::rows(0);
}

}  // namespace

uint64_t tile_list_bytes(int jobs, int64_t all_rows) {
    return TileLists::kWidths * (static_cast<uint64_t>(most_tiles(jobs, all_rows)) * sizeof(RowTile)) + sizeof(RowTile);
}

TileLists tile_lists_at(std::byte* place, int jobs, int64_t all_rows, int widest) {
    TileLists lists{};
    lists.counts = reinterpret_cast<int32_t*>(place);
    auto* next = reinterpret_cast<RowTile*>(place) + 1;
    for (RowTile*& each : lists.tiles) {
        each = next;
        next += most_tiles(jobs, all_rows);
    }
    lists.widest = widest;
    return lists;
}

void list_tiles(Device& device, const Product& product, const JobRange& range, const TileLists& lists) {
    list_kernel<<<1, kListThreads, 0, device.stream()>>>(product, range, lists);
    check_launch("listing tiles");
}

void round_rows(Device& device, const RowsToRound& rows, const Product& product) {
    const int64_t padded = (rows.columns + kChunkColumns - 1) / kChunkColumns * kChunkColumns;
    const int64_t threads = rows.parts * rows.count * (padded / kColumnsOfThread);
    round_kernel<<<blocks_for(threads, kRoundThreads), kRoundThreads, 0, device.stream()>>>(rows, product);
    check_launch("rounding rows");
}

}  // namespace sluice::cuda
