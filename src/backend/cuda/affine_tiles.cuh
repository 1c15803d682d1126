#pragma once

// Few rows times weights of MLX's affine 4 bits on tensor cores, with the digits of F32. 128 + a code is a number of
// BF16 without rounding; a number of x is the sum of two (its first 16 digits), columns of their own. Scales and zero
// points meet the sums of a group in F32, where 128 times the sum of x goes off again. The order of a sum depends on
// nothing but the sizes of the weight.

#include "backend/cuda/eights.cuh"
#include "backend/cuda/product.cuh"
#include "backend/cuda/tensor_cores.cuh"

namespace sluice::cuda {

constexpr int kChunk = 64;                   // columns that meet x at once: two words of codes a lane and row
constexpr int kSpanChunks = 4;               // of what a warp fetches at once
constexpr int kSpan = kChunk * kSpanChunks;  // columns
constexpr int kOutputs = 16;                 // of a tile
constexpr float kBias = 128;                 // of a code

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

// Numbers 8 i to 8 i + 7 of row t, by one of eight neighbours who have a chunk. What is summed is what codes will meet,
// so that their bias goes off whole.
template <int kTokens>
__device__ __forceinline__ void stage_eight(const StagedRows<kTokens>& staged, int i, int t, const float (&x)[8]) {
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

// What a warp has under way: spans of its tiles, one after the other, in shared memory of its own.
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
struct PackedMatrix {
    const uint8_t *data, *groups;  // groups: scales by the first half of the lanes, zero points by the others
    uint32_t data_row_bytes, group_row_bytes;
    int last_row, chunks, group_shift;  // a group is 1 << group_shift chunks
};

__device__ __forceinline__ void fetch_span(const PackedMatrix& matrix, int first_row, int chunk, Stage& stage) {
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
__device__ __forceinline__ void add_span(const Stage& stage, const PackedMatrix& matrix,
                                         const StagedRows<kTokens>& staged, int first_chunk, float (&sums)[kTiles][2]) {
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

// How the warps of a block share its tiles of outputs: `splits` of them part the spans of a tile among themselves, so
// that it works on `at_once` tiles. What a span gives is added up in the order of spans, whoever computes it.
struct Sharing {
    int splits, at_once, tiles;  // tiles: of a block

    __host__ __device__ int outputs() const { return tiles * kOutputs; }
};

__host__ __device__ inline int spans_of(int chunks) {
    return (chunks + kSpanChunks - 1) / kSpanChunks;
}

// As many warps share a tile as have something to do.
__host__ __device__ inline int splits_of(int chunks, int warps) {
    int splits = warps;
    while (splits > spans_of(chunks)) splits /= 2;
    return splits;
}

// Bytes of what the spans of a block give.
inline uint64_t partial_bytes(const Sharing& sharing, int chunks, int tokens) {
    return static_cast<uint64_t>(spans_of(chunks) * sharing.outputs() * tokens) * sizeof(float);
}

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

// A tile of 16 outputs from `first_row` of a matrix on, and the rows that it meets.
template <int kTokens>
struct Tile {
    PackedMatrix matrix;
    int first_row;
    StagedRows<kTokens> staged;
};

// All warps of a block: partial[span][output of the block][kTokens] of its tiles, of which tile_of(number) tells. The
// first weights are on their way when `stage_x` is called, which leaves its rows in shared memory.
template <int kTokens, bool kHalf, int kStages, typename TileOf, typename StageX>
__device__ __forceinline__ void multiply_tiles(const Sharing& sharing, int chunks, Stage* stages, float* partial,
                                               const TileOf& tile_of, const StageX& stage_x) {
    constexpr int kTiles = (kTokens + 3) / 4;
    const int warp = threadIdx.x / 32, split = warp % sharing.splits, spans = spans_of(chunks);
    Stage* const mine = stages + warp * kStages;
    Cursor fetched{warp / sharing.splits, split};
    Cursor at = fetched;
    const auto fetch = [&](Stage& stage) {
        if (fetched.tile < sharing.tiles) {
            const Tile<kTokens> tile = tile_of(fetched.tile);
            fetch_span(tile.matrix, tile.first_row, fetched.span * kSpanChunks, stage);
            fetched.advance(sharing, split, spans);
        }
        copies_end();
    };
#pragma unroll 1
    for (int i = 0; i < kStages; ++i) fetch(mine[i]);
    stage_x();
    __syncthreads();
    for (int read = 0; at.tile < sharing.tiles; read = read + 1 == kStages ? 0 : read + 1) {
        copies_wait<kStages - 1>();
        __syncwarp();
        const Tile<kTokens> now = tile_of(at.tile);
        float sums[kTiles][2] = {};
        add_span<kTokens, kHalf>(mine[read], now.matrix, now.staged, at.span * kSpanChunks, sums);
        float* const to = partial + (at.span * sharing.outputs() + at.tile * kOutputs + threadIdx.x % 32 / 4) * kTokens;
#pragma unroll
        for (int t = 0; t < kTiles; ++t) {
            const int row = t * 4 + threadIdx.x % 4;
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                if (kTokens >= 4 || row < kTokens) to[8 * i * kTokens + row] = sums[t][i];
            }
        }
        at.advance(sharing, split, spans);
        __syncwarp();  // before the stage is filled again
        fetch(mine[read]);
    }
    __syncthreads();
}

// What is behind multiply_tiles(): a number of the block for a row of x.
template <int kTokens>
__device__ __forceinline__ float sum_of_spans(const Sharing& sharing, int chunks, const float* partial, int output,
                                              int token) {
    float sum = 0;
    const int outputs = sharing.outputs();
    for (int span = 0; span < spans_of(chunks); ++span) sum += partial[(span * outputs + output) * kTokens + token];
    return sum;
}

}  // namespace sluice::cuda
