// Few rows times weights of MLX's affine 4 bits: see affine_tiles.cuh.

#include <algorithm>

#include "backend/cuda/affine_rows.h"
#include "backend/cuda/affine_tiles.cuh"
#include "backend/cuda/early.cuh"
#include "backend/cuda/shared_memory.h"

namespace sluice::cuda {

namespace {

constexpr int kWarps = 8, kThreads = 32 * kWarps;  // of a block
constexpr uint64_t kMostSharedBytes = 113 << 10;   // so that two blocks share a multiprocessor

constexpr int kStages = 2;  // of a warp

struct RowRange {
    int first, count, first_chunk, chunks;
};

// Some columns of rows of a job, eight numbers by a thread. Loads of several eights are under way at once.
template <int kTokens>
__device__ __forceinline__ void stage(const Product& product, const Job& job, const RowRange& range,
                                      const StagedRows<kTokens>& staged) {
    constexpr int kAtOnce = kTokens < 8 ? 2 : 4;
    const int eights = range.chunks * 8, all = range.count * eights, threads = static_cast<int>(blockDim.x);
    const auto place_of = [&](int i) {
        const int64_t row = range.first + i / eights;
        const int64_t from = job.x_rows == nullptr ? row : job.x_rows[row * job.x_rows_stride];
        return from * product.x_stride + range.first_chunk * kChunk + i % eights * 8;
    };
    for (int first = threadIdx.x; first < all; first += kAtOnce * threads) {
        float x[kAtOnce][8];
#pragma unroll
        for (int n = 0; n < kAtOnce; ++n) {
            if (const int i = first + n * threads; i < all) load_eight(job.x + place_of(i), x[n]);
        }
        if (job.up != nullptr) {
#pragma unroll
            for (int n = 0; n < kAtOnce; ++n) {
                const int i = first + n * threads;
                if (i >= all) break;
                float up[8];
                load_eight(job.up + place_of(i), up);
#pragma unroll
                for (int j = 0; j < 8; ++j) x[n][j] = activated(product, x[n][j], up[j]);
            }
        }
#pragma unroll
        for (int n = 0; n < kAtOnce; ++n) {
            if (const int i = first + n * threads; i < all) stage_eight(staged, i % eights, i / eights, x[n]);
        }
    }
}

__device__ __forceinline__ PackedMatrix matrix_of(const Product& product, const Job& job) {
    const int64_t offset = product.batch > 1 ? blockIdx.z * product.weight_step : 0;
    return {.data = job.data + offset * product.weight.data_row_bytes,
            .groups =
                (threadIdx.x % 32 < kOutputs ? job.scales : job.zero_points) + offset * product.weight.scale_row_bytes,
            .data_row_bytes = static_cast<uint32_t>(product.weight.data_row_bytes),
            .group_row_bytes = static_cast<uint32_t>(product.weight.scale_row_bytes),
            .last_row = job.outputs - 1,
            .chunks = static_cast<int>(product.weight.columns / kChunk),
            .group_shift = product.weight.group_size == kChunk ? 0 : 1};
}

__device__ __forceinline__ void write_sum(const Product& product, const Job& job, int64_t row, int output, float sum) {
    const int64_t out_row = job.out_rows == nullptr ? row : job.out_rows[row * job.out_rows_stride];
    if (job.bias != nullptr) sum += job.bias[output];
    float& out = job.out[out_row * job.out_stride + output];
    out = product.accumulate ? out + sum : sum;
}

// A block: some tiles of outputs, up to kTokens rows of x.
template <int kTokens, bool kHalf>
__global__ void __launch_bounds__(kThreads, kTokens == 16  ? 2
                                            : kTokens == 8 ? 3
                                                           : 4)
    affine_rows_kernel(const __grid_constant__ Product product, const Sharing sharing) {
    extern __shared__ uint4 shared[];
    let_next_begin();
    const bool known = product.choices.ids == nullptr;  // which weights, before the kernel before this one has ended
    if (!known) wait_for_previous();
    const Job job = job_of_block(product, blockIdx.z);
    const int first_row = blockIdx.y * kTokens, rows = min(kTokens, job.count - first_row);
    const int chunks = static_cast<int>(product.weight.columns / kChunk);
    const int outputs = sharing.outputs(), first_output = blockIdx.x * outputs;
    if (rows <= 0 || first_output >= job.outputs) {
        if (known) wait_for_previous();
        return;
    }
    Stage* const stages = reinterpret_cast<Stage*>(shared);
    uint4* const words = reinterpret_cast<uint4*>(stages + kWarps * sharing.stages);
    const StagedRows<kTokens> staged(words, chunks);
    float* const partial = staged.end(chunks);

    const PackedMatrix matrix = matrix_of(product, job);
    multiply_tiles<kTokens, kHalf>(
        sharing, chunks, stages, partial,
        [&](int tile) {
            return Tile<kTokens>{matrix, first_output + tile * kOutputs, staged};
        },
        [&] {
            if (known) wait_for_previous();
            stage(product, job, {first_row, rows, 0, chunks}, staged);
        });
    for (int t = 0; t < rows; ++t) {
        for (int i = threadIdx.x; i < outputs && first_output + i < job.outputs; i += kThreads) {
            const float sum = sum_of_spans<kTokens>(sharing, chunks, partial, i, t);
            write_sum(product, job, first_row + t, first_output + i, sum);
        }
    }
}

// Of more rows a multiprocessor has one block, which stages x once for all of its tiles: slabs of columns, of which
// sums go on in registers.
constexpr int kSlabChunks = 32, kSlabTiles = 6;
constexpr int kWideWarps = 16, kWideThreads = 32 * kWideWarps, kWideStages = 2;

template <int kTokens>
__global__ void __launch_bounds__(kWideThreads, 1)
    wide_rows_kernel(const __grid_constant__ Product product, int tiles_of_block) {
    constexpr int kEach = (kSlabTiles * kOutputs * kTokens + kWideThreads - 1) / kWideThreads;  // sums of a thread
    extern __shared__ uint4 shared[];
    let_next_begin();
    const Job job = job_of_block(product, blockIdx.z);
    const int first_row = blockIdx.y * kTokens, rows = min(kTokens, job.count - first_row);
    const int end = min((static_cast<int>(blockIdx.x) + 1) * tiles_of_block * kOutputs, job.outputs);
    bool waits = true;
    const auto wait_once = [&] {
        if (waits) wait_for_previous();
        waits = false;
    };
    Stage* const stages = reinterpret_cast<Stage*>(shared);
    uint4* const words = reinterpret_cast<uint4*>(stages + kWideWarps * kWideStages);
    const StagedRows<kTokens> staged(words, kSlabChunks);
    float* const partial = staged.end(kSlabChunks);
    const PackedMatrix matrix = matrix_of(product, job);
    for (int first = blockIdx.x * tiles_of_block * kOutputs; rows > 0 && first < end; first += kSlabTiles * kOutputs) {
        const int tiles = min(kSlabTiles, (end - first + kOutputs - 1) / kOutputs);
        float sums[kEach] = {};
        for (int chunk = 0; chunk < matrix.chunks; chunk += kSlabChunks) {
            const int here = min(kSlabChunks, matrix.chunks - chunk), splits = splits_of(here, kWideWarps);
            const Sharing sharing{splits, kWideWarps / splits, tiles, kWideStages};
            PackedMatrix slab = matrix;
            slab.data += chunk * kChunkBytes;
            slab.groups += 2 * (chunk >> matrix.group_shift);
            slab.chunks = here;
            multiply_tiles<kTokens, false>(
                sharing, here, stages, partial,
                [&](int tile) {
                    return Tile<kTokens>{slab, first + tile * kOutputs, staged};
                },
                [&] {
                    wait_once();
                    if (first > static_cast<int>(blockIdx.x) * tiles_of_block * kOutputs &&
                        matrix.chunks <= kSlabChunks) {
                        return;  // all of x is there
                    }
                    stage(product, job, {first_row, rows, chunk, here}, staged);
                });
            const int outputs = sharing.outputs();
#pragma unroll
            for (int n = 0; n < kEach; ++n) {
                const int i = threadIdx.x + n * kWideThreads;
                if (i >= outputs * kTokens) break;
                for (int span = 0; span < spans_of(here); ++span) sums[n] += partial[span * outputs * kTokens + i];
            }
            __syncthreads();
        }
#pragma unroll
        for (int n = 0; n < kEach; ++n) {
            const int i = threadIdx.x + n * kWideThreads, output = first + i / kTokens, t = i % kTokens;
            if (i < tiles * kOutputs * kTokens && output < end && t < rows) {
                write_sum(product, job, first_row + t, output, sums[n]);
            }
        }
    }
    wait_once();
}

// Tiles of all outputs, for each job those of the largest.
int64_t tiles_of(const Product& product) {
    return int64_t{blocks_for(product.weight.rows, kOutputs)} * std::max(product.batch, product.job_count);
}

// Whether half as many rows a block keep more multiprocessors busy.
bool is_small(const Device& device, const Product& product) {
    return product.most_rows <= 16 && tiles_of(product) <= int64_t{kSlabTiles} * device.multiprocessors();
}

template <int kTokens>
bool launch_wide(Device& device, const Product& product) {
    auto* const kernel = wide_rows_kernel<kTokens>;
    const uint64_t bytes =
        kWideWarps * kWideStages * sizeof(Stage) + StagedRows<kTokens>::bytes(kSlabChunks) +
        static_cast<uint64_t>(spans_of(kSlabChunks) * kSlabTiles * kOutputs * kTokens) * sizeof(float);
    if (!allow_shared_bytes(device, reinterpret_cast<const void*>(kernel), bytes)) return false;
    const unsigned row_blocks = blocks_for(product.most_rows, kTokens);
    const int jobs = std::max(product.batch, product.job_count);
    // As few tiles a block as leave a block for each multiprocessor.
    int tiles = 1;
    const auto blocks = [&] {
        int64_t all = 0;
        for (int j = 0; j < jobs; ++j) {
            const int outputs = product.batch > 1 ? 0 : product.jobs[j].outputs;
            all += blocks_for(outputs == 0 ? product.weight.rows : outputs, int64_t{kOutputs} * tiles);
        }
        return all * row_blocks;
    };
    while (blocks() > device.multiprocessors() && int64_t{tiles} * kOutputs < product.weight.rows) ++tiles;
    const dim3 grid(blocks_for(product.weight.rows, int64_t{kOutputs} * tiles), row_blocks,
                    static_cast<unsigned>(jobs));
    launch_early(device, {grid, 32 * kWideWarps, bytes}, kernel, product, tiles);
    return true;
}

// A block has more tiles where enough blocks are left to fill the card, since x is staged once for all of them.
Sharing share(const Device& device, const DeviceWeight& weight, int64_t blocks_beside) {
    const int chunks = static_cast<int>(weight.columns / kChunk), splits = splits_of(chunks, kWarps);
    const int at_once = kWarps / splits;
    int tiles = at_once;
    const int64_t all = blocks_for(weight.rows, kOutputs) * blocks_beside;
    while (tiles < 8 * at_once && all / (2 * tiles) >= 4 * device.multiprocessors()) tiles *= 2;
    return sharing_of(chunks, splits, at_once, tiles, kStages);
}

template <int kTokens, bool kHalf>
bool launch(Device& device, const Product& product, int jobs) {
    const unsigned row_blocks = blocks_for(product.most_rows, kTokens);
    Sharing sharing = share(device, product.weight, static_cast<int64_t>(jobs) * row_blocks);
    const auto shared_bytes = [&] {
        return stage_bytes(sharing) + StagedRows<kTokens>::bytes(product.weight.columns / kChunk) +
               partial_bytes(sharing, static_cast<int>(product.weight.columns / kChunk), kTokens);
    };
    while (shared_bytes() > kMostSharedBytes && sharing.tiles > sharing.at_once) sharing.tiles /= 2;
    const uint64_t bytes = shared_bytes();
    if (bytes > kMostSharedBytes) return false;
    if (bytes > 48 << 10) {
        check(cudaFuncSetAttribute(affine_rows_kernel<kTokens, kHalf>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   static_cast<int>(bytes)),
              "shared memory of a product");
    }
    const dim3 grid(blocks_for(product.weight.rows, int64_t{kOutputs} * sharing.tiles), row_blocks,
                    static_cast<unsigned>(jobs));
    launch_early(device, {grid, kThreads, bytes}, affine_rows_kernel<kTokens, kHalf>, product, sharing);
    return true;
}

template <bool kHalf>
bool launch(Device& device, const Product& product) {
    const int jobs = std::max(product.batch, product.job_count) * std::max(product.choices.count, 1);
    if constexpr (!kHalf) {
        if (product.most_rows > 8 && !is_small(device, product) && launch_wide<16>(device, product)) return true;
        if (product.most_rows > 4 && launch_wide<8>(device, product)) return true;
    }
    if (product.most_rows > 8 && launch<16, kHalf>(device, product, jobs)) return true;
    if (product.most_rows > 4 && launch<8, kHalf>(device, product, jobs)) return true;
    if (product.most_rows > 1 && launch<4, kHalf>(device, product, jobs)) return true;
    return launch<1, kHalf>(device, product, jobs);
}

bool aligned(const Job& job) {
    const auto places = reinterpret_cast<uintptr_t>(job.data) | reinterpret_cast<uintptr_t>(job.scales) |
                        reinterpret_cast<uintptr_t>(job.zero_points);
    return places % 16 == 0;
}

}  // namespace

bool multiply_affine_rows(Device& device, const Product& product) {
    const DeviceWeight& weight = product.weight;
    const bool grouped = weight.group_size == 64 || weight.group_size == 128;
    if (device.exact() || product.full_precision || !grouped || weight.scale_type == ScaleType::kF32 ||
        weight.columns % 128 != 0 || weight.scale_row_bytes % 8 != 0 || product.table != nullptr ||
        (product.choices.places.slot_bytes | product.choices.places.more) % 16 != 0 ||
        !std::all_of(product.jobs, product.jobs + product.job_count, aligned)) {
        return false;
    }
    return weight.scale_type == ScaleType::kF16 ? launch<true>(device, product) : launch<false>(device, product);
}

}  // namespace sluice::cuda
