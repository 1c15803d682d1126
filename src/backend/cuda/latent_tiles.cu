// A block: 64 query vectors (heads of rows) and a piece of a cache, 64 tokens at a time. The first warpgroup scores the
// tokens and the second one fetches the next ones meanwhile; then each adds up half of the values. A tile of tokens is
// in shared memory once, as keys and as values.

#include "backend/cuda/latent_tiles.h"

#include <algorithm>

#include "backend/cuda/latent_products.cuh"

namespace sluice::cuda {

namespace {

constexpr int kLatent = 512, kRotary = 64, kKeyBlocks = (kLatent + kRotary) / 64;
constexpr int kVectors = 64, kTokens = 64, kThreads = 256;
constexpr int kBlockBytes = 64 * 128;  // 64 rows of 64 numbers
constexpr int kTileBytes = kKeyBlocks * kBlockBytes;
// A cache is cut into as many pieces as this, or fewer of the least length: how depends on its own length alone.
constexpr int kMostPieces = 64, kLeastPiece = 128;

__host__ __device__ inline int piece_tokens(int64_t tokens) {
    constexpr int kAtOnce = kTokens * kMostPieces;
    const auto even = static_cast<int>((tokens + kAtOnce - 1) / kAtOnce) * kTokens;
    return even > kLeastPiece ? even : kLeastPiece;
}

__host__ __device__ inline int pieces_of(int64_t tokens) {
    const int length = piece_tokens(tokens);
    return static_cast<int>((tokens + length - 1) / length);
}

// Of a vector and piece: sums in BF16, and before all of them the largest score (as a power of two) and the sum of
// weights. Sums lie as the threads that make them have them: see column_of.
struct Partials {
    float2* weights;
    uint16_t* sums;
    int heads, rows;  // per sequence

    __device__ int64_t at(const SequencePart& part, int row, int head, int piece) const {
        const int64_t vector = (static_cast<int64_t>(part.sequence) * rows + row) * heads + head;
        return vector * kMostPieces + piece;
    }
};

// Of number i of a vector's sums.
__device__ __forceinline__ int column_of(int i) {
    return i / 32 * 32 + i % 8 / 2 * 8 + i / 8 % 4 * 2 + i % 2;
}

int64_t partial_vectors(const AttendArgs& args, const Sequences& sequences) {
    return sequences.rows.rows * std::min<int64_t>(sequences.most_rows, kFewRows) * args.heads;
}

Partials partials_of(const AttendArgs& args, const Sequences& sequences) {
    const int64_t count = partial_vectors(args, sequences) * kMostPieces;
    auto* const weights = reinterpret_cast<float2*>(args.partial);
    return {.weights = weights,
            .sums = reinterpret_cast<uint16_t*>(weights + count),
            .heads = args.heads,
            .rows = static_cast<int>(std::min<int64_t>(sequences.most_rows, kFewRows))};
}

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

struct TileShared {
    uint8_t queries[kTileBytes];
    uint8_t tokens[2][kTileBytes];
    uint8_t weights[kBlockBytes];
};

// The vectors of a block: number first + v of a sequence is head (first + v) % heads of row (first + v) / heads.
struct Vectors {
    SequencePart part;
    int first, count;
};

// Of one row where no two rows see the same.
__device__ Vectors vectors_of(const AttendArgs& args, int tile) {
    if (args.rows_apart()) {
        const int tiles = (args.heads + kVectors - 1) / kVectors, row = tile / tiles, head = tile % tiles * kVectors;
        const SequencePart part = args.sequences.of_row(row);
        return {part, (row - part.first_row) * args.heads + head, min(kVectors, args.heads - head)};
    }
    for (int s = 0; s < args.sequences.count; ++s) {
        const SequencePart part = args.sequences.at(s);
        const int vectors = part.count * args.heads, tiles = (vectors + kVectors - 1) / kVectors;
        if (tile < tiles) return {part, tile * kVectors, min(kVectors, vectors - tile * kVectors)};
        tile -= tiles;
    }
    return {{}, 0, 0};
}

__device__ __forceinline__ uint32_t pair_of_bf16(float low, float high) {
    uint32_t pair = 0;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

template <bool kInFours>
__device__ __forceinline__ void load_eight(const float* from, float (&numbers)[8]) {
    if (kInFours) {
        const float4 low = __ldg(reinterpret_cast<const float4*>(from));
        const float4 high = __ldg(reinterpret_cast<const float4*>(from) + 1);
        numbers[0] = low.x, numbers[1] = low.y, numbers[2] = low.z, numbers[3] = low.w;
        numbers[4] = high.x, numbers[5] = high.y, numbers[6] = high.z, numbers[7] = high.w;
    } else {
#pragma unroll
        for (int j = 0; j < 8; ++j) numbers[j] = __ldg(from + j);
    }
}

// A thread has every 32nd vector, eight numbers of each block of columns; many are asked for before the first is used.
template <bool kInFours>
__device__ __forceinline__ void load_queries(const AttendArgs& args, const Vectors& vectors, uint8_t* to) {
    const int piece = threadIdx.x % 8;
#pragma unroll
    for (int part = 0; part < kVectors * 8 / kThreads; ++part) {
        const int v = threadIdx.x / 8 + part * (kThreads / 8);
        const bool there = v < vectors.count;
        const int vector = vectors.first + (there ? v : 0), head = vector % args.heads;
        const int64_t row = vectors.part.first_row + vector / args.heads;
        const float* const latent = args.query_a[row] + head * args.query_a_head + 8 * piece;
        const float* const rotary = args.query_b[row] + head * args.query_b_head + 8 * piece;
        float numbers[kKeyBlocks][8];
#pragma unroll
        for (int block = 0; block < kKeyBlocks; ++block) {
            load_eight<kInFours>(block < kLatent / 64 ? latent + 64 * block : rotary, numbers[block]);
        }
#pragma unroll
        for (int block = 0; block < kKeyBlocks; ++block) {
            uint32_t words[4];
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                words[j] = there ? pair_of_bf16(numbers[block][2 * j], numbers[block][2 * j + 1]) : 0;
            }
            *reinterpret_cast<uint4*>(to + block * kBlockBytes + swizzled(v, piece)) = {words[0], words[1], words[2],
                                                                                        words[3]};
        }
    }
}

// The second warpgroup's work: a thread has 16 bytes of each block of four tokens. Where these lie is looked up a tile
// ahead.
class Fetcher {
  public:
    __device__ Fetcher(const AttendArgs& args, int sequence, const int32_t* list, int end)
        : args_(args),
          sequence_(sequence),
          end_(end),
          row_(threadIdx.x % 128 / 8),
          piece_(threadIdx.x % 8),
          list_(list) {}

    __device__ void find(int token) {
        const int tokens = args_.cache.page_tokens;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            int at = token + row_ + 16 * i;
            rows_[i] = nullptr;
            if (at >= end_) continue;
            if (list_ != nullptr) at = list_[at];
            const int64_t page = args_.cache.pages[sequence_][at / tokens];
            rows_[i] = args_.cache.pool + page * static_cast<int64_t>(args_.cache.page_bytes) +
                       at % tokens * args_.key_a.token_bytes;
        }
    }
    // What was found; zeros behind the end.
    __device__ void fetch(uint8_t* to) const {
        const uint32_t place = shared_address(to) + swizzled(row_, piece_);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const uint8_t* const from = rows_[i] == nullptr ? args_.cache.pool : rows_[i] + 16 * piece_;
            const int bytes = rows_[i] == nullptr ? 0 : 16, step = rows_[i] == nullptr ? 0 : 128;
#pragma unroll
            for (int block = 0; block < kKeyBlocks; ++block) {
                asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(place + 16 * 128 * i +
                                                                                            block * kBlockBytes),
                             "l"(from + block * step), "r"(bytes)
                             : "memory");
            }
        }
        asm volatile("cp.async.commit_group;" ::: "memory");
    }
    __device__ static void await() {
        asm volatile("cp.async.wait_group 0;" ::: "memory");
    }

  private:
    const AttendArgs& args_;
    const int sequence_, end_, row_, piece_;
    const int32_t* const list_;  // null: all tokens
    const uint8_t* rows_[4];
};

// The first warpgroup's: of a thread the vectors `row` and row + 8, sixteen tokens each.
struct Softmax {
    float largest[2] = {-INFINITY, -INFINITY}, total[2] = {};

    // Scores become weights in shared memory; what was added up so far is to be multiplied by the factors.
    __device__ void weigh(float (&scores)[32], float scale, const int (&seen)[2], uint8_t* weights, float* factors) {
        const int row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, column = 2 * (threadIdx.x % 4);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float most = largest[half];
#pragma unroll
            for (int i = 0; i < 16; ++i) {
                float& score = scores[i / 2 * 4 + 2 * half + i % 2];
                score = 8 * (i / 2) + column + i % 2 < seen[half] ? score * scale : -INFINITY;
                most = fmaxf(most, score);
            }
            most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, 1));
            most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, 2));
            const float zero = most == -INFINITY ? 0.0f : most, factor = exp2f(largest[half] - zero);
            float sum = 0;
            uint8_t* const to = weights + 2 * column;
#pragma unroll
            for (int n = 0; n < 8; ++n) {
                const float low = exp2f(scores[4 * n + 2 * half] - zero);
                const float high = exp2f(scores[4 * n + 2 * half + 1] - zero);
                sum += low + high;
                *reinterpret_cast<uint32_t*>(to + swizzled(row + 8 * half, n)) = pair_of_bf16(low, high);
            }
            largest[half] = most;
            total[half] = total[half] * factor + sum;
            if (column == 0) factors[row + 8 * half] = factor;
        }
    }
    __device__ void finish() {
#pragma unroll
        for (float& sum : total) {
            sum += __shfl_xor_sync(0xffffffff, sum, 1);
            sum += __shfl_xor_sync(0xffffffff, sum, 2);
        }
    }
};

__device__ __forceinline__ void score(float (&scores)[32], uint32_t queries, uint32_t tokens) {
    products_begin();
#pragma unroll
    for (int block = 0; block < kKeyBlocks; ++block) {
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const int at = block * kBlockBytes + 32 * k;
            multiply_rows(scores, rows_of_sum(queries + at), rows_of_sum(tokens + at), block + k > 0);
        }
    }
    products_end();
    products_wait<0>();
}

// The warpgroup's half of the values, times the weights.
__device__ __forceinline__ void add_values(float (&sums)[128], uint32_t weights, uint32_t values) {
    products_begin();
#pragma unroll
    for (int k = 0; k < kTokens / 16; ++k) {
        multiply_columns(sums, rows_of_sum(weights + 32 * k), columns_of_sum(values + 16 * 128 * k, kBlockBytes));
    }
    products_end();
    products_wait<0>();
}

__device__ __forceinline__ void rescale(float (&sums)[128], float low, float high) {
    if (__all_sync(0xffffffff, low == 1.0f && high == 1.0f)) return;
#pragma unroll
    for (int i = 0; i < 128; ++i) sums[i] *= i % 4 < 2 ? low : high;
}

#endif

// Until the kernel that was handed over before this one is done.
__device__ __forceinline__ void await_kernel_before() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Grid: (vectors, pieces). Sequences with many rows are one piece.
__global__ void __launch_bounds__(kThreads, 1)
    latent_tiles_kernel(const AttendArgs args, const Partials partials, bool queries_in_fours) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    extern __shared__ uint8_t memory[];
    __shared__ float factors[kVectors];
    auto& shared = *reinterpret_cast<TileShared*>(memory + (1024 - shared_address(memory) % 1024) % 1024);
    const Vectors vectors = vectors_of(args, blockIdx.x);
    if (vectors.part.sequence < 0) return;
    const int last_row = (vectors.first + vectors.count - 1) / args.heads;
    const bool split = vectors.part.count <= kFewRows;
    const int32_t* const list = args.rows_apart() ? args.listed[vectors.part.first_row + last_row] : nullptr;
    const int seen_last = list == nullptr ? vectors.part.position + last_row + 1 : listed_count(list, args.most_listed);
    const int length = piece_tokens(list == nullptr ? vectors.part.position + vectors.part.count : seen_last);
    const int begin = split ? blockIdx.y * length : 0;
    int end = seen_last;
    if (split) end = min(end, begin + length);
    if (begin >= end || (!split && blockIdx.y > 0)) return;

    const int group = threadIdx.x / 128, row = threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4;
    Fetcher fetcher(args, vectors.part.sequence, list, end);
    if (group == 1) {
        fetcher.find(begin);
        fetcher.fetch(shared.tokens[0]);
        fetcher.find(begin + kTokens);
    }
    if (queries_in_fours) {
        load_queries<true>(args, vectors, shared.queries);
    } else {
        load_queries<false>(args, vectors, shared.queries);
    }
    int seen[2];  // tokens that this thread's vectors see
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int v = vectors.first + row + 8 * half;
        seen[half] = list == nullptr ? min(end, vectors.part.position + v / args.heads + 1) : end;
    }
    Softmax softmax;
    float sums[128] = {};
    const float scale = args.scale * 1.44269504f;  // weights are powers of two
    int place = 0;
    for (int token = begin; token < end; token += kTokens, place ^= 1) {
        if (group == 1) Fetcher::await();
        publish_shared();
        __syncthreads();
        if (group == 1) {
            if (token + kTokens < end) {
                fetcher.fetch(shared.tokens[place ^ 1]);
                fetcher.find(token + 2 * kTokens);
            }
        } else {
            float scores[32];
            score(scores, shared_address(shared.queries), shared_address(shared.tokens[place]));
            const int here[2] = {seen[0] - token, seen[1] - token};
            softmax.weigh(scores, scale, here, shared.weights, factors);
            publish_shared();
        }
        __syncthreads();
        rescale(sums, factors[row], factors[row + 8]);
        add_values(sums, shared_address(shared.weights),
                   shared_address(shared.tokens[place]) + group * (kLatent / 2 / 64) * kBlockBytes);
    }

    // Behind the last barrier factors are read no more.
    __syncthreads();
    if (group == 0) {
        softmax.finish();
        if (threadIdx.x % 4 == 0) {
            factors[row] = softmax.total[0];
            factors[row + 8] = softmax.total[1];
        }
    }
    __syncthreads();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        if (row + 8 * half >= vectors.count) break;
        const int v = vectors.first + row + 8 * half, head = v % args.heads, own_row = v / args.heads;
        const int lane = threadIdx.x % 4;
        if (split) {
            const int64_t at = partials.at(vectors.part, own_row, head, blockIdx.y);
            if (group == 0 && lane == 0) partials.weights[at] = {softmax.largest[half], softmax.total[half]};
            uint16_t* const to = partials.sums + at * kLatent + group * (kLatent / 2) + 8 * lane;
#pragma unroll
            for (int n = 0; n < 32; n += 4) {
                uint32_t words[4];
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    words[i] = pair_of_bf16(sums[4 * (n + i) + 2 * half], sums[4 * (n + i) + 2 * half + 1]);
                }
                *reinterpret_cast<uint4*>(to + 8 * n) = {words[0], words[1], words[2], words[3]};
            }
        } else {
            const float inverse = 1.0f / factors[row + 8 * half];
            const int64_t column = static_cast<int64_t>(head) * kLatent + group * (kLatent / 2) + 2 * lane;
            float* const to = args.out[vectors.part.first_row + own_row] + column;
#pragma unroll
            for (int n = 0; n < 32; ++n) {
                to[8 * n] = sums[4 * n + 2 * half] * inverse;
                to[8 * n + 1] = sums[4 * n + 2 * half + 1] * inverse;
            }
        }
    }
#endif
}

constexpr int kJoinThreads = kLatent, kJoinGroups = kJoinThreads / (kLatent / 8);

// The pieces of a row and head, in groups of every eighth piece, then the groups, each in their order.
__global__ void __launch_bounds__(kJoinThreads) join_latents_kernel(const AttendArgs args, const Partials partials) {
    __shared__ float weights[kMostPieces];
    __shared__ float4 sums[kJoinGroups][kLatent / 4];
    const int row = blockIdx.x, head = blockIdx.y, thread = threadIdx.x;
    const SequencePart part = args.sequences.of_row(row);
    await_kernel_before();
    if (part.sequence < 0 || part.count > kFewRows) return;
    const int own_row = row - part.first_row;
    const int seen = args.rows_apart() ? listed_count(args.listed[row], args.most_listed) : part.position + own_row + 1;
    const int length = piece_tokens(args.rows_apart() ? seen : part.position + part.count);
    const int pieces = (seen + length - 1) / length;
    const int64_t first = partials.at(part, own_row, head, 0);
    // Asked for before the weights are known.
    constexpr int kMine = kMostPieces / kJoinGroups;
    const int group = thread / (kLatent / 8), place = thread % (kLatent / 8);
    uint4 words[kMine];
#pragma unroll
    for (int i = 0; i < kMine; ++i) {
        const int piece = group + i * kJoinGroups;
        words[i] = uint4{};
        if (piece < pieces) words[i] = reinterpret_cast<const uint4*>(partials.sums + (first + piece) * kLatent)[place];
    }
    if (thread < 32) {
        float2 mine[kMostPieces / 32];
        float largest = -INFINITY, total = 0;
#pragma unroll
        for (int i = 0; i < kMostPieces / 32; ++i) {
            const int piece = thread + 32 * i;
            mine[i] = piece < pieces ? partials.weights[first + piece] : float2{-INFINITY, 0};
            largest = fmaxf(largest, mine[i].x);
        }
        largest = warp_max(largest);
#pragma unroll
        for (int i = 0; i < kMostPieces / 32; ++i) {
            mine[i].x = exp2f(mine[i].x - largest);
            total += mine[i].x * mine[i].y;
        }
        total = warp_sum(total);
#pragma unroll
        for (int i = 0; i < kMostPieces / 32; ++i) weights[thread + 32 * i] = mine[i].x / total;
    }
    __syncthreads();
    float sum[8] = {};
#pragma unroll
    for (int i = 0; i < kMine; ++i) {
        const float weight = weights[group + i * kJoinGroups];
        const uint32_t pairs[4] = {words[i].x, words[i].y, words[i].z, words[i].w};
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            sum[2 * j] = fmaf(weight, __uint_as_float(pairs[j] << 16), sum[2 * j]);
            sum[2 * j + 1] = fmaf(weight, __uint_as_float(pairs[j] & 0xffff0000), sum[2 * j + 1]);
        }
    }
    sums[group][2 * place] = {sum[0], sum[1], sum[2], sum[3]};
    sums[group][2 * place + 1] = {sum[4], sum[5], sum[6], sum[7]};
    __syncthreads();
    float all = 0;
#pragma unroll
    for (int other = 0; other < kJoinGroups; ++other) all += reinterpret_cast<const float*>(sums[other])[thread];
    args.out[row][static_cast<int64_t>(head) * kLatent + column_of(thread)] = all;
}

// Handed over so that its blocks may start before those of the tiles are done; await_kernel_before() is where they
// wait.
void launch_join(Device& device, const AttendArgs& args, const Partials& partials) {
    cudaLaunchAttribute attribute{};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(args.rows), static_cast<unsigned>(args.heads));
    config.blockDim = dim3(kJoinThreads);
    config.stream = device.stream();
    config.attrs = &attribute;
    config.numAttrs = 1;
    check(cudaLaunchKernelEx(&config, join_latents_kernel, args, partials), "LatentAttention");
}

constexpr int kSharedBytes = kTileBytes * 3 + kBlockBytes + 1024;

bool queries_in_fours(const AttendArgs& args) {
    const auto bases = reinterpret_cast<uint64_t>(args.query_a.first) | reinterpret_cast<uint64_t>(args.query_b.first);
    const int64_t steps = args.query_a.stride | args.query_b.stride | args.query_a_head | args.query_b_head;
    return bases % 16 == 0 && steps % 4 == 0;
}

// Whether the program has the kernel for this card: for others it is empty, and has no shared memory of its own.
bool compiled_for_this_card() {
    cudaFuncAttributes attributes{};
    if (cudaFuncGetAttributes(&attributes, latent_tiles_kernel) == cudaSuccess) return attributes.sharedSizeBytes > 0;
    (void)cudaGetLastError();
    return false;
}

}  // namespace

bool takes_latent_tiles(const Device& device, const AttendArgs& args) {
    if (device.exact() || args.cache.format != KvFormat::kBF16) return false;
    if (args.key_a.width != kLatent || args.key_b.width != kRotary) return false;
    if ((reinterpret_cast<uint64_t>(args.cache.pool) | args.cache.page_bytes) % 16 != 0) return false;
    return compiled_for_this_card();
}

uint64_t latent_partial_bytes(const AttendArgs& args, const Sequences& sequences) {
    return static_cast<uint64_t>(partial_vectors(args, sequences)) * kMostPieces *
           (sizeof(float2) + kLatent * sizeof(uint16_t));
}

void attend_latent_tiles(Device& device, const AttendArgs& args, const Sequences& sequences) {
    const Partials partials = partials_of(args, sequences);
    check(cudaFuncSetAttribute(latent_tiles_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes),
          "shared memory of LatentAttention");
    const int64_t vectors = static_cast<int64_t>(args.rows) * args.heads;
    const int64_t most =
        args.rows_apart() ? std::min<int64_t>(sequences.most_tokens, args.most_listed) : sequences.most_tokens;
    int pieces = 1;
    if (most > kLeastPiece) {
        // The longest is not always cut into the most pieces.
        const int64_t even = int64_t{kMostPieces} * kLeastPiece;
        pieces = most >= even ? kMostPieces : pieces_of(most);
    }
    const unsigned tiles = args.rows_apart()
                               ? static_cast<unsigned>(args.rows) * blocks_for(args.heads, kVectors)
                               : blocks_for(vectors, kVectors) + static_cast<unsigned>(args.sequences.count) - 1;
    const dim3 grid(tiles, static_cast<unsigned>(pieces));
    latent_tiles_kernel<<<grid, kThreads, kSharedBytes, device.stream()>>>(args, partials, queries_in_fours(args));
    check_launch("LatentAttention");
    if (args.sequences.count == 1 && args.rows > kFewRows) return;
    launch_join(device, args, partials);
}

}  // namespace sluice::cuda
