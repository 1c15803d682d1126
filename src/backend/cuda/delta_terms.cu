// What the chunked delta rule needs of its tokens alone: a block per chunk and key head makes the products of keys and
// queries, then the terms of the value heads that use it, two at a time.

#include "backend/cuda/delta_chunks.cuh"

namespace sluice::cuda {

namespace {

constexpr int kTermThreads = 128;
// Numbers from row to row in shared memory, such that the words that a warp asks for at once lie in different banks.
constexpr int kTermPitch = kKeys + 8, kTrianglePitch = kChunk + 4, kProductPitch = kChunk + 8;

struct TermsShared {
    union {
        struct {
            uint16_t keys[kChunk][kTermPitch], queries[kChunk][kTermPitch];
        };
        float a[2][kChunk][kTrianglePitch];
    };
    uint16_t key_key[kChunk][kProductPitch], query_key[kChunk][kProductPitch];
    float sums[2][kChunk], betas[2][kChunk], halves[2];
};

__device__ __forceinline__ void load_rows(const uint16_t* row, uint32_t (&out)[4]) {
    load_matrices_at(static_cast<uint32_t>(__cvta_generic_to_shared(row)), out);
}

// sums += a . b of F16, 16 x 16 by 16 x 8.
__device__ __forceinline__ void multiply_halves(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

class Terms {
  public:
    __device__ Terms(const ChunkArgs& args, TermsShared& shared, const SequencePart& part, int first)
        : args_(args), shared_(shared), part_(part), first_(first), key_head_(blockIdx.y) {}

    __device__ void run() {
        if (args_.fours) {
            load<true>();
        } else {
            load<false>();
        }
        __syncthreads();
        multiply();
        const int heads = args_.delta.value_heads / args_.delta.key_heads;
        for (int pair = 0; pair < heads; pair += 2) {
            const bool there = pair + half_ < heads;
            const int head = value_head(min(pair + half_, heads - 1));
            load_gates(head);
            __syncthreads();
            join_gates();
            __syncthreads();
            weigh(value_head(pair), value_head(min(pair + 1, heads - 1)));
            __syncthreads();
            if (there) finish(head);
            __syncthreads();
        }
    }

  private:
    __device__ int value_head(int i) const {
        const int key_heads = args_.delta.key_heads;
        return args_.delta.tiled ? i * key_heads + key_head_ : key_head_ * (args_.delta.value_heads / key_heads) + i;
    }

    template <bool kInFours>
    __device__ float4 four_of(const float* from, bool there) const {
        const int column = 4 * (threadIdx.x % 32), width = args_.delta.key_dim;
        if constexpr (kInFours) {
            return there && column < width ? __ldg(reinterpret_cast<const float4*>(from + column)) : float4{};
        } else {
            float numbers[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                numbers[i] = there && column + i < width ? __ldg(from + column + i) : 0.0f;
            }
            return {numbers[0], numbers[1], numbers[2], numbers[3]};
        }
    }

    // Made of length one: a warp has every fourth token, and some of them under way at once.
    template <bool kInFours>
    __device__ void load() {
        constexpr int kWarps = kTermThreads / 32, kAtOnce = 4;
        const int warp = threadIdx.x / 32, column = 4 * (threadIdx.x % 32);
        ChunkKeys& out = args_.keys_of(part_, first_, key_head_);
#pragma unroll 1
        for (int base = warp; base < kChunk; base += kWarps * kAtOnce) {
            float4 keys[kAtOnce], queries[kAtOnce];
#pragma unroll
            for (int i = 0; i < kAtOnce; ++i) {
                const int t = first_ + base + kWarps * i;
                const bool there = t < part_.count;
                const int64_t row = part_.first_row + (there ? t : 0);
                keys[i] = four_of<kInFours>(args_.delta.key(row, key_head_), there);
                queries[i] = four_of<kInFours>(args_.delta.query(row, key_head_), there);
            }
#pragma unroll
            for (int i = 0; i < kAtOnce; ++i) {
                const int t = base + kWarps * i;
                const uint2 key = normalized(keys[i]), query = normalized(queries[i]);
                *reinterpret_cast<uint2*>(&shared_.keys[t][column]) = key;
                *reinterpret_cast<uint2*>(&shared_.queries[t][column]) = query;
                *reinterpret_cast<uint2*>(&out.keys[t][column]) = key;
                *reinterpret_cast<uint2*>(&out.queries[t][column]) = query;
            }
        }
    }
    __device__ static uint2 normalized(const float4& four) {
        const float squares = fmaf(four.x, four.x, four.y * four.y) + fmaf(four.z, four.z, four.w * four.w);
        const float factor = 1.0f / sqrtf(warp_sum(squares) + kSmallestSquares);
        return {halves_of(four.x * factor, four.y * factor), halves_of(four.z * factor, four.w * factor)};
    }

    // K K^T and Q K^T; a warp has 16 rows of both, up to the diagonal.
    __device__ void multiply() {
        constexpr int kTiles = kChunk / 8;
        const Lane place;
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        float key_key[kTiles][4] = {}, query_key[kTiles][4] = {};
#pragma unroll 2
        for (int k = 0; k < kKeys; k += 16) {
            uint32_t keys[4], queries[4];
            load_rows(&shared_.keys[16 * warp + lane % 16][k + lane / 16 * 8], keys);
            load_rows(&shared_.queries[16 * warp + lane % 16][k + lane / 16 * 8], queries);
#pragma unroll
            for (int n = 0; n < kTiles; n += 2) {
                if (n > 2 * warp) break;
                uint32_t b[4];
                load_rows(&shared_.keys[8 * n + lane / 16 * 8 + lane % 8][k + lane / 8 % 2 * 8], b);
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    multiply_halves(key_key[n + i], keys, b[2 * i], b[2 * i + 1]);
                    multiply_halves(query_key[n + i], queries, b[2 * i], b[2 * i + 1]);
                }
            }
        }
#pragma unroll
        for (int n = 0; n < kTiles; ++n) {
            if (n > 2 * warp + 1) break;
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int t = 16 * warp + place.g + 8 * half, i = 8 * n + 2 * place.t;
                *reinterpret_cast<uint32_t*>(&shared_.key_key[t][i]) =
                    halves_of(key_key[n][2 * half], key_key[n][2 * half + 1]);
                *reinterpret_cast<uint32_t*>(&shared_.query_key[t][i]) =
                    halves_of(query_key[n][2 * half], query_key[n][2 * half + 1]);
            }
        }
    }

    // G within 32 tokens, and beta; tokens behind the end change nothing.
    __device__ void load_gates(int head) {
        const bool there = first_ + token_ < part_.count;
        const int64_t row = part_.first_row + first_ + token_;
        float sum = there ? args_.delta.log_decay(row, head) : 0.0f;
#pragma unroll
        for (int step = 1; step < 32; step *= 2) {
            const float before = __shfl_up_sync(kAllLanes, sum, step);
            if (threadIdx.x % 32 >= step) sum += before;
        }
        if (token_ == 31) shared_.halves[half_] = sum;
        shared_.sums[half_][token_] = sum;
        shared_.betas[half_][token_] = there ? args_.delta.beta(row, head) : 0.0f;
    }
    __device__ void join_gates() {
        if (token_ >= 32) shared_.sums[half_][token_] += shared_.halves[half_];
    }

    // A and P of two value heads.
    __device__ void weigh(int head, int other) {
        const int heads[2] = {head, other};
#pragma unroll 1
        for (int index = threadIdx.x; index < kChunk * kChunk / 4; index += kTermThreads) {
            const int t = index / (kChunk / 4), first = 4 * (index % (kChunk / 4));
            if (first / 16 > t / 16) continue;  // nobody reads what is so far above the diagonal
            const uint2 key_key = *reinterpret_cast<const uint2*>(&shared_.key_key[t][first]);
            const uint2 query_key = *reinterpret_cast<const uint2*>(&shared_.query_key[t][first]);
            const float2 a_low = floats_of(key_key.x), a_high = floats_of(key_key.y);
            const float2 p_low = floats_of(query_key.x), p_high = floats_of(query_key.y);
            const float of_a[4] = {a_low.x, a_low.y, a_high.x, a_high.y};
            const float of_p[4] = {p_low.x, p_low.y, p_high.x, p_high.y};
#pragma unroll
            for (int h = 0; h < 2; ++h) {
                const float sum = shared_.sums[h][t], beta = shared_.betas[h][t];
                float a[4], p[4];
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    const int i = first + j;
                    const float decay = i <= t ? __expf(sum - shared_.sums[h][i]) : 0.0f;
                    a[j] = i < t ? of_a[j] * decay * beta : 0.0f;
                    p[j] = i <= t ? of_p[j] * decay : 0.0f;
                }
                *reinterpret_cast<float4*>(&shared_.a[h][t][first]) = {a[0], a[1], a[2], a[3]};
                *reinterpret_cast<uint2*>(&args_.terms_of(part_, first_, heads[h]).answers[t][first]) = {
                    halves_of(p[0], p[1]), halves_of(p[2], p[3])};
            }
        }
    }

    // The thread's column of (1 + A)^-1 beta, by forward substitution, and its factors.
    __device__ void finish(int head) {
        ChunkTerms& terms = args_.terms_of(part_, first_, head);
        const float sum = shared_.sums[half_][token_], last = shared_.sums[half_][kChunk - 1];
        terms.decays[token_] = expf(sum);
        terms.rests[token_] = expf(last - sum);
        if (token_ == 0) terms.decay[0] = expf(last);
        float x[kChunk];
        invert_column(shared_.a[half_], token_, x);
        const float beta = shared_.betas[half_][token_];
#pragma unroll
        for (int t = 0; t < kChunk; ++t) {
            terms.inverse[t][token_] = static_cast<uint16_t>(halves_of(x[t] * beta, 0.0f));
        }
    }
    __device__ static void invert_column(const float (&a)[kChunk][kTrianglePitch], int column, float (&x)[kChunk]) {
        x[0] = column == 0 ? 1.0f : 0.0f;
#pragma unroll
        for (int t = 1; t < kChunk; ++t) {
            float sums[4] = {};
#pragma unroll
            for (int i = 0; i < t; i += 4) {
                const float4 four = *reinterpret_cast<const float4*>(&a[t][i]);
                sums[0] = fmaf(four.x, x[i], sums[0]);
                if (i + 1 < t) sums[1] = fmaf(four.y, x[i + 1], sums[1]);
                if (i + 2 < t) sums[2] = fmaf(four.z, x[i + 2], sums[2]);
                if (i + 3 < t) sums[3] = fmaf(four.w, x[i + 3], sums[3]);
            }
            x[t] = (column == t ? 1.0f : 0.0f) - ((sums[0] + sums[1]) + (sums[2] + sums[3]));
        }
    }

    const ChunkArgs& args_;
    TermsShared& shared_;
    const SequencePart& part_;
    const int first_, key_head_;
    const int half_ = threadIdx.x / kChunk, token_ = threadIdx.x % kChunk;
};

__global__ void __launch_bounds__(kTermThreads, 4) terms_kernel(const __grid_constant__ ChunkArgs args) {
    extern __shared__ __align__(16) float memory[];
    int first = 0;
    const SequencePart part = args.delta.sequences.of_tile(blockIdx.x, kChunk, first);
    if (part.sequence < 0 || part.count <= kTokenwiseRows) return;
    Terms(args, *reinterpret_cast<TermsShared*>(memory), part, first).run();
}

}  // namespace

void make_chunk_terms(Device& device, const ChunkArgs& args, int64_t rows) {
    constexpr int kBytes = sizeof(TermsShared);
    check(cudaFuncSetAttribute(terms_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
          "shared memory of GatedDeltaRule");
    const dim3 grid(blocks_for(rows, kChunk) + static_cast<unsigned>(args.delta.sequences.count) - 1,
                    static_cast<unsigned>(args.delta.key_heads));
    terms_kernel<<<grid, kTermThreads, kBytes, device.stream()>>>(args);
    check_launch("GatedDeltaRule");
}

}  // namespace sluice::cuda
