// What the chunked delta rule needs of its tokens alone: a block per chunk and key head makes the products of keys and
// queries, then the terms of the value heads that use it, two at a time.

#include "backend/cuda/delta_chunks.cuh"

namespace sluice::cuda {

namespace {

constexpr int kTermThreads = 128;
// Words from row to row in shared memory, such that the words that a warp asks for at once lie in different banks.
constexpr int kRawPitch = kKeys + 8, kTrianglePitch = kChunk + 4;

struct TermsShared {
    union {
        float keys[kChunk][kRawPitch];
        struct {
            float key_key[kChunk][kTrianglePitch], query_key[kChunk][kTrianglePitch];
        };
    };
    union {
        float queries[kChunk][kRawPitch];
        float a[2][kChunk][kTrianglePitch];
    };
    float of_key[kChunk], of_query[kChunk];  // what makes them of length one
    float sums[2][kChunk], betas[2][kChunk], halves[2];
};

class Terms {
  public:
    __device__ Terms(const ChunkArgs& args, TermsShared& shared, const SequencePart& part, int first)
        : args_(args), shared_(shared), part_(part), first_(first), key_head_(blockIdx.y) {}

    __device__ void run() {
        load(args_.delta.key(part_.first_row + first_, key_head_), shared_.keys);
        load(args_.delta.query(part_.first_row + first_, key_head_), shared_.queries);
        end_copies();
        await_copies<0>();
        __syncthreads();
        measure();
        __syncthreads();
        ChunkKeys& keys = args_.keys_of(part_, first_, key_head_);
        store(shared_.keys, shared_.of_key, keys.keys);
        store(shared_.queries, shared_.of_query, keys.queries);
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

    // Keys or queries of the chunk, zeros behind the sequence's end and the width.
    __device__ void load(const float* from, float (&to)[kChunk][kRawPitch]) {
        const int width = args_.delta.key_dim, rows = min(kChunk, part_.count - first_);
        const int64_t stride = args_.delta.qkv.stride;
        if (args_.fours) {
#pragma unroll 8
            for (int i = threadIdx.x; i < kChunk * kKeys / 4; i += kTermThreads) {
                const int t = i / (kKeys / 4), c = 4 * (i % (kKeys / 4));
                const bool there = t < rows && c < width;
                copy_async<16>(&to[t][c], there ? from + t * stride + c : from, there);
            }
        } else {
            for (int i = threadIdx.x; i < kChunk * kKeys; i += kTermThreads) {
                const int t = i / kKeys, c = i % kKeys;
                const bool there = t < rows && c < width;
                copy_async<4>(&to[t][c], there ? from + t * stride + c : from, there);
            }
        }
    }

    // A thread per key and query.
    __device__ void measure() {
        const float* const row = half_ == 0 ? shared_.keys[token_] : shared_.queries[token_];
        float sums[4] = {};
#pragma unroll 8
        for (int c = 0; c < kKeys; c += 4) {
            const float4 four = *reinterpret_cast<const float4*>(row + c);
            sums[0] = fmaf(four.x, four.x, sums[0]), sums[1] = fmaf(four.y, four.y, sums[1]);
            sums[2] = fmaf(four.z, four.z, sums[2]), sums[3] = fmaf(four.w, four.w, sums[3]);
        }
        const float squares = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        (half_ == 0 ? shared_.of_key : shared_.of_query)[token_] = 1.0f / sqrtf(squares + kSmallestSquares);
    }

    __device__ static void store(const float (&from)[kChunk][kRawPitch], const float (&factors)[kChunk],
                                 uint16_t (&to)[kChunk][kKeys]) {
#pragma unroll 2
        for (int i = threadIdx.x; i < kChunk * kKeys / 8; i += kTermThreads) {
            const int t = i / (kKeys / 8), c = 8 * (i % (kKeys / 8));
            const float factor = factors[t];
            const float4 low = *reinterpret_cast<const float4*>(&from[t][c]);
            const float4 high = *reinterpret_cast<const float4*>(&from[t][c + 4]);
            *reinterpret_cast<uint4*>(&to[t][c]) = {
                halves_of(low.x * factor, low.y * factor), halves_of(low.z * factor, low.w * factor),
                halves_of(high.x * factor, high.y * factor), halves_of(high.z * factor, high.w * factor)};
        }
    }

    // K K^T and Q K^T in the places of K; a warp has 16 rows of both, up to the diagonal.
    __device__ void multiply() {
        constexpr int kTiles = kChunk / 8;
        const Lane lane;
        const int warp = threadIdx.x / 32, row = 16 * warp + lane.g;
        float key_key[kTiles][4] = {}, query_key[kTiles][4] = {};
#pragma unroll 2
        for (int k = 2 * lane.t; k < kKeys; k += 8) {
            const float2 key_low = tf32(pair_at(&shared_.keys[row][k]));
            const float2 key_high = tf32(pair_at(&shared_.keys[row + 8][k]));
            const float2 query_low = tf32(pair_at(&shared_.queries[row][k]));
            const float2 query_high = tf32(pair_at(&shared_.queries[row + 8][k]));
#pragma unroll
            for (int n = 0; n < kTiles; ++n) {
                if (n > 2 * warp + 1) break;
                const float2 b = tf32(pair_at(&shared_.keys[8 * n + lane.g][k]));
                multiply_add(key_key[n], key_low, key_high, b);
                multiply_add(query_key[n], query_low, query_high, b);
            }
        }
        __syncthreads();
#pragma unroll
        for (int n = 0; n < kTiles; ++n) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int t = row + 8 * half, i = 8 * n + 2 * lane.t;
                const float x = shared_.of_key[i], y = shared_.of_key[i + 1];
                const float of_key = shared_.of_key[t], of_query = shared_.of_query[t];
                *reinterpret_cast<float2*>(&shared_.key_key[t][i]) = {key_key[n][2 * half] * of_key * x,
                                                                      key_key[n][2 * half + 1] * of_key * y};
                *reinterpret_cast<float2*>(&shared_.query_key[t][i]) = {query_key[n][2 * half] * of_query * x,
                                                                        query_key[n][2 * half + 1] * of_query * y};
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
            const float4 key_key = *reinterpret_cast<const float4*>(&shared_.key_key[t][first]);
            const float4 query_key = *reinterpret_cast<const float4*>(&shared_.query_key[t][first]);
            const float of_a[4] = {key_key.x, key_key.y, key_key.z, key_key.w};
            const float of_p[4] = {query_key.x, query_key.y, query_key.z, query_key.w};
#pragma unroll
            for (int h = 0; h < 2; ++h) {
                const float sum = shared_.sums[h][t], beta = shared_.betas[h][t];
                float a[4], p[4];
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    const int i = first + j;
                    const float decay = i <= t ? expf(sum - shared_.sums[h][i]) : 0.0f;
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

__global__ void __launch_bounds__(kTermThreads, 3) terms_kernel(const __grid_constant__ ChunkArgs args) {
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
