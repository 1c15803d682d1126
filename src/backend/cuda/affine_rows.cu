// Few rows times weights of MLX's affine 4 bits on tensor cores, with the digits of F32. 128 + a code is a number of
// BF16 without rounding; a number of x is the sum of two (its first 16 digits), columns of their own. Scales and zero
// points meet the sums of a group in F32, where 128 times the sum of x goes off again. The order of a sum depends on
// nothing but the sizes of the weight.

#include <algorithm>

#include "backend/cuda/affine_rows.h"
#include "backend/cuda/early.cuh"
#include "backend/cuda/product.cuh"
#include "backend/cuda/tensor_cores.cuh"

namespace sluice::cuda {

namespace {

constexpr int kChunk = 64;                         // columns that meet x at once: two words of codes a lane and row
constexpr int kSpanChunks = 4;                     // of what a warp fetches at once
constexpr int kSpan = kChunk * kSpanChunks;        // columns
constexpr int kWarps = 8, kThreads = 32 * kWarps;  // of a block
constexpr int kOutputs = 16;                       // of a tile
constexpr float kBias = 128;                       // of a code
constexpr uint64_t kMostSharedBytes = 113 << 10;   // so that two blocks share a multiprocessor

__device__ __forceinline__ uint32_t pair_of(float low, float high) {
    uint32_t pair = 0;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}
__device__ __forceinline__ float low_of(uint32_t pair) {
    return __uint_as_float(pair << 16);
}
__device__ __forceinline__ float high_of(uint32_t pair) {
    return __uint_as_float(pair & 0xffff0000u);
}

// Codes i and i + 4 of a word, as BF16, 128 larger.
__device__ __forceinline__ uint32_t codes_of(uint32_t word, int i) {
    return ((word >> (4 * i)) & 0x000f000fu) | 0x43004300u;
}

// x in shared memory: of each chunk and row the words that lanes meet as columns, and the sum of the chunk's numbers.
template <int kTokens>
struct StagedRows {
    uint4* words;  // [chunk][first or second words][row][leading or following digits][lane % 4]
    float* sums;   // [chunk][row]

    static constexpr int kWordsOfChunk = 2 * kTokens * 2 * 4;
    static uint64_t bytes(int64_t chunks) {
        return static_cast<uint64_t>(chunks) * (kWordsOfChunk * sizeof(uint4) + kTokens * sizeof(float));
    }
    __device__ uint4& at(int chunk, int half, int row, int part, int quarter) const {
        return words[chunk * kWordsOfChunk + ((half * kTokens + row) * 2 + part) * 4 + quarter];
    }
};

__device__ __forceinline__ void load_eight(const float* from, float (&x)[8]) {
    if (reinterpret_cast<uintptr_t>(from) % 16 == 0) {
        const float4 low = *reinterpret_cast<const float4*>(from), high = *reinterpret_cast<const float4*>(from + 4);
        x[0] = low.x, x[1] = low.y, x[2] = low.z, x[3] = low.w;
        x[4] = high.x, x[5] = high.y, x[6] = high.z, x[7] = high.w;
        return;
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) x[j] = from[j];
}

// Eight numbers by a thread, whose neighbours have the rest of the chunk. What is summed is what codes will meet, so
// that their bias goes off whole.
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
            float sum = 0;
            uint32_t leading[4], following[4];
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                leading[j] = pair_of(x[j], x[j + 4]);
                following[j] = pair_of(x[j] - low_of(leading[j]), x[j + 4] - high_of(leading[j]));
                sum += (low_of(leading[j]) + low_of(following[j])) + (high_of(leading[j]) + high_of(following[j]));
            }
            const int chunk = i / 8, half = i % 2, quarter = i % 8 / 2;
            staged.at(chunk, half, t, 0, quarter) = {leading[0], leading[1], leading[2], leading[3]};
            staged.at(chunk, half, t, 1, quarter) = {following[0], following[1], following[2], following[3]};
#pragma unroll
            for (int step = 4; step > 0; step /= 2) sum += __shfl_xor_sync(__activemask(), sum, step);
            if (i % 8 == 0) staged.sums[chunk * kTokens + t] = sum;
        }
    }
}

// What a warp has under way: spans of its tiles, one after the other, in shared memory of its own.
constexpr int kStages = 2;
constexpr int kRowBytes = kSpan / 2, kRowPitch = kRowBytes + 32;  // the eight rows that a load takes meet all banks
constexpr int kGroupsPitch = 8;                                   // bytes of the scales of a row: up to four
struct Stage {
    uint8_t codes[kOutputs * kRowPitch];
    uint8_t scales[kOutputs * kGroupsPitch], zero_points[kOutputs * kGroupsPitch];
};

template <int kBytes>
__device__ __forceinline__ void copy_async(uint8_t* to, const uint8_t* from) {
    const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    if constexpr (kBytes == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(from) : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(address), "l"(from), "n"(kBytes) : "memory");
    }
}

// A matrix as the lanes of a warp fetch it. Outputs behind the last one repeat it, and are not written.
struct Matrix {
    const uint8_t *data, *groups;  // groups: scales by the first half of the lanes, zero points by the others
    uint32_t data_row_bytes, group_row_bytes;
    int last_row, chunks, group_shift;  // a group is 1 << group_shift chunks
};

__device__ __forceinline__ void fetch_span(const Matrix& matrix, int first_row, int chunk, Stage& stage) {
    const int lane = threadIdx.x % 32, piece = lane % 8, here = min(kSpanChunks, matrix.chunks - chunk);
    if (piece < 2 * here) {
        const uint8_t* const from = matrix.data + (chunk * (kChunk / 2) + piece * 16);
        uint8_t* const to = stage.codes + lane / 8 * kRowPitch + piece * 16;
#pragma unroll
        for (int i = 0; i < kOutputs; i += 4) {
            const auto row = static_cast<uint32_t>(min(first_row + i + lane / 8, matrix.last_row));
            copy_async<16>(to + i * kRowPitch, from + static_cast<uint64_t>(row) * matrix.data_row_bytes);
        }
    }
    const auto row = static_cast<uint32_t>(min(first_row + lane % kOutputs, matrix.last_row));
    const uint8_t* const from =
        matrix.groups + static_cast<uint64_t>(row) * matrix.group_row_bytes + 2 * (chunk >> matrix.group_shift);
    uint8_t* const to = stage.scales + lane * kGroupsPitch;  // zero points follow
    const int bytes = here >> matrix.group_shift << 1;
    if (bytes == 8) {
        copy_async<8>(to, from);
    } else if (bytes == 4) {
        copy_async<4>(to, from);
    } else {
        *reinterpret_cast<uint16_t*>(to) = __ldg(reinterpret_cast<const uint16_t*>(from));
    }
}

// The numbers of a row's groups, one per chunk.
__device__ __forceinline__ uint2 groups_of(const uint8_t* groups, int row, int group_shift) {
    const uint2 two = *reinterpret_cast<const uint2*>(groups + row * kGroupsPitch);
    if (group_shift == 0) return two;
    return {__byte_perm(two.x, 0, 0x1010), __byte_perm(two.x, 0, 0x3232)};
}

template <bool kHalf>
__device__ __forceinline__ float number_of(const uint2& groups, int chunk) {
    const uint32_t word = chunk < 2 ? groups.x : groups.y;
    if constexpr (kHalf) return half_bits(static_cast<uint16_t>(chunk % 2 == 0 ? word : word >> 16));
    return chunk % 2 == 0 ? low_of(word) : high_of(word);
}

// sums[tile][i]: of the lane's row i of the weight and row 4 tile + lane % 4 of x.
template <int kTokens, bool kHalf, int kTiles>
__device__ __forceinline__ void add_span(const Stage& stage, const Matrix& matrix, const StagedRows<kTokens>& staged,
                                         int first_chunk, float (&sums)[kTiles][2]) {
    const int quarter = threadIdx.x % 4, column = threadIdx.x % 32 / 4;
    const uint8_t* const codes = stage.codes + column * kRowPitch + quarter * 8;
    const uint4* const columns = &staged.at(first_chunk, 0, column / 2, column % 2, quarter);
    const float* const wholes = staged.sums + first_chunk * kTokens + quarter;
    uint2 scales[2], zero_points[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        scales[i] = groups_of(stage.scales, column + 8 * i, matrix.group_shift);
        zero_points[i] = groups_of(stage.zero_points, column + 8 * i, matrix.group_shift);
    }
#pragma unroll
    for (int j = 0; j < kSpanChunks; ++j) {
        if (j > 0 && first_chunk + j >= matrix.chunks) break;
        float group[kTiles][2][4] = {};  // two chains, which do not wait for each other
        const uint2 words[2] = {*reinterpret_cast<const uint2*>(codes + j * (kChunk / 2)),
                                *reinterpret_cast<const uint2*>(codes + j * (kChunk / 2) + 8 * kRowPitch)};
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            uint32_t a[2][4];
#pragma unroll
            for (int step = 0; step < 2; ++step) {
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    const uint32_t word = half == 0 ? words[i].x : words[i].y;
                    a[step][i] = codes_of(word, 2 * step);
                    a[step][i + 2] = codes_of(word, 2 * step + 1);
                }
            }
#pragma unroll
            for (int tile = 0; tile < kTiles; ++tile) {
                uint4 x{};
                if (kTokens >= 4 || column / 2 < kTokens) {
                    x = columns[j * StagedRows<kTokens>::kWordsOfChunk + (half * kTokens + tile * 4) * 8];
                }
                add_product(group[tile][0], a[0], x.x, x.y);
                add_product(group[tile][1], a[1], x.z, x.w);
            }
        }
        float whole[kTiles];
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) {
            whole[tile] = kTokens >= 4 || quarter < kTokens ? wholes[j * kTokens + tile * 4] : 0.0f;
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const float scale = number_of<kHalf>(scales[i], j);
            const float zero = fmaf(-kBias, scale, number_of<kHalf>(zero_points[i], j));
#pragma unroll
            for (int tile = 0; tile < kTiles; ++tile) {
                const float sum = (group[tile][0][2 * i] + group[tile][1][2 * i]) +
                                  (group[tile][0][2 * i + 1] + group[tile][1][2 * i + 1]);
                sums[tile][i] = fmaf(scale, sum, fmaf(zero, whole[tile], sums[tile][i]));
            }
        }
    }
}

// How the warps of a block share its tiles of outputs: `splits` of them part the columns of a tile among themselves,
// so that it works on `at_once` tiles.
struct Sharing {
    int splits, at_once, tiles;  // tiles: of a block
};

// The spans of a warp, of one tile after the other.
struct Cursor {
    int tile, span;

    __device__ void advance(const Sharing& sharing, int split, int spans) {
        span += sharing.splits;
        if (span < spans) return;
        span = split;
        tile += sharing.at_once;
    }
};

// A block: some tiles of outputs, up to kTokens rows of x.
template <int kTokens, bool kHalf>
__global__ void __launch_bounds__(kThreads, kTokens == 16  ? 2
                                            : kTokens == 8 ? 3
                                                           : 4)
    affine_rows_kernel(const __grid_constant__ Product product, const Sharing sharing) {
    extern __shared__ uint4 shared[];
    constexpr int kTiles = (kTokens + 3) / 4;
    let_next_begin();
    const bool known = product.choices.ids == nullptr;  // which weights, before the kernel before this one has ended
    if (!known) wait_for_previous();
    const Job job = job_of_block(product, blockIdx.z);
    const int first_row = blockIdx.y * kTokens, rows = min(kTokens, job.count - first_row);
    const int chunks = static_cast<int>(product.weight.columns / kChunk);
    const int spans = (chunks + kSpanChunks - 1) / kSpanChunks;
    const int warp = threadIdx.x / 32, split = warp % sharing.splits;
    const int outputs = sharing.tiles * kOutputs, first_output = blockIdx.x * outputs;
    if (rows <= 0 || first_output >= job.outputs) {
        if (known) wait_for_previous();
        return;
    }
    Stage* const stages = reinterpret_cast<Stage*>(shared) + warp * kStages;
    uint4* const words = reinterpret_cast<uint4*>(reinterpret_cast<Stage*>(shared) + kWarps * kStages);
    const StagedRows<kTokens> staged{words,
                                     reinterpret_cast<float*>(words + chunks * StagedRows<kTokens>::kWordsOfChunk)};
    float* const partial = staged.sums + chunks * kTokens;  // [split][output of the block][kTokens]

    const int64_t offset = product.batch > 1 ? blockIdx.z * product.weight_step : 0;
    const Matrix matrix{.data = job.data + offset * product.weight.data_row_bytes,
                        .groups = (threadIdx.x % 32 < kOutputs ? job.scales : job.zero_points) +
                                  offset * product.weight.scale_row_bytes,
                        .data_row_bytes = static_cast<uint32_t>(product.weight.data_row_bytes),
                        .group_row_bytes = static_cast<uint32_t>(product.weight.scale_row_bytes),
                        .last_row = job.outputs - 1,
                        .chunks = chunks,
                        .group_shift = product.weight.group_size == kChunk ? 0 : 1};
    const Cursor first{warp / sharing.splits, split};
    Cursor fetched = first;
    int stage_fetched = 0;
    const auto fetch = [&] {
        if (fetched.tile < sharing.tiles) {
            fetch_span(matrix, first_output + fetched.tile * kOutputs, fetched.span * kSpanChunks,
                       stages[stage_fetched]);
            fetched.advance(sharing, split, spans);
        }
        stage_fetched = stage_fetched + 1 == kStages ? 0 : stage_fetched + 1;
        copies_end();
    };
    // The first weights are on their way while x is staged.
#pragma unroll
    for (int i = 0; i < kStages - 1; ++i) fetch();
    if (known) wait_for_previous();
    stage(product, job, first_row, rows, chunks, staged);
    __syncthreads();
    float sums[kTiles][2] = {};
    int stage_read = 0;
    for (Cursor at = first; at.tile < sharing.tiles;) {
        fetch();
        copies_wait<kStages - 1>();
        __syncwarp();
        add_span<kTokens, kHalf>(stages[stage_read], matrix, staged, at.span * kSpanChunks, sums);
        stage_read = stage_read + 1 == kStages ? 0 : stage_read + 1;
        __syncwarp();  // before the stage is filled again
        const int tile = at.tile;
        at.advance(sharing, split, spans);
        if (at.tile == tile) continue;
        float* const mine = partial + ((split * outputs + tile * kOutputs + threadIdx.x % 32 / 4) * kTokens);
#pragma unroll
        for (int t = 0; t < kTiles; ++t) {
            const int row = t * 4 + threadIdx.x % 4;
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                if (kTokens >= 4 || row < kTokens) mine[8 * i * kTokens + row] = sums[t][i];
                sums[t][i] = 0;
            }
        }
    }
    __syncthreads();
    for (int t = 0; t < rows; ++t) {
        const int64_t row = first_row + t;
        const int64_t out_row = job.out_rows == nullptr ? row : job.out_rows[row * job.out_rows_stride];
        for (int i = threadIdx.x; i < outputs && first_output + i < job.outputs; i += kThreads) {
            float sum = 0;
            for (int part = 0; part < sharing.splits; ++part) sum += partial[(part * outputs + i) * kTokens + t];
            if (job.bias != nullptr) sum += job.bias[first_output + i];
            float& out = job.out[out_row * job.out_stride + first_output + i];
            out = product.accumulate ? out + sum : sum;
        }
    }
}

// As many warps share a tile as have something to do; a block has more tiles where enough blocks are left to fill the
// card, since x is staged once for all of them. The order of a sum follows from the number of columns alone.
Sharing share(const Device& device, const DeviceWeight& weight, int64_t blocks_beside) {
    const int64_t spans = (weight.columns + kSpan - 1) / kSpan;
    int splits = kWarps;
    while (splits > spans) splits /= 2;
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
               static_cast<uint64_t>(sharing.splits * sharing.tiles * kOutputs * kTokens) * sizeof(float);
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
