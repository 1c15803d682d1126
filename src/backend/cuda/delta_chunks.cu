// The gated delta rule in chunks of 64 tokens, on tensor cores with operands of TF32. Within a chunk, G_t the sum of ln
// g up to t, D the changes that the tokens make to the state S of its begin:
//     (1 + A) D = beta (V - e^G K S^T),  A[t, i] = beta_t e^(G_t - G_i) k_t . k_i for i < t
//     out = e^G Q S^T + P D,             P[t, i] = e^(G_t - G_i) q_t . k_i for i <= t
//     S = e^G_end S + D^T (e^(G_end - G) K)
// Decays are differences of sums that fall, so that none is above one.

#include <algorithm>

#include "backend/cuda/recurrent.cuh"

namespace sluice::cuda {

namespace {

constexpr int kChunk = 64, kKeys = 128, kValues = 32;  // tokens, the widest key, value columns of a block
// Words from row to row in shared memory, such that the words that a warp asks for at once lie in different banks.
constexpr int kKeyPitch = kKeys + 8, kSquarePitch = kChunk + 8, kTriangularPitch = kChunk + 4;
constexpr int kRowPitch = kValues + 4, kColumnPitch = kValues + 8;

// What the scan needs of a chunk and value head that does not depend on the state.
struct ChunkTerms {
    float inverse[kChunk][kChunk];                                 // (1 + A)^-1 beta
    float answers[kChunk][kChunk];                                 // P
    float of_memory[kChunk], of_query[kChunk], of_change[kChunk];  // factors of rows of K S^T, Q S^T and D^T K
    float decay[8];                                                // of the state, once
};
constexpr int kFactors = 3 * kChunk + 8;  // behind the matrices

struct ChunkArgs {
    DeltaArgs delta;
    ChunkTerms* terms;
    bool fours;  // keys and queries may be copied 16 bytes at a time

    // Of the chunk that starts at row `first` of a sequence; each has a place of its own.
    __device__ ChunkTerms& terms_of(const SequencePart& part, int first, int head) const {
        const int64_t chunk = part.first_row / kChunk + part.sequence + first / kChunk;
        return terms[chunk * delta.value_heads + head];
    }
};

template <int kBytes>
__device__ __forceinline__ void copy_async(float* to, const float* from, bool there) {
    const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    if (kBytes == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(there ? 16 : 0)
                     : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(address), "l"(from), "r"(there ? 4 : 0)
                     : "memory");
    }
}
__device__ __forceinline__ void end_copies() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
// Until only the last kPending groups of copies may be under way.
template <int kPending>
__device__ __forceinline__ void await_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Rows of keys or queries of a chunk, zeros behind the sequence's end and the width.
template <int kThreads>
__device__ void copy_keys(const ChunkArgs& args, const float* from, int rows, float* to) {
    const int width = args.delta.key_dim;
    const int64_t stride = args.delta.qkv.stride;
    if (args.fours) {
#pragma unroll 4
        for (int i = threadIdx.x; i < kChunk * kKeys / 4; i += kThreads) {
            const int t = i / (kKeys / 4), c = 4 * (i % (kKeys / 4));
            const bool there = t < rows && c < width;
            copy_async<16>(to + t * kKeyPitch + c, there ? from + t * stride + c : from, there);
        }
    } else {
        for (int i = threadIdx.x; i < kChunk * kKeys; i += kThreads) {
            const int t = i / kKeys, c = i % kKeys;
            const bool there = t < rows && c < width;
            copy_async<4>(to + t * kKeyPitch + c, there ? from + t * stride + c : from, there);
        }
    }
}

template <int kThreads>
__device__ void copy_square(const float (&from)[kChunk][kChunk], float* to) {
#pragma unroll
    for (int i = threadIdx.x; i < kChunk * kChunk / 4; i += kThreads) {
        const int t = i / (kChunk / 4), c = 4 * (i % (kChunk / 4));
        copy_async<16>(to + t * kSquarePitch + c, &from[t][c], true);
    }
}

__device__ __forceinline__ float tf32(float value) {
    uint32_t bits = 0;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
    return __uint_as_float(bits);
}
__device__ __forceinline__ float2 tf32(float2 pair) {
    return {tf32(pair.x), tf32(pair.y)};
}
__device__ __forceinline__ float2 pair_at(const float* from) {
    return *reinterpret_cast<const float2*>(from);
}

// sums += a . b, 16 x 8 by 8 x 8: rows g and g + 8 of a and column g of b at the lane's two places of k, where lane =
// 4 g + t. Which two they are is free as long as a and b agree.
__device__ __forceinline__ void multiply_add(float (&sums)[4], float2 low, float2 high, float2 b) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(__float_as_uint(low.x)), "r"(__float_as_uint(high.x)), "r"(__float_as_uint(low.y)),
          "r"(__float_as_uint(high.y)), "r"(__float_as_uint(b.x)), "r"(__float_as_uint(b.y)));
}

// The lane's place in a fragment.
struct Lane {
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
};

// ---- What does not depend on the state: a block per chunk and value head.

constexpr int kTermThreads = 128;

struct TermsShared {
    float keys[kChunk][kKeyPitch];
    union {
        float queries[kChunk][kKeyPitch];
        float a[kChunk][kTriangularPitch];
    };
    float sums[kChunk], betas[kChunk];  // G
    float of_key[kChunk], of_query[kChunk];
    float half;
};

// G and beta of 64 tokens, two warps; those behind the end change nothing.
__device__ void load_gates(const ChunkArgs& args, const SequencePart& part, int first, int head, TermsShared& shared) {
    const int t = threadIdx.x, lane = t % 32;
    const bool there = first + t < part.count;
    const int64_t row = part.first_row + first + t;
    float sum = there ? args.delta.log_decay(row, head) : 0.0f;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
        const float before = __shfl_up_sync(kAllLanes, sum, step);
        if (lane >= step) sum += before;
    }
    if (t == 31) shared.half = sum;
    shared.sums[t] = sum;
    shared.betas[t] = there ? args.delta.beta(row, head) : 0.0f;
}

__device__ float squares_of(const float* row) {
    float sums[4] = {};
#pragma unroll 8
    for (int c = 0; c < kKeys; c += 4) {
        const float4 four = *reinterpret_cast<const float4*>(row + c);
        sums[0] = fmaf(four.x, four.x, sums[0]), sums[1] = fmaf(four.y, four.y, sums[1]);
        sums[2] = fmaf(four.z, four.z, sums[2]), sums[3] = fmaf(four.w, four.w, sums[3]);
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// Column j of the inverse of the unit lower triangular 1 + A, by forward substitution.
__device__ void invert_column(const float (&a)[kChunk][kTriangularPitch], int j, float (&x)[kChunk]) {
    x[0] = j == 0 ? 1.0f : 0.0f;
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
        x[t] = (j == t ? 1.0f : 0.0f) - ((sums[0] + sums[1]) + (sums[2] + sums[3]));
    }
}

__global__ void __launch_bounds__(kTermThreads) terms_kernel(const ChunkArgs args) {
    extern __shared__ __align__(16) float memory[];
    auto& shared = *reinterpret_cast<TermsShared*>(memory);
    int first = 0;
    const SequencePart part = args.delta.sequences.of_tile(blockIdx.x, kChunk, first);
    if (part.sequence < 0 || part.count <= kTokenwiseRows) return;
    const int head = blockIdx.y, key_head = args.delta.key_head_of(head), rows = min(kChunk, part.count - first);
    const int thread = threadIdx.x, warp = thread / 32;
    const int64_t first_row = part.first_row + first;
    copy_keys<kTermThreads>(args, args.delta.key(first_row, key_head), rows, &shared.keys[0][0]);
    copy_keys<kTermThreads>(args, args.delta.query(first_row, key_head), rows, &shared.queries[0][0]);
    end_copies();
    if (thread < kChunk) load_gates(args, part, first, head, shared);
    await_copies<0>();
    __syncthreads();

    if (thread >= 32 && thread < kChunk) shared.sums[thread] += shared.half;
    if (thread < kChunk) {
        shared.of_key[thread] = 1.0f / sqrtf(squares_of(shared.keys[thread]) + kSmallestSquares);
    } else {
        const float length = sqrtf(squares_of(shared.queries[thread - kChunk]) + kSmallestSquares);
        shared.of_query[thread - kChunk] = 1.0f / sqrtf(static_cast<float>(args.delta.key_dim)) / length;
    }
    // A warp has 16 rows of K K^T and Q K^T, up to the diagonal.
    const Lane lane;
    const int row = 16 * warp + lane.g;
    float key_key[kChunk / 8][4] = {}, query_key[kChunk / 8][4] = {};
#pragma unroll 2
    for (int k = 2 * lane.t; k < kKeys; k += 8) {
        const float2 key_low = tf32(pair_at(&shared.keys[row][k])), key_high = tf32(pair_at(&shared.keys[row + 8][k]));
        const float2 query_low = tf32(pair_at(&shared.queries[row][k]));
        const float2 query_high = tf32(pair_at(&shared.queries[row + 8][k]));
#pragma unroll
        for (int n = 0; n < kChunk / 8; ++n) {
            if (n > 2 * warp + 1) break;
            const float2 b = tf32(pair_at(&shared.keys[8 * n + lane.g][k]));
            multiply_add(key_key[n], key_low, key_high, b);
            multiply_add(query_key[n], query_low, query_high, b);
        }
    }
    __syncthreads();

    ChunkTerms& terms = args.terms_of(part, first, head);
#pragma unroll
    for (int n = 0; n < kChunk / 8; ++n) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int t = row + 8 * half, i = 8 * n + 2 * lane.t;
            float a[2], p[2];
#pragma unroll
            for (int c = 0; c < 2; ++c) {
                const float decay = i + c <= t ? expf(shared.sums[t] - shared.sums[i + c]) * shared.of_key[i + c] : 0;
                a[c] = i + c < t ? key_key[n][2 * half + c] * decay * shared.of_key[t] * shared.betas[t] : 0;
                p[c] = tf32(query_key[n][2 * half + c] * decay * shared.of_query[t]);
            }
            *reinterpret_cast<float2*>(&shared.a[t][i]) = {a[0], a[1]};
            *reinterpret_cast<float2*>(&terms.answers[t][i]) = {p[0], p[1]};
        }
    }
    __syncthreads();
    if (thread >= kChunk) {
        const int t = thread - kChunk;
        const float sum = shared.sums[t], last = shared.sums[kChunk - 1];
        terms.of_memory[t] = expf(sum) * shared.of_key[t];
        terms.of_query[t] = expf(sum) * shared.of_query[t];
        terms.of_change[t] = expf(last - sum) * shared.of_key[t];
        if (t == 0) terms.decay[0] = expf(last);
        return;
    }
    float x[kChunk];
    invert_column(shared.a, thread, x);
#pragma unroll
    for (int t = 0; t < kChunk; ++t) terms.inverse[t][thread] = tf32(x[t] * shared.betas[thread]);
}

// ---- The scan: a block goes through a sequence's chunks with 32 rows of a head's state.

constexpr int kScanThreads = 256;

struct ScanShared {
    float keys[2][kChunk][kKeyPitch];  // of this chunk and the next
    float queries[kChunk][kKeyPitch];
    float inverse[kChunk][kSquarePitch], answers[kChunk][kSquarePitch];
    float state[kValues][kKeyPitch];
    float wanted[kChunk][kRowPitch], changes[kChunk][kRowPitch];  // V - e^G K S^T, D
    float kept[kChunk][kColumnPitch];                             // D as it is at the chunk's end
    float factors[2][kFactors];
};

class Scan {
  public:
    __device__ Scan(const ChunkArgs& args, ScanShared& shared, const SequencePart& part)
        : args_(args),
          shared_(shared),
          part_(part),
          head_(blockIdx.y),
          key_head_(args.delta.key_head_of(head_)),
          first_value_(blockIdx.x * kValues),
          warp_(threadIdx.x / 32) {}

    __device__ void run() {
        const bool keeps_state = warp_ < 4;
        copy_keys_of(0);
        end_copies();
        copy_queries_of(0);
        end_copies();
        copy_square<kScanThreads>(terms_of(0).inverse, &shared_.inverse[0][0]);
        end_copies();
        if (keeps_state) load_state();
        for (int first = 0; first < part_.count; first += kChunk) {
            const int next = first + kChunk;
            const bool more = next < part_.count;
            if (keeps_state) show_state();
            await_copies<1>();
            __syncthreads();
            copy_square<kScanThreads>(terms_of(first).answers, &shared_.answers[0][0]);
            end_copies();
            if (more) copy_keys_of(next);
            end_copies();
            float sums[kValues / 8][4] = {};  // rows of K S^T or of Q S^T
            if (keeps_state) {
                float values[kValues / 8][4];
                load_values(first, values);
                times_state(shared_.keys[first / kChunk % 2], sums);
                want(first, values, sums);
            } else {
                times_state(shared_.queries, sums);
            }
            await_copies<2>();
            __syncthreads();
            if (more) copy_queries_of(next);
            end_copies();
            change(first);
            await_copies<2>();
            __syncthreads();
            if (more) copy_square<kScanThreads>(terms_of(next).inverse, &shared_.inverse[0][0]);
            end_copies();
            if (keeps_state) {
                update_state(first);
            } else {
                answer(first, sums);
            }
        }
        if (keeps_state) store_state();
    }

  private:
    __device__ const ChunkTerms& terms_of(int first) const { return args_.terms_of(part_, first, head_); }
    __device__ const float* factors(int first) const { return shared_.factors[first / kChunk % 2]; }
    __device__ int rows_at(int first) const { return min(kChunk, part_.count - first); }

    // And the factors.
    __device__ void copy_keys_of(int first) {
        const int place = first / kChunk % 2;
        copy_keys<kScanThreads>(args_, args_.delta.key(part_.first_row + first, key_head_), rows_at(first),
                                &shared_.keys[place][0][0]);
        const int i = 4 * threadIdx.x;
        if (i < kFactors) copy_async<16>(&shared_.factors[place][i], terms_of(first).of_memory + i, true);
    }
    __device__ void copy_queries_of(int first) {
        copy_keys<kScanThreads>(args_, args_.delta.query(part_.first_row + first, key_head_), rows_at(first),
                                &shared_.queries[0][0]);
    }

    // The state's place in registers: of warp w columns 32 w and on, rows 16 m + g and g + 8.
    template <typename Use>
    __device__ void each_of_state(const Use& use) {
#pragma unroll
        for (int m = 0; m < kValues / 16; ++m) {
#pragma unroll
            for (int n = 0; n < 4; ++n) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    use(16 * m + lane_.g + i / 2 * 8, 32 * warp_ + 8 * n + 2 * lane_.t + i % 2, state_[m][n][i]);
                }
            }
        }
    }
    __device__ void load_state() {
        const float* const from = args_.delta.state_of(part_.sequence, head_);
        each_of_state([&](int row, int column, float& number) {
            const bool there = first_value_ + row < args_.delta.value_dim && column < args_.delta.key_dim;
            number = there ? from[static_cast<int64_t>(first_value_ + row) * args_.delta.key_dim + column] : 0.0f;
        });
    }
    __device__ void store_state() {
        float* const to = args_.delta.state_of(part_.sequence, head_);
        each_of_state([&](int row, int column, float& number) {
            if (first_value_ + row < args_.delta.value_dim && column < args_.delta.key_dim) {
                to[static_cast<int64_t>(first_value_ + row) * args_.delta.key_dim + column] = number;
            }
        });
    }
    __device__ void show_state() {
        each_of_state([&](int row, int column, float& number) { shared_.state[row][column] = tf32(number); });
    }

    // Of warps w and w + 4 rows 16 w + g and g + 8, columns 8 n + 2 t and the next.
    __device__ int row() const {
        return 16 * (warp_ % 4) + lane_.g;
    }
    __device__ void load_values(int first, float (&values)[kValues / 8][4]) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int t = first + row() + 8 * half;
            const float* const from = args_.delta.value(part_.first_row + t, head_);
#pragma unroll
            for (int n = 0; n < kValues / 8; ++n) {
#pragma unroll
                for (int c = 0; c < 2; ++c) {
                    const int at = first_value_ + 8 * n + 2 * lane_.t + c;
                    values[n][2 * half + c] = t < part_.count && at < args_.delta.value_dim ? from[at] : 0.0f;
                }
            }
        }
    }
    __device__ void times_state(const float (&rows)[kChunk][kKeyPitch], float (&sums)[kValues / 8][4]) {
#pragma unroll 4
        for (int k = 2 * lane_.t; k < kKeys; k += 8) {
            const float2 low = tf32(pair_at(&rows[row()][k])), high = tf32(pair_at(&rows[row() + 8][k]));
#pragma unroll
            for (int n = 0; n < kValues / 8; ++n) {
                multiply_add(sums[n], low, high, pair_at(&shared_.state[8 * n + lane_.g][k]));
            }
        }
    }
    __device__ void want(int first, const float (&values)[kValues / 8][4], const float (&memory)[kValues / 8][4]) {
        const float* const of_memory = factors(first);
#pragma unroll
        for (int n = 0; n < kValues / 8; ++n) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int t = row() + 8 * half;
                const float x = fmaf(-of_memory[t], memory[n][2 * half], values[n][2 * half]);
                const float y = fmaf(-of_memory[t], memory[n][2 * half + 1], values[n][2 * half + 1]);
                *reinterpret_cast<float2*>(&shared_.wanted[t][8 * n + 2 * lane_.t]) = tf32(float2{x, y});
            }
        }
    }
    // D = (1 + A)^-1 beta times what is wanted; warps 4 to 7 have the upper columns.
    __device__ void change(int first) {
        constexpr int kTiles = kValues / 16;
        const int column = warp_ / 4 * (kValues / 2);
        float sums[kTiles][4] = {};
#pragma unroll 2
        for (int k = 2 * lane_.t; k < 16 * (warp_ % 4) + 16; k += 8) {
            const float2 low = pair_at(&shared_.inverse[row()][k]), high = pair_at(&shared_.inverse[row() + 8][k]);
#pragma unroll
            for (int n = 0; n < kTiles; ++n) {
                const int at = column + 8 * n + lane_.g;
                multiply_add(sums[n], low, high, {shared_.wanted[k][at], shared_.wanted[k + 1][at]});
            }
        }
        const float* const of_change = factors(first) + 2 * kChunk;
#pragma unroll
        for (int n = 0; n < kTiles; ++n) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int t = row() + 8 * half, at = column + 8 * n + 2 * lane_.t;
                const float2 d = {sums[n][2 * half], sums[n][2 * half + 1]};
                *reinterpret_cast<float2*>(&shared_.changes[t][at]) = tf32(d);
                *reinterpret_cast<float2*>(&shared_.kept[t][at]) = tf32({d.x * of_change[t], d.y * of_change[t]});
            }
        }
    }
    __device__ void update_state(int first) {
        const auto& keys = shared_.keys[first / kChunk % 2];
        const float decay = factors(first)[3 * kChunk];
        each_of_state([&](int, int, float& number) { number *= decay; });
#pragma unroll 2
        for (int k = lane_.t; k < kChunk; k += 8) {
            float2 b[4];
#pragma unroll
            for (int n = 0; n < 4; ++n) {
                const int column = 32 * warp_ + 8 * n + lane_.g;
                b[n] = tf32({keys[k][column], keys[k + 4][column]});
            }
#pragma unroll
            for (int m = 0; m < kValues / 16; ++m) {
                const int value = 16 * m + lane_.g;
                const float2 low = {shared_.kept[k][value], shared_.kept[k + 4][value]};
                const float2 high = {shared_.kept[k][value + 8], shared_.kept[k + 4][value + 8]};
#pragma unroll
                for (int n = 0; n < 4; ++n) multiply_add(state_[m][n], low, high, b[n]);
            }
        }
    }
    __device__ void answer(int first, float (&sums)[kValues / 8][4]) {
        const float* const of_query = factors(first) + kChunk;
#pragma unroll
        for (int n = 0; n < kValues / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) sums[n][i] *= of_query[row() + i / 2 * 8];
        }
#pragma unroll 2
        for (int k = 2 * lane_.t; k < 16 * (warp_ % 4) + 16; k += 8) {
            const float2 low = pair_at(&shared_.answers[row()][k]), high = pair_at(&shared_.answers[row() + 8][k]);
#pragma unroll
            for (int n = 0; n < kValues / 8; ++n) {
                const int at = 8 * n + lane_.g;
                multiply_add(sums[n], low, high, {shared_.changes[k][at], shared_.changes[k + 1][at]});
            }
        }
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int t = first + row() + 8 * half;
            if (t >= part_.count) continue;
            float* const out =
                args_.delta.out[part_.first_row + t] + static_cast<int64_t>(head_) * args_.delta.value_dim;
#pragma unroll
            for (int n = 0; n < kValues / 8; ++n) {
#pragma unroll
                for (int c = 0; c < 2; ++c) {
                    const int at = first_value_ + 8 * n + 2 * lane_.t + c;
                    if (at < args_.delta.value_dim) out[at] = sums[n][2 * half + c];
                }
            }
        }
    }

    const ChunkArgs& args_;
    ScanShared& shared_;
    const SequencePart& part_;
    const int head_, key_head_, first_value_, warp_;
    const Lane lane_;
    float state_[kValues / 16][4][4];
};

__global__ void __launch_bounds__(kScanThreads) scan_kernel(const ChunkArgs args) {
    extern __shared__ __align__(16) float memory[];
    const SequencePart part = args.delta.sequences.at(blockIdx.z);
    if (part.count <= kTokenwiseRows) return;
    Scan(args, *reinterpret_cast<ScanShared*>(memory), part).run();
}

}  // namespace

bool takes_chunks(const Device& device, const GatedDeltaRule& op) {
    if (device.exact() || std::min(op.sequences.most_rows, op.qkv.rows) <= kTokenwiseRows) return false;
    int shared_bytes = 0;
    check(cudaDeviceGetAttribute(&shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device.index()),
          "asking for shared memory");
    return op.key_dim <= kKeys && shared_bytes >= static_cast<int>(sizeof(ScanShared));
}

void run_chunks(Device& device, const DeltaArgs& delta, int64_t rows) {
    const auto sequences = static_cast<unsigned>(delta.sequences.count),
               heads = static_cast<unsigned>(delta.value_heads);
    const uint64_t places = (static_cast<uint64_t>(rows) / kChunk + sequences + 1) * heads;
    const ChunkArgs args{.delta = delta,
                         .terms = reinterpret_cast<ChunkTerms*>(device.scratch(places * sizeof(ChunkTerms))),
                         .fours = delta.key_dim % 4 == 0 && in_fours(delta.qkv)};
    constexpr int kTermBytes = sizeof(TermsShared), kScanBytes = sizeof(ScanShared);
    check(cudaFuncSetAttribute(terms_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kTermBytes),
          "shared memory of GatedDeltaRule");
    check(cudaFuncSetAttribute(scan_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kScanBytes),
          "shared memory of GatedDeltaRule");
    terms_kernel<<<dim3(blocks_for(rows, kChunk) + sequences - 1, heads), kTermThreads, kTermBytes, device.stream()>>>(
        args);
    check_launch("GatedDeltaRule");
    const dim3 grid(blocks_for(delta.value_dim, kValues), heads, sequences);
    scan_kernel<<<grid, kScanThreads, kScanBytes, device.stream()>>>(args);
    check_launch("GatedDeltaRule");
}

}  // namespace sluice::cuda
