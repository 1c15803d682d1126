// Few rows times weights of MLX's affine 4 bits: see affine_tiles.cuh.

#include <algorithm>

#include "backend/cuda/affine_rows.h"
#include "backend/cuda/affine_tiles.cuh"
#include "backend/cuda/early.cuh"

namespace sluice::cuda {

namespace {

constexpr int kWarps = 8, kThreads = 32 * kWarps;  // of a block
constexpr uint64_t kMostSharedBytes = 113 << 10;   // so that two blocks share a multiprocessor

constexpr int kStages = 2;  // of a warp

// Eight numbers by a thread.
template <int kTokens>
__device__ void stage(const Product& product, const Job& job, int first_row, int rows, int chunks,
                      const StagedRows<kTokens>& staged) {
    for (int t = 0; t < rows; ++t) {
        const int64_t row = first_row + t;
        const int64_t from = job.x_rows == nullptr ? row : job.x_rows[row * job.x_rows_stride];
        for (int i = threadIdx.x; i < chunks * 8; i += kThreads) {
            const int64_t at = from * product.x_stride + i * 8;
            float x[8];
            load_eight(job.x + at, x);
            if (job.up != nullptr) {
                float up[8];
                load_eight(job.up + at, up);
#pragma unroll
                for (int j = 0; j < 8; ++j) x[j] = activated(product, x[j], up[j]);
            }
            stage_eight(staged, i, t, x);
        }
    }
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
    uint4* const words = reinterpret_cast<uint4*>(stages + kWarps * kStages);
    const StagedRows<kTokens> staged{words,
                                     reinterpret_cast<float*>(words + chunks * StagedRows<kTokens>::kWordsOfChunk)};
    float* const partial = staged.sums + chunks * kTokens;

    const int64_t offset = product.batch > 1 ? blockIdx.z * product.weight_step : 0;
    const PackedMatrix matrix{.data = job.data + offset * product.weight.data_row_bytes,
                              .groups = (threadIdx.x % 32 < kOutputs ? job.scales : job.zero_points) +
                                        offset * product.weight.scale_row_bytes,
                              .data_row_bytes = static_cast<uint32_t>(product.weight.data_row_bytes),
                              .group_row_bytes = static_cast<uint32_t>(product.weight.scale_row_bytes),
                              .last_row = job.outputs - 1,
                              .chunks = chunks,
                              .group_shift = product.weight.group_size == kChunk ? 0 : 1};
    multiply_tiles<kTokens, kHalf, kStages>(
        sharing, chunks, stages, partial,
        [&](int tile) {
            return Tile<kTokens>{matrix, first_output + tile * kOutputs, staged};
        },
        [&] {
            if (known) wait_for_previous();
            stage(product, job, first_row, rows, chunks, staged);
        });
    for (int t = 0; t < rows; ++t) {
        const int64_t row = first_row + t;
        const int64_t out_row = job.out_rows == nullptr ? row : job.out_rows[row * job.out_rows_stride];
        for (int i = threadIdx.x; i < outputs && first_output + i < job.outputs; i += kThreads) {
            float sum = sum_of_spans<kTokens>(sharing, chunks, partial, i, t);
            if (job.bias != nullptr) sum += job.bias[first_output + i];
            float& out = job.out[out_row * job.out_stride + first_output + i];
            out = product.accumulate ? out + sum : sum;
        }
    }
}

// A block has more tiles where enough blocks are left to fill the card, since x is staged once for all of them.
Sharing share(const Device& device, const DeviceWeight& weight, int64_t blocks_beside) {
    const int splits = splits_of(static_cast<int>(weight.columns / kChunk), kWarps);
    const int at_once = kWarps / splits;
    int tiles = at_once;
    const int64_t all = blocks_for(weight.rows, kOutputs) * blocks_beside;
    while (tiles < 8 * at_once && all / (2 * tiles) >= 4 * device.multiprocessors()) tiles *= 2;
    return {splits, at_once, tiles};
}

template <int kTokens, bool kHalf>
bool launch(Device& device, const Product& product, int jobs) {
    const unsigned row_blocks = blocks_for(product.most_rows, kTokens);
    Sharing sharing = share(device, product.weight, static_cast<int64_t>(jobs) * row_blocks);
    const auto shared_bytes = [&] {
        return kWarps * kStages * sizeof(Stage) + StagedRows<kTokens>::bytes(product.weight.columns / kChunk) +
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
        product.choices.slot_bytes % 16 != 0 || !std::all_of(product.jobs, product.jobs + product.job_count, aligned)) {
        return false;
    }
    return weight.scale_type == ScaleType::kF16 ? launch<true>(device, product) : launch<false>(device, product);
}

}  // namespace sluice::cuda
