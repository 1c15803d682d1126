// Few rows times weights of MLX's affine 4 bits on tensor cores, with the digits of F32. Codes are whole numbers, which
// BF16 holds; a number of x is the sum of two of BF16 (its first 16 digits), columns of their own. Scales and zero
// points meet the sums of a group in F32. A warp has 16 outputs and every eighth chunk of 64 columns; the order of a
// sum depends on nothing but the sizes of the weight.

#include <algorithm>

#include "backend/cuda/affine_rows.h"
#include "backend/cuda/early.cuh"
#include "backend/cuda/product.cuh"

namespace sluice::cuda {

namespace {

constexpr int kChunk = 64;                         // columns that meet x at once: two words of codes a lane and row
constexpr int kSpanChunks = 4;                     // of what a warp loads at once
constexpr int kSpan = kChunk * kSpanChunks;        // columns
constexpr int kWarps = 8, kThreads = 32 * kWarps;  // of a block
constexpr int kOutputs = 16;                       // of a tile
constexpr int kTileTokens = 4;                     // rows of x in the 8 columns of a tile
constexpr uint64_t kMostSharedBytes = 110 << 10;   // so that two blocks share a multiprocessor

__device__ __forceinline__ uint32_t pair_of(float low, float high) {
    uint32_t pair = 0;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

// Codes i and i + 4 of a word, as BF16: 128 + code is exact, and so is the difference.
__device__ __forceinline__ uint32_t codes_of(uint32_t word, int i) {
    const uint32_t biased = ((word >> (4 * i)) & 0x000f000fu) | 0x43004300u;
    uint32_t codes = 0;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(codes) : "r"(biased), "r"(0x3f803f80u), "r"(0xc300c300u));
    return codes;
}

__device__ __forceinline__ void add_product(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// x in shared memory: of each chunk and row the words that lanes meet as columns, and the sum of the chunk's numbers.
struct StagedRows {
    uint4* words;  // [chunk][first or second words][row][leading or following digits][lane % 4]
    float* sums;   // [chunk][row]
    int rows;

    __device__ uint4& at(int chunk, int half, int row, int part, int quarter) const {
        return words[(((chunk * 2 + half) * rows + row) * 2 + part) * 4 + quarter];
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

// Eight numbers by a thread, whose neighbours have the rest of the chunk.
__device__ void stage(const Product& product, const Job& job, int first_row, int chunks, const StagedRows& staged) {
    for (int t = 0; t < staged.rows; ++t) {
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
            for (int j = 0; j < 8; ++j) sum += x[j];
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                leading[j] = pair_of(x[j], x[j + 4]);
                following[j] = pair_of(x[j] - __uint_as_float(leading[j] << 16),
                                       x[j + 4] - __uint_as_float(leading[j] & 0xffff0000u));
            }
            const int chunk = i / 8, half = i % 2, quarter = i % 8 / 2;
            staged.at(chunk, half, t, 0, quarter) = {leading[0], leading[1], leading[2], leading[3]};
            staged.at(chunk, half, t, 1, quarter) = {following[0], following[1], following[2], following[3]};
#pragma unroll
            for (int step = 4; step > 0; step /= 2) sum += __shfl_xor_sync(__activemask(), sum, step);
            if (i % 8 == 0) staged.sums[chunk * staged.rows + t] = sum;
        }
    }
}

// What a warp has under way: spans of its tiles, one after the other, in shared memory of its own.
constexpr int kStages = 3;
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

// Rows of a tile and its columns from `chunk` on; outputs behind the last one repeat it, and are not written.
struct SpanPlace {
    int64_t first_row, last_row;
    int chunk, chunks;  // the first, and how many from there to the end of a row
};

__device__ __forceinline__ void fetch_span(const DeviceWeight& weight, const SpanPlace& place, int chunks_of_group,
                                           Stage& stage) {
    const int lane = threadIdx.x % 32, piece = lane % 8;
    if (piece < 2 * place.chunks) {
#pragma unroll
        for (int i = 0; i < kOutputs; i += 4) {
            const int64_t row = min(place.first_row + i + lane / 8, place.last_row);
            copy_async<16>(stage.codes + (i + lane / 8) * kRowPitch + piece * 16,
                           weight.data + row * weight.data_row_bytes + place.chunk * (kChunk / 2) + piece * 16);
        }
    }
    const int64_t row = min(place.first_row + lane % kOutputs, place.last_row);
    const uint8_t* const from = (lane < kOutputs ? weight.scales : weight.zero_points) + row * weight.scale_row_bytes +
                                place.chunk / chunks_of_group * 2;
    uint8_t* const to = (lane < kOutputs ? stage.scales : stage.zero_points) + lane % kOutputs * kGroupsPitch;
    const int groups = min(place.chunks, kSpanChunks) / chunks_of_group;
    if (groups == 4) {
        copy_async<8>(to, from);
    } else {
        for (int i = 0; i < groups; i += 2) copy_async<4>(to + 2 * i, from + 2 * i);
    }
}

__device__ __forceinline__ float number_at(ScaleType type, const uint8_t* groups, int row, int group) {
    const auto bits = *reinterpret_cast<const uint16_t*>(groups + row * kGroupsPitch + 2 * group);
    return type == ScaleType::kF16 ? half_bits(bits) : bf16_bits(bits);
}

// sums[tile][i]: of the lane's row i of the weight and row 4 tile + lane % 4 of x.
template <int kTiles>
__device__ __forceinline__ void add_span(const Stage& stage, ScaleType scale_type, int chunks_of_group,
                                         const StagedRows& staged, const SpanPlace& place, float (&sums)[kTiles][2]) {
    const int quarter = threadIdx.x % 4, column = threadIdx.x % 32 / 4;
    const int here = min(kSpanChunks, place.chunks);
#pragma unroll 2
    for (int j = 0; j < here; ++j) {
        const int chunk = place.chunk + j;
        float group[kTiles][4] = {};
        const uint8_t* const codes = stage.codes + column * kRowPitch + j * (kChunk / 2) + quarter * 8;
        const uint2 words[2] = {*reinterpret_cast<const uint2*>(codes),
                                *reinterpret_cast<const uint2*>(codes + 8 * kRowPitch)};
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
                const int t = tile * kTileTokens + column / 2;
                uint4 x{};
                if (t < staged.rows) x = staged.at(chunk, half, t, column % 2, quarter);
                add_product(group[tile], a[0], x.x, x.y);
                add_product(group[tile], a[1], x.z, x.w);
            }
        }
        const int of_group = chunks_of_group == 1 ? j : j / 2;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const float scale = number_at(scale_type, stage.scales, column + 8 * i, of_group);
            const float zero = number_at(scale_type, stage.zero_points, column + 8 * i, of_group);
#pragma unroll
            for (int tile = 0; tile < kTiles; ++tile) {
                const int t = tile * kTileTokens + quarter;
                const float whole = t < staged.rows ? staged.sums[chunk * staged.rows + t] : 0.0f;
                const float sum = group[tile][2 * i] + group[tile][2 * i + 1];
                sums[tile][i] = fmaf(scale, sum, fmaf(zero, whole, sums[tile][i]));
            }
        }
    }
}

// How the warps of a block share its tiles of outputs: `splits` of them part the columns of a tile among themselves.
struct Sharing {
    int splits, tiles;  // of a block
};

// A block: some tiles of outputs, up to 4 kTiles rows of x.
template <int kTiles>
__global__ void __launch_bounds__(kThreads, kTiles == 4 ? 2 : 3)
    affine_rows_kernel(const __grid_constant__ Product product, const Sharing sharing) {
    extern __shared__ uint4 shared[];
    constexpr int kTokens = kTiles * kTileTokens;
    let_next_begin();
    const bool known = product.choices.ids == nullptr;  // which weights, before the kernel before this one has ended
    if (!known) wait_for_previous();
    const Job job = job_of_block(product, blockIdx.z);
    const int first_row = blockIdx.y * kTokens;
    const int chunks = static_cast<int>(product.weight.columns / kChunk);
    const int spans = (chunks + kSpanChunks - 1) / kSpanChunks;
    const int chunks_of_group = product.weight.group_size == kChunk ? 1 : 2;
    const int rows = min(kTokens, job.count - first_row);
    const int warp = threadIdx.x / 32;
    Stage* const stages = reinterpret_cast<Stage*>(shared) + warp * kStages;
    uint4* const words = reinterpret_cast<uint4*>(reinterpret_cast<Stage*>(shared) + kWarps * kStages);
    const StagedRows staged{words, reinterpret_cast<float*>(words + chunks * rows * 16), rows};
    float* const partial = staged.sums + chunks * rows;  // [split][output of the block][rows]

    DeviceWeight weight = product.weight;
    weight.data = job.data, weight.scales = job.scales, weight.zero_points = job.zero_points;
    const int64_t offset = product.batch > 1 ? blockIdx.z * product.weight_step : 0;
    const int split = warp % sharing.splits, first_tile = warp / sharing.splits, tile_step = kWarps / sharing.splits;
    const int outputs = sharing.tiles * kOutputs;
    const int64_t first_output = static_cast<int64_t>(blockIdx.x) * outputs;
    if (first_row >= job.count || first_output >= job.outputs) {
        if (known) wait_for_previous();
        return;
    }
    // The warp's spans, of one tile after the other.
    const int spans_of_tile = split < spans ? (spans - split + sharing.splits - 1) / sharing.splits : 0;
    const int all = spans_of_tile * (sharing.tiles / tile_step);
    const auto place_of = [&](int number) {
        const int tile = first_tile + number / spans_of_tile * tile_step;
        const int chunk = (split + number % spans_of_tile * sharing.splits) * kSpanChunks;
        return SpanPlace{offset + first_output + tile * kOutputs, offset + job.outputs - 1, chunk, chunks - chunk};
    };
    const auto fetch = [&](int number) {
        if (number < all) fetch_span(weight, place_of(number), chunks_of_group, stages[number % kStages]);
        asm volatile("cp.async.commit_group;" ::: "memory");
    };
    // The first weights are on their way while x is staged.
#pragma unroll
    for (int i = 0; i < kStages - 1; ++i) fetch(i);
    if (known) wait_for_previous();
    stage(product, job, first_row, chunks, staged);
    __syncthreads();
    float sums[kTiles][2] = {};
#pragma unroll 1
    for (int number = 0; number < all; ++number) {
        fetch(number + kStages - 1);
        asm volatile("cp.async.wait_group %0;" ::"n"(kStages - 1) : "memory");
        __syncwarp();
        add_span<kTiles>(stages[number % kStages], weight.scale_type, chunks_of_group, staged, place_of(number), sums);
        __syncwarp();  // before the stage is filled again
        if (number % spans_of_tile != spans_of_tile - 1) continue;
        const int tile = first_tile + number / spans_of_tile * tile_step, lane_row = threadIdx.x % 32 / 4;
#pragma unroll
        for (int t = 0; t < kTiles; ++t) {
            const int row = t * kTileTokens + threadIdx.x % 4;
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                if (row < rows)
                    partial[(split * outputs + tile * kOutputs + lane_row + 8 * i) * rows + row] = sums[t][i];
                sums[t][i] = 0;
            }
        }
    }
    __syncthreads();
    for (int t = 0; t < rows; ++t) {
        const int64_t row = first_row + t;
        const int64_t out_row = job.out_rows == nullptr ? row : job.out_rows[row * job.out_rows_stride];
        for (int i = threadIdx.x; i < outputs; i += kThreads) {
            const int64_t output = first_output + i;
            if (output >= job.outputs) break;
            float sum = 0;
            for (int part = 0; part < sharing.splits; ++part) sum += partial[(part * outputs + i) * rows + t];
            if (job.bias != nullptr) sum += job.bias[output];
            float& out = job.out[out_row * job.out_stride + output];
            out = product.accumulate ? out + sum : sum;
        }
    }
}

uint64_t shared_bytes(int64_t columns, int64_t rows, const Sharing& sharing) {
    const int64_t chunks = columns / kChunk;
    return kWarps * kStages * sizeof(Stage) +
           static_cast<uint64_t>(chunks * rows * (16 * 16 + 4) +
                                 int64_t{sharing.splits} * sharing.tiles * kOutputs * rows * 4);
}

// As many warps share a tile as have something to do; a block has more tiles where enough blocks are left to fill the
// card, since x is staged once for all of them. The order of a sum follows from the number of columns alone.
Sharing share(const Device& device, const DeviceWeight& weight, int64_t blocks_beside) {
    const int64_t spans = (weight.columns + kSpan - 1) / kSpan;
    int splits = kWarps;
    while (splits > 1 && splits > spans) splits /= 2;
    const int at_once = kWarps / splits;
    int tiles = at_once;
    const int64_t all = blocks_for(weight.rows, kOutputs) * blocks_beside;
    while (tiles < 8 * at_once && all / (2 * tiles) >= 4 * device.multiprocessors()) tiles *= 2;
    return {splits, tiles};
}

template <int kTiles>
bool launch(Device& device, const Product& product, int jobs) {
    const int64_t rows = std::min<int64_t>(product.most_rows, kTiles * kTileTokens);
    const unsigned row_blocks = blocks_for(product.most_rows, kTiles * kTileTokens);
    const Sharing sharing = share(device, product.weight, static_cast<int64_t>(jobs) * row_blocks);
    const uint64_t bytes = shared_bytes(product.weight.columns, rows, sharing);
    if (bytes > kMostSharedBytes) return false;
    if (bytes > 48 << 10) {
        check(cudaFuncSetAttribute(affine_rows_kernel<kTiles>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   static_cast<int>(bytes)),
              "shared memory of a product");
    }
    const dim3 grid(blocks_for(product.weight.rows, int64_t{kOutputs} * sharing.tiles), row_blocks,
                    static_cast<unsigned>(jobs));
    launch_early(device, {grid, kThreads, bytes}, affine_rows_kernel<kTiles>, product, sharing);
    return true;
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
        weight.columns % weight.group_size != 0 || weight.scale_row_bytes % 8 != 0 || weight.columns % 128 != 0 ||
        product.table != nullptr || product.choices.slot_bytes % 16 != 0 ||
        !std::all_of(product.jobs, product.jobs + product.job_count, aligned)) {
        return false;
    }
    const int jobs = std::max(product.batch, product.job_count) * std::max(product.choices.count, 1);
    if (product.most_rows > 8 && launch<4>(device, product, jobs)) return true;
    if (product.most_rows > 4 && launch<2>(device, product, jobs)) return true;
    return launch<1>(device, product, jobs);
}

}  // namespace sluice::cuda
