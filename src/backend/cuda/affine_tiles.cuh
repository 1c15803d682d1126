#pragma once

// Few rows times weights of MLX's affine 4 bits on tensor cores, with the digits of F32. Codes are whole numbers, and
// so are numbers of x, beside a power of two that 64 of them share: three digits to the base of 128, columns of their
// own. Sums of 64 columns are whole, in whatever order; scales and zero points meet them in F32. The order of a sum
// depends on nothing but the sizes of the weight.

#include "backend/cuda/eights.cuh"
#include "backend/cuda/product.cuh"
#include "backend/cuda/tensor_cores.cuh"

namespace sluice::cuda {

constexpr int kChunk = 64;                   // columns that meet x at once: two words of codes a lane and row
constexpr int kSpanChunks = 4;               // of what a warp fetches at once
constexpr int kSpan = kChunk * kSpanChunks;  // columns
constexpr int kOutputs = 16;                 // of a tile
constexpr int kDigits = 3;                   // of a number of x
constexpr float kDigitBase = 128;

__device__ __forceinline__ float low_of(uint32_t pair) {
    return __uint_as_float(pair << 16);
}
__device__ __forceinline__ float high_of(uint32_t pair) {
    return __uint_as_float(pair & 0xffff0000u);
}

// A float that holds a whole number of less than 2^22 in its low bits, as it is and with the number off.
constexpr float kWhole = 12582912;
constexpr int kWholeBits = 0x4b400000;

// Of each chunk and row what the codes meet as columns: words of four digits, of numbers whose places in a word of
// codes are even, and odd; the sum of the chunk's numbers, and what their digits are multiplied by.
struct ChunkSums {
    float whole, factor;
};

template <int kTokens>
struct StagedRows {
    uint4* words;        // [chunk][row][digit][lane % 4]
    ChunkSums* sums;     // [chunk][row]
    int rows = kTokens;  // that are there

    static constexpr int kWordsOfChunk = kTokens * kDigits * 4;
    static uint64_t bytes(int64_t chunks) {
        return static_cast<uint64_t>(chunks) * (kWordsOfChunk * sizeof(uint4) + kTokens * sizeof(ChunkSums));
    }
    // From `place` on, which is in shared memory.
    __device__ __forceinline__ StagedRows(uint4* place, int chunks)
        : words(place), sums(reinterpret_cast<ChunkSums*>(place + chunks * kWordsOfChunk)) {}
    __device__ __forceinline__ StagedRows from(int chunk) const {
        StagedRows further = *this;
        further.words += chunk * kWordsOfChunk, further.sums += chunk * kTokens;
        return further;
    }
    __device__ __forceinline__ float* end(int chunks) const { return &sums[chunks * kTokens].whole; }
    __device__ __forceinline__ uint4* at(int chunk, int row, int digit, int quarter) const {
        return words + ((chunk * kTokens + row) * kDigits + digit) * 4 + quarter;
    }
};

// The low bytes of four words.
__device__ __forceinline__ uint32_t bytes_of(float a, float b, float c, float d) {
    const uint32_t low = __byte_perm(__float_as_uint(a), __float_as_uint(b), 0x0040);
    const uint32_t high = __byte_perm(__float_as_uint(c), __float_as_uint(d), 0x0040);
    return __byte_perm(low, high, 0x5410);
}

// Numbers 8 i to 8 i + 7 of row t, by one of eight neighbours who have a chunk.
template <int kTokens>
__device__ __forceinline__ void stage_eight(const StagedRows<kTokens>& staged, int i, int t, const float (&x)[8]) {
    const unsigned together = __activemask();
    float sum = ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7])), most = fabsf(x[0]);
#pragma unroll
    for (int j = 1; j < 8; ++j) most = fmaxf(most, fabsf(x[j]));
#pragma unroll
    for (int step = 4; step > 0; step /= 2) {
        sum += __shfl_xor_sync(together, sum, step);
        most = fmaxf(most, __shfl_xor_sync(together, most, step));
    }
    // The first digit of the largest number is 32 to 64.
    constexpr uint32_t kExponent = 0x7f800000, kLeast = 32u << 23, kFirstBits = 5u << 23, kOne = 127u << 23;
    const uint32_t exponent = max(__float_as_uint(most) & kExponent, kLeast);
    const float inverse = __uint_as_float(2 * kOne + kFirstBits - exponent);
    float rest[8];
#pragma unroll
    for (int j = 0; j < 8; ++j) rest[j] = x[j] * inverse;
    const int chunk = i / 8, half = i % 2, quarter = i % 8 / 2;
#pragma unroll
    for (int digit = 0; digit < kDigits; ++digit) {
        float number[8];
#pragma unroll
        for (int j = 0; j < 8; ++j) {
            number[j] = rest[j] + kWhole;
            rest[j] = (rest[j] - (number[j] - kWhole)) * kDigitBase;
        }
        reinterpret_cast<uint2*>(staged.at(chunk, t, digit, quarter))[half] = {
            bytes_of(number[0], number[2], number[4], number[6]), bytes_of(number[1], number[3], number[5], number[7])};
    }
    if (i % 8 == 0) staged.sums[chunk * kTokens + t] = {sum, __uint_as_float(exponent - kFirstBits)};
}

// What a warp has under way: spans of its tiles, one after the other, in shared memory of its own. Of every four rows,
// whose loads meet all banks, each has its chunks in another order.
constexpr int kRowBytes = kSpan / 2, kChunkBytes = kChunk / 2;
constexpr int kGroupsPitch = 8;  // bytes of the scales of a row: up to four
constexpr int kMostStages = 4;   // of a warp
struct Stage {
    uint8_t codes[kOutputs * kRowBytes];
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
        const uint8_t* const from = matrix.data + (chunk * kChunkBytes + piece * 16);
        uint8_t* const to = stage.codes + lane / 8 * kRowBytes + (piece ^ 2 * (lane / 8)) * 16;
#pragma unroll
        for (int i = 0; i < kOutputs; i += 4) {
            const auto row = static_cast<uint32_t>(min(first_row + i + lane / 8, matrix.last_row));
            copy_async<16>(to + i * kRowBytes, from + static_cast<uint64_t>(row) * matrix.data_row_bytes);
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

// sums += a . b, 16 x 32 by 32 x 8, whole numbers.
__device__ __forceinline__ void add_whole_product(int (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// What two digits that follow each other gave, over kWholeBits.
__device__ __forceinline__ float joined_digits(int first, int second) {
    constexpr float kBack = 1 / kDigitBase;
    return fmaf(__int_as_float(second), kBack, __int_as_float(first) - (kWhole + kWhole * kBack));
}

// sums[tile][i]: of the lane's row i of the weight and row 2 tile + lane % 4 / 2 of x, in lanes that are even.
template <int kTokens, bool kHalf, int kTiles>
__device__ __forceinline__ void add_span(const Stage& stage, const PackedMatrix& matrix,
                                         const StagedRows<kTokens>& staged, int first_chunk, float (&sums)[kTiles][2]) {
    const int quarter = threadIdx.x % 4, column = threadIdx.x % 32 / 4;
    const uint8_t* const codes = stage.codes + column * kRowBytes + quarter * 8;
    const bool meets = column % 4 < kDigits && (kTokens > 1 || column < 4);
    const uint4* const columns = staged.at(first_chunk, column / 4, column % 4, quarter);
    const bool leads = quarter % 2 == 0 && (kTokens > 1 || quarter == 0);
    const ChunkSums* const chunk_sums = staged.sums + first_chunk * kTokens + (kTokens > 1 ? quarter / 2 : 0);
    uint2 scales[2], zero_points[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        scales[i] = groups_of(stage.scales, column + 8 * i, matrix.group_shift);
        zero_points[i] = groups_of(stage.zero_points, column + 8 * i, matrix.group_shift);
    }
#pragma unroll
    for (int j = 0; j < kSpanChunks; ++j) {
        if (j > 0 && first_chunk + j >= matrix.chunks) break;
        const uint8_t* const mine = codes + (j ^ column % 4) * kChunkBytes;
        const uint2 words[2] = {*reinterpret_cast<const uint2*>(mine),
                                *reinterpret_cast<const uint2*>(mine + 8 * kRowBytes)};
        constexpr uint32_t kEven = 0x0f0f0f0f;
        const uint32_t first[4] = {words[0].x & kEven, words[1].x & kEven, words[0].x >> 4 & kEven,
                                   words[1].x >> 4 & kEven};
        const uint32_t second[4] = {words[0].y & kEven, words[1].y & kEven, words[0].y >> 4 & kEven,
                                    words[1].y >> 4 & kEven};
        float scale[2], zero[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            scale[i] = number_of<kHalf>(scales[i], j), zero[i] = number_of<kHalf>(zero_points[i], j);
        }
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) {
            if (kTokens == 4 && tile == 1 && staged.rows <= 2) break;  // experts seldom have more
            uint4 x{};
            if (meets) x = columns[(j * kTokens + tile * 2) * kDigits * 4];
            int group[4] = {kWholeBits, kWholeBits, kWholeBits, kWholeBits};
            add_whole_product(group, first, x.x, x.y);
            add_whole_product(group, second, x.z, x.w);
            const ChunkSums& chunk = chunk_sums[j * kTokens + tile * 2];
            const float whole = leads ? chunk.whole : 0.0f;
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const float sum = joined_digits(group[2 * i], group[2 * i + 1]);
                sums[tile][i] = fmaf(scale[i] * chunk.factor, sum, fmaf(zero[i], whole, sums[tile][i]));
            }
        }
    }
#pragma unroll
    for (auto& tile : sums) {
#pragma unroll
        for (float& sum : tile) {
            constexpr float kBack = 1 / (kDigitBase * kDigitBase);
            sum = fmaf(__shfl_xor_sync(kAllLanes, sum, 1), kBack, sum);
        }
    }
}

// How the warps of a block share its tiles of outputs: `splits` of them part the spans of a tile among themselves, so
// that it works on `at_once` tiles. What a span gives is added up in the order of spans, whoever computes it.
struct Sharing {
    int splits, at_once, tiles;  // tiles: of a block
    int stages;                  // of a warp: one for each of its spans, or kMostStages in turn

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

// For a matrix of so many chunks.
inline Sharing sharing_of(int chunks, int splits, int at_once, int tiles, int most_stages) {
    const int spans = (spans_of(chunks) + splits - 1) / splits * ((tiles + at_once - 1) / at_once);
    return {splits, at_once, tiles, spans < most_stages ? spans : most_stages};
}

// Bytes of what a block's warps have under way.
inline uint64_t stage_bytes(const Sharing& sharing) {
    return static_cast<uint64_t>(sharing.splits * sharing.at_once * sharing.stages) * sizeof(Stage);
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

// The first of so many groups of copies, kMostStages at most, is there.
__device__ __forceinline__ void first_copies_wait(int groups) {
    if (groups == 1) {
        copies_wait<0>();
    } else if (groups == 2) {
        copies_wait<1>();
    } else if (groups == 3) {
        copies_wait<2>();
    } else {
        copies_wait<kMostStages - 1>();
    }
}

// All warps of a block: partial[span][output of the block][kTokens] of its tiles, of which tile_of(number) tells. The
// first weights are on their way when `stage_x` is called, which leaves its rows in shared memory.
template <int kTokens, bool kHalf, typename TileOf, typename StageX>
__device__ __forceinline__ void multiply_tiles(const Sharing& sharing, int chunks, Stage* stages, float* partial,
                                               const TileOf& tile_of, const StageX& stage_x) {
    constexpr int kTiles = (kTokens + 1) / 2;
    const int warp = threadIdx.x / 32, split = warp % sharing.splits, spans = spans_of(chunks);
    Stage* const mine = stages + warp * sharing.stages;
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
    // One place of each, so that a block that runs once reads little code.
    int stage = 0;
#pragma unroll 1
    for (int step = -sharing.stages; step < 0 || at.tile < sharing.tiles; ++step) {
        if (step >= 0) {
            first_copies_wait(sharing.stages);
            __syncwarp();
            const Tile<kTokens> now = tile_of(at.tile);
            float sums[kTiles][2] = {};
            add_span<kTokens, kHalf>(mine[stage], now.matrix, now.staged, at.span * kSpanChunks, sums);
            float* const to =
                partial + (at.span * sharing.outputs() + at.tile * kOutputs + threadIdx.x % 32 / 4) * kTokens;
#pragma unroll
            for (int t = 0; t < kTiles; ++t) {
                const int row = t * 2 + threadIdx.x % 4 / 2;
                if (threadIdx.x % 2 != 0 || row >= kTokens) continue;
#pragma unroll
                for (int i = 0; i < 2; ++i) to[8 * i * kTokens + row] = sums[t][i];
            }
            at.advance(sharing, split, spans);
            __syncwarp();  // before the stage is filled again
        }
        fetch(mine[stage]);
        if (++stage == sharing.stages) stage = 0;
        if (step == -1) {
            stage_x();
            __syncthreads();
        }
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
