// Few rows times weights of MLX's affine 4 bits on tensor cores, with the digits of F32. Codes are whole numbers, which
// BF16 holds; a number of x is the sum of two of BF16 (its first 16 digits), columns of their own. Scales and zero
// points meet the sums of a group in F32. A warp has 16 outputs and every eighth chunk of 64 columns; the order of a
// sum depends on nothing but the sizes of the weight.

#include <algorithm>

#include "backend/cuda/affine_rows.h"
#include "backend/cuda/product.cuh"

namespace sluice::cuda {

namespace {

constexpr int kChunk = 64;  // columns that a warp takes at once: two words of codes a lane and row
constexpr int kSplits = 8, kThreads = 32 * kSplits;  // warps of a block: each has every eighth chunk
constexpr int kOutputs = 16;                         // of a tile
constexpr int kAtOnce = 4;                           // chunks whose loads are on their way together
constexpr int kTileTokens = 4;                       // rows of x in the 8 columns of a tile
constexpr uint64_t kMostSharedBytes = 100 << 10;     // so that two blocks share a multiprocessor

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

// Eight numbers by a thread, whose neighbours have the rest of the chunk.
__device__ void stage(const Product& product, const Job& job, int first_row, const StagedRows& staged) {
    const int chunks = static_cast<int>(product.weight.columns / kChunk);
    for (int i = threadIdx.x; i < chunks * staged.rows * 8; i += kThreads) {
        const int eighth = i % 8, t = i / 8 % staged.rows, chunk = i / 8 / staged.rows;
        const int64_t row = first_row + t;
        const int64_t from = job.x_rows == nullptr ? row : job.x_rows[row * job.x_rows_stride];
        const int64_t at = from * product.x_stride + chunk * kChunk + eighth * 8;
        float x[8];
#pragma unroll
        for (int j = 0; j < 8; ++j)
            x[j] = job.up == nullptr ? job.x[at + j] : activated(product, job.x[at + j], job.up[at + j]);
        float sum = 0, rest[8];
        uint32_t leading[4], following[4];
#pragma unroll
        for (int j = 0; j < 8; ++j) sum += x[j];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            leading[j] = pair_of(x[j], x[j + 4]);
            rest[j] = x[j] - __uint_as_float(leading[j] << 16);
            rest[j + 4] = x[j + 4] - __uint_as_float(leading[j] & 0xffff0000u);
            following[j] = pair_of(rest[j], rest[j + 4]);
        }
        staged.at(chunk, eighth % 2, t, 0, eighth / 2) = {leading[0], leading[1], leading[2], leading[3]};
        staged.at(chunk, eighth % 2, t, 1, eighth / 2) = {following[0], following[1], following[2], following[3]};
#pragma unroll
        for (int step = 4; step > 0; step /= 2) sum += __shfl_xor_sync(__activemask(), sum, step);
        if (eighth == 0) staged.sums[chunk * staged.rows + t] = sum;
    }
}

// What a lane loads of a chunk: the codes of two rows of the weight, their scales and zero points.
struct LaneCodes {
    uint2 codes[2];
    uint16_t scales[2], zero_points[2];
};

__device__ __forceinline__ LaneCodes load_codes(const DeviceWeight& weight, const int64_t (&rows)[2], int chunk) {
    LaneCodes lane;
    const int group = chunk * kChunk / weight.group_size;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        lane.codes[i] = __ldg(reinterpret_cast<const uint2*>(weight.data + rows[i] * weight.data_row_bytes) +
                              chunk * 4 + threadIdx.x % 4);
        const int64_t at = rows[i] * weight.scale_row_bytes + 2 * group;
        lane.scales[i] = __ldg(reinterpret_cast<const uint16_t*>(weight.scales + at));
        lane.zero_points[i] = __ldg(reinterpret_cast<const uint16_t*>(weight.zero_points + at));
    }
    return lane;
}

__device__ __forceinline__ float scale_of(ScaleType type, uint16_t bits) {
    return type == ScaleType::kF16 ? half_bits(bits) : bf16_bits(bits);
}

// sums[tile][i]: of the lane's row i of the weight and row 4 tile + lane % 4 of x.
template <int kTiles>
__device__ __forceinline__ void add_chunk(const LaneCodes& lane, ScaleType scale_type, const StagedRows& staged,
                                          int chunk, float (&sums)[kTiles][2]) {
    const int quarter = threadIdx.x % 4, column = threadIdx.x % 32 / 4;
    float group[kTiles][4] = {};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        uint32_t a[2][4];
#pragma unroll
        for (int step = 0; step < 2; ++step) {
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const uint32_t word = half == 0 ? lane.codes[i].x : lane.codes[i].y;
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
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
        const int t = tile * kTileTokens + quarter;
        const float whole = t < staged.rows ? staged.sums[chunk * staged.rows + t] : 0.0f;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const float scale = scale_of(scale_type, lane.scales[i]), zero = scale_of(scale_type, lane.zero_points[i]);
            sums[tile][i] = fmaf(scale, group[tile][2 * i] + group[tile][2 * i + 1], fmaf(zero, whole, sums[tile][i]));
        }
    }
}

// A block: kRowTiles tiles of outputs, up to 4 kTiles rows of x.
template <int kTiles, int kRowTiles>
__global__ void __launch_bounds__(kThreads) affine_rows_kernel(const __grid_constant__ Product product) {
    extern __shared__ uint4 shared[];
    constexpr int kTokens = kTiles * kTileTokens;
    const Job job = job_of_block(product, blockIdx.z);
    const int first_row = blockIdx.y * kTokens;
    if (first_row >= job.count) return;
    const int chunks = static_cast<int>(product.weight.columns / kChunk);
    const int rows = min(kTokens, job.count - first_row);
    const StagedRows staged{shared, reinterpret_cast<float*>(shared + chunks * rows * 16), rows};
    float* const partial = staged.sums + chunks * rows;  // [split][tile of outputs][16][rows]

    DeviceWeight weight = product.weight;
    weight.data = job.data, weight.scales = job.scales, weight.zero_points = job.zero_points;
    const int64_t offset = product.batch > 1 ? blockIdx.z * product.weight_step : 0;
    const int warp = threadIdx.x / 32, lane_row = threadIdx.x % 32 / 4;
    const int64_t first_output = static_cast<int64_t>(blockIdx.x) * kOutputs * kRowTiles;
    const auto load = [&](int tile, int chunk) {
        const int64_t output = first_output + tile * kOutputs + lane_row;
        const int64_t last = weight.rows - 1;  // outputs behind the end repeat it, and are not written
        const int64_t both[2] = {offset + min(output, last), offset + min(output + 8, last)};
        return load_codes(weight, both, chunk);
    };
    // The first weights are on their way while x is staged.
    LaneCodes codes[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
        if (warp + i * kSplits < chunks) codes[i] = load(0, warp + i * kSplits);
    }
    stage(product, job, first_row, staged);
    __syncthreads();
#pragma unroll 1
    for (int tile = 0; tile < kRowTiles; ++tile) {
        float sums[kTiles][2] = {};
#pragma unroll 1
        for (int first = warp; first < chunks; first += kAtOnce * kSplits) {
#pragma unroll
            for (int i = 0; i < kAtOnce; ++i) {
                const int chunk = first + i * kSplits;
                if (chunk >= chunks) break;
                const LaneCodes mine = codes[i];
                // What this place holds next: the same tile further on, or the next tile's beginning.
                const int next = chunk + kAtOnce * kSplits;
                if (next < chunks) {
                    codes[i] = load(tile, next);
                } else if (tile + 1 < kRowTiles && warp + i * kSplits < chunks) {
                    codes[i] = load(tile + 1, warp + i * kSplits);
                }
                add_chunk<kTiles>(mine, weight.scale_type, staged, chunk, sums);
            }
        }
#pragma unroll
        for (int t = 0; t < kTiles; ++t) {
            const int row = t * kTileTokens + threadIdx.x % 4;
            if (row >= rows) continue;
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                partial[((warp * kRowTiles + tile) * kOutputs + lane_row + 8 * i) * rows + row] = sums[t][i];
            }
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < kRowTiles * kOutputs * rows; i += kThreads) {
        const int t = i / (kRowTiles * kOutputs), place = i % (kRowTiles * kOutputs);
        const int64_t output = first_output + place;
        if (output >= weight.rows) continue;
        float sum = 0;
#pragma unroll
        for (int split = 0; split < kSplits; ++split) {
            sum += partial[(split * kRowTiles * kOutputs + place) * rows + t];
        }
        if (job.bias != nullptr) sum += job.bias[output];
        const int64_t row = first_row + t;
        const int64_t out_row = job.out_rows == nullptr ? row : job.out_rows[row * job.out_rows_stride];
        float& out = job.out[out_row * product.out_stride + output];
        out = product.accumulate ? out + sum : sum;
    }
}

uint64_t shared_bytes(int64_t columns, int64_t rows, int row_tiles) {
    const int64_t chunks = columns / kChunk;
    return static_cast<uint64_t>(chunks * rows * 16 * 16 + chunks * rows * 4 +
                                 kSplits * row_tiles * kOutputs * rows * 4);
}

template <int kTiles, int kRowTiles>
void launch(Device& device, const Product& product, int jobs) {
    const int64_t rows = std::min<int64_t>(product.most_rows, kTiles * kTileTokens);
    const auto bytes = static_cast<int>(shared_bytes(product.weight.columns, rows, kRowTiles));
    if (bytes > 48 << 10) {
        check(cudaFuncSetAttribute(affine_rows_kernel<kTiles, kRowTiles>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   bytes),
              "shared memory of a product");
    }
    const dim3 grid(blocks_for(product.weight.rows, kOutputs * kRowTiles),
                    blocks_for(product.most_rows, kTiles * kTileTokens), static_cast<unsigned>(jobs));
    affine_rows_kernel<kTiles, kRowTiles><<<grid, kThreads, bytes, device.stream()>>>(product);
    check_launch("a product");
}

template <int kTiles>
void launch_tiles(Device& device, const Product& product, int jobs) {
    const int64_t tiles = blocks_for(product.weight.rows, kOutputs) * static_cast<int64_t>(jobs);
    // Enough blocks stay to fill the card; x is staged once for all tiles of a block.
    if (tiles >= 4 * 8 * device.multiprocessors()) return launch<kTiles, 4>(device, product, jobs);
    if (tiles >= 2 * 8 * device.multiprocessors()) return launch<kTiles, 2>(device, product, jobs);
    launch<kTiles, 1>(device, product, jobs);
}

bool aligned(const Job& job) {
    return reinterpret_cast<uintptr_t>(job.data) % 8 == 0 && reinterpret_cast<uintptr_t>(job.scales) % 2 == 0 &&
           reinterpret_cast<uintptr_t>(job.zero_points) % 2 == 0;
}

}  // namespace

bool multiply_affine_rows(Device& device, const Product& product) {
    const DeviceWeight& weight = product.weight;
    if (device.exact() || weight.scale_type == ScaleType::kF32 || weight.group_size < kChunk ||
        weight.columns % kChunk != 0 || product.table != nullptr || product.choices.slot_bytes % 8 != 0 ||
        !std::all_of(product.jobs, product.jobs + product.job_count, aligned)) {
        return false;
    }
    const auto fits = [&](int64_t rows) { return shared_bytes(weight.columns, rows, 4) <= kMostSharedBytes; };
    const int jobs = std::max(product.batch, product.job_count) * std::max(product.choices.count, 1);
    const int64_t rows = product.most_rows;
    if (rows > 8 && fits(16)) {
        launch_tiles<4>(device, product, jobs);
    } else if (rows > 4 && fits(std::min<int64_t>(rows, 8))) {
        launch_tiles<2>(device, product, jobs);
    } else if (fits(std::min<int64_t>(rows, 4))) {
        launch_tiles<1>(device, product, jobs);
    } else {
        return false;
    }
    return true;
}

}  // namespace sluice::cuda
