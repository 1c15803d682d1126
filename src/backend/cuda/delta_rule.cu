// The gated delta rule token by token: a state is read and written once, in registers over all tokens.

#include "backend/cuda/early.cuh"
#include "backend/cuda/joined.h"
#include "backend/cuda/norm.cuh"
#include "backend/cuda/products.h"
#include "backend/cuda/recurrent.cuh"

namespace sluice::cuda {

namespace {

// Sixteen columns of a row in each of kLanes lanes: 4 * lane + 4 * kLanes * i + j.
template <int kLanes, bool kInFours>
struct Columns {
    float at[4][4];

    __device__ void load(const float* row, int width) {
#pragma unroll
        for (int i = 0; i < 4; ++i) load_four(row, 4 * (threadIdx.x % kLanes + kLanes * i), width, at[i]);
    }
    __device__ static void load_four(const float* row, int first, int width, float (&to)[4]) {
        if (kInFours) {
            const float4 four = first < width ? *reinterpret_cast<const float4*>(row + first) : float4{};
            to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
        } else {
#pragma unroll
            for (int j = 0; j < 4; ++j) to[j] = first + j < width ? row[first + j] : 0.0f;
        }
    }
    __device__ void store(float* row, int width) const {
        const int lane = threadIdx.x % kLanes;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int first = 4 * (lane + kLanes * i);
            if (kInFours) {
                if (first < width) {
                    *reinterpret_cast<float4*>(row + first) = float4{at[i][0], at[i][1], at[i][2], at[i][3]};
                }
            } else {
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    if (first + j < width) row[first + j] = at[i][j];
                }
            }
        }
    }
    __device__ void scale(const Columns& factors) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
            for (int j = 0; j < 4; ++j) at[i][j] *= factors.at[i][j];
        }
    }
    __device__ void scale(float factor) {
#pragma unroll
        for (auto& four : at) {
#pragma unroll
            for (float& number : four) number *= factor;
        }
    }
    __device__ void add(float factor, const Columns& other) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
            for (int j = 0; j < 4; ++j) at[i][j] = fmaf(factor, other.at[i][j], at[i][j]);
        }
    }
    // What the lane has of the product.
    __device__ float times(const Columns& other) const {
        float sums[4] = {};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
            for (int j = 0; j < 4; ++j) sums[i] = fmaf(at[i][j], other.at[i][j], sums[i]);
        }
        return (sums[0] + sums[1]) + (sums[2] + sums[3]);
    }
};

template <int kLanes, int kSums>
__device__ void sum_over_lanes(float (&sums)[kSums]) {
#pragma unroll
    for (int step = kLanes / 2; step > 0; step /= 2) {
#pragma unroll
        for (float& sum : sums) sum += __shfl_xor_sync(kAllLanes, sum, step);
    }
}

constexpr int kPasses = 2, kTokenWarps = 4;  // rows of a lane, warps of a block

template <int kLanes>
constexpr int kRowsOfBlock = 32 / kLanes* kPasses* kTokenWarps;

// What a state is multiplied with: one factor of a head, or one for each of its channels.
struct HeadDecay {
    float log_decay;

    __device__ void load(const DeltaArgs& args, int64_t row, int head) { log_decay = args.log_decay(row, head); }
    __device__ float factors(const DeltaArgs&, int) const { return expf(log_decay); }
};
// Close to one, as a channel has it that remembers hundreds of tokens, expf errs to one side.
__device__ __forceinline__ float decay_of(float log_decay) {
    return log_decay > -1.0f ? 1.0f + expm1f(log_decay) : expf(log_decay);
}

// A lane makes some factors of its columns, lanes of the same columns the others.
template <int kLanes, bool kInFours>
struct ChannelDecay {
    static constexpr int kSame = 32 / kLanes, kMine = 4 / kSame;
    float a[kMine][4];

    __device__ static int first_column(int mine) {
        const int lane = threadIdx.x % 32;
        return 4 * (lane % kLanes + kLanes * (mine * kSame + lane / kLanes));
    }
    __device__ void load(const DeltaArgs& args, int64_t row, int head) {
        const float* const from = args.a[row] + static_cast<int64_t>(head) * args.key_dim;
#pragma unroll
        for (int m = 0; m < kMine; ++m) {
            Columns<kLanes, kInFours>::load_four(from, first_column(m), args.key_dim, a[m]);
        }
    }
    __device__ Columns<kLanes, kInFours> factors(const DeltaArgs& args, int head) const {
        const float* const bias = args.dt_bias + static_cast<int64_t>(head) * args.key_dim;
        const float a_log = args.a_log[head];
        float made[kMine][4];
#pragma unroll
        for (int m = 0; m < kMine; ++m) {
            float own_bias[4];
            Columns<kLanes, false>::load_four(bias, first_column(m), args.key_dim, own_bias);
#pragma unroll
            for (int j = 0; j < 4; ++j) made[m][j] = decay_of(args.log_decay_of(a[m][j], a_log, own_bias[j]));
        }
        Columns<kLanes, kInFours> all;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int lane = i % kSame * kLanes + static_cast<int>(threadIdx.x % kLanes);
#pragma unroll
            for (int j = 0; j < 4; ++j) all.at[i][j] = __shfl_sync(kAllLanes, made[i / kSame][j], lane);
        }
        return all;
    }
};

// What a lane reads of a token, asked for while the one before is computed.
template <int kLanes, bool kInFours, typename Decay>
struct TokenInputs {
    Columns<kLanes, kInFours> q, k;
    Decay decay;
    float v[kPasses], beta;

    __device__ void load(const DeltaArgs& args, int64_t row, int head, int key_head, int first) {
        load_vectors(args, row, head, key_head, first);
        decay.load(args, row, head);
    }
    __device__ void load_vectors(const DeltaArgs& args, int64_t row, int head, int key_head, int first) {
        q.load(args.query(row, key_head), args.key_dim);
        k.load(args.key(row, key_head), args.key_dim);
        const float* const values = args.value(row, head);
#pragma unroll
        for (int p = 0; p < kPasses; ++p) {
            const int at = first + p * (32 / kLanes);
            v[p] = at < args.value_dim ? values[at] : 0.0f;
        }
        beta = args.beta(row, head);
    }
    // Makes q and k of their length; returns q . k then.
    __device__ float normalize(int key_dim) {
        float sums[3] = {q.times(q), k.times(k), q.times(k)};
        sum_over_lanes<kLanes>(sums);
        const float of_q = 1.0f / sqrtf(static_cast<float>(key_dim)) / sqrtf(sums[0] + kSmallestSquares);
        const float of_k = 1.0f / sqrtf(sums[1] + kSmallestSquares);
        q.scale(of_q);
        k.scale(of_k);
        return sums[2] * of_q * of_k;
    }
};

// Rows of a state after one more token, S = g S; S += beta (v - S k) k^T, and what they answer it, S q.
template <int kLanes, bool kInFours, typename Decay>
__device__ __forceinline__ void take_token(const DeltaArgs& args, int head, TokenInputs<kLanes, kInFours, Decay>& now,
                                           Columns<kLanes, kInFours> (&s)[kPasses], float (&answers)[kPasses]) {
    const float key_query = now.normalize(args.key_dim);
    const auto decay = now.decay.factors(args, head);
    // What is remembered of k, and what q would be answered without the change: out = S q + delta (k . q).
    float sums[2 * kPasses];
#pragma unroll
    for (int p = 0; p < kPasses; ++p) {
        s[p].scale(decay);
        sums[2 * p] = s[p].times(now.k);
        sums[2 * p + 1] = s[p].times(now.q);
    }
    sum_over_lanes<kLanes>(sums);
#pragma unroll
    for (int p = 0; p < kPasses; ++p) {
        const float delta = now.beta * (now.v[p] - sums[2 * p]);
        s[p].add(delta, now.k);
        answers[p] = fmaf(delta, key_query, sums[2 * p + 1]);
    }
}

// kLanes lanes keep kPasses rows of a head's state.
template <int kLanes, bool kInFours, typename Decay>
__global__ void __launch_bounds__(32 * kTokenWarps) token_kernel(const DeltaArgs args, int most_rows) {
    let_next_begin();
    wait_for_previous();
    const float* const state = args.state_of(blockIdx.z, blockIdx.y);  // looked up while the sequence is
    float* const next_state = args.next_state_of(blockIdx.z, blockIdx.y);
    const SequencePart part = args.sequences.at(blockIdx.z);
    if (part.count > most_rows) return;
    constexpr int kRowsOfPass = 32 / kLanes;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int head = blockIdx.y, key_head = args.key_head_of(head);
    const int first = blockIdx.x * kRowsOfBlock<kLanes> + warp * kRowsOfPass * kPasses + lane / kLanes;
    Columns<kLanes, kInFours> s[kPasses];
#pragma unroll
    for (int p = 0; p < kPasses; ++p) {
        const int64_t row = first + p * kRowsOfPass;
        s[p].load(state + row * args.key_dim, row < args.value_dim ? args.key_dim : 0);
    }
    TokenInputs<kLanes, kInFours, Decay> next;
    next.load(args, part.first_row, head, key_head, first);
    for (int t = 0; t < part.count; ++t) {
        TokenInputs<kLanes, kInFours, Decay> now = next;
        if (t + 1 < part.count) next.load(args, part.first_row + t + 1, head, key_head, first);
        float answers[kPasses];
        take_token(args, head, now, s, answers);
        float* const out = args.out[part.first_row + t] + static_cast<int64_t>(head) * args.value_dim;
#pragma unroll
        for (int p = 0; p < kPasses; ++p) {
            const int row = first + p * kRowsOfPass;
            if (lane % kLanes == 0 && row < args.value_dim) out[row] = answers[p];
        }
    }
#pragma unroll
    for (int p = 0; p < kPasses; ++p) {
        const int64_t row = first + p * kRowsOfPass;
        s[p].store(next_state + row * args.key_dim, row < args.value_dim ? args.key_dim : 0);
    }
}

template <int kLanes>
void run_tokens(Device& device, const DeltaArgs& args, int most_rows) {
    const dim3 grid(blocks_for(args.value_dim, kRowsOfBlock<kLanes>), static_cast<unsigned>(args.value_heads),
                    static_cast<unsigned>(args.sequences.count));
    const bool fours = args.key_dim % 4 == 0 && in_fours(args.qkv) && args.states.in_fours();
    constexpr bool kWide = kLanes == 8;  // by channel; wider heads are no model's
    auto* const kernel = !args.by_channel
                             ? fours ? token_kernel<kLanes, true, HeadDecay> : token_kernel<kLanes, false, HeadDecay>
                         : fours && in_fours(args.a) ? token_kernel<kLanes, kWide, ChannelDecay<kLanes, kWide>>
                                                     : token_kernel<kLanes, false, ChannelDecay<kLanes, false>>;
    launch_early(device, {grid, 32 * kTokenWarps}, kernel, args, most_rows);
}

// The norm of a head of `width` values.
struct HeadNorm {
    const float *z, *weight;
    float epsilon;
};

constexpr int kHeadLanes = 8, kHeadWarps = 16, kHeadValues = 32 / kHeadLanes * kPasses * kHeadWarps;

// What the kParts blocks of a head know of each other.
template <int kParts>
struct HeadParts {
    static constexpr int kWarps = kHeadWarps / kParts, kValues = kHeadValues / kParts;

    // Which all have begun once begun() is behind them.
    static __device__ __forceinline__ void begin() {
#if __CUDA_ARCH__ >= 900
        if constexpr (kParts > 1) asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
#endif
    }
    static __device__ __forceinline__ void begun() {
#if __CUDA_ARCH__ >= 900
        if constexpr (kParts > 1) asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
#endif
    }
    // A number to every block's place of it.
    static __device__ __forceinline__ void share(float* place, float number) {
#if __CUDA_ARCH__ >= 900
        const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(place));
#pragma unroll
        for (int block = 0; block < kParts; ++block) {
            uint32_t there = address;
            if constexpr (kParts > 1) {
                asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(block));
            }
            asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(there), "f"(number) : "memory");
        }
#else
        *place = number;
#endif
    }
    static __device__ __forceinline__ void meet() {
#if __CUDA_ARCH__ >= 900
        if constexpr (kParts > 1) {
            asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
            asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
            return;
        }
#endif
        __syncthreads();
    }
};

// kParts blocks, a cluster: a head of the only row, whose answers are normed. States that no other kernel of a step
// writes are asked for before the kernel before has ended.
template <int kParts>
__global__ void __launch_bounds__(32 * HeadParts<kParts>::kWarps)
    normed_delta_kernel(const DeltaArgs args, const HeadNorm norm) {
    using Parts = HeadParts<kParts>;
    __shared__ float shared[kHeadValues];
    let_next_begin();
    Parts::begin();
    constexpr int kRowsOfPass = 32 / kHeadLanes;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int head = blockIdx.x / kParts, part = blockIdx.x % kParts, key_head = args.key_head_of(head);
    const int first = part * Parts::kValues + warp * kRowsOfPass * kPasses + lane / kHeadLanes;
    const float* const state = args.state_of(0, head);
    float* const next_state = args.next_state_of(0, head);
    Columns<kHeadLanes, true> s[kPasses];
#pragma unroll
    for (int p = 0; p < kPasses; ++p) s[p].load(state + (first + p * kRowsOfPass) * args.key_dim, args.key_dim);
    const float a_log = args.a_log[head], dt_bias = args.dt_bias[head];
    const bool norms = static_cast<int>(threadIdx.x) < Parts::kValues;
    const int value = part * Parts::kValues + static_cast<int>(threadIdx.x), mine = head * kHeadValues + value;
    const float factor = norms ? norm.weight[value] : 0.0f;
    wait_for_previous();
    const float gate = norms ? norm.z[mine] : 0.0f;
    TokenInputs<kHeadLanes, true, HeadDecay> now;
    now.load_vectors(args, 0, head, key_head, first);
    now.decay.log_decay = args.log_decay_of(args.a[0][head], a_log, dt_bias);
    float answers[kPasses];
    take_token(args, head, now, s, answers);
    Parts::begun();
#pragma unroll
    for (int p = 0; p < kPasses; ++p) {
        if (lane % kHeadLanes == 0) Parts::share(shared + first + p * kRowsOfPass, answers[p]);
    }
    Parts::meet();
#pragma unroll
    for (int p = 0; p < kPasses; ++p) s[p].store(next_state + (first + p * kRowsOfPass) * args.key_dim, args.key_dim);
    if (32 * warp >= Parts::kValues) return;
    const float scale =
        rsqrtf(squares_of_eights(shared, 0, kHeadValues / 8) / static_cast<float>(kHeadValues) + norm.epsilon);
    args.out[0][mine] = gated(shared[value] * scale * factor, gate);
}

DeltaArgs arguments_of(const GatedDeltaRule& op) {
    return {.qkv = rows_of(op.qkv),
            .b = rows_of(op.b),
            .a = rows_of(op.a),
            .a_log = rows_of(op.a_log).first,
            .dt_bias = rows_of(op.dt_bias).first,
            .key_heads = static_cast<int>(op.key_heads),
            .value_heads = static_cast<int>(op.value_heads),
            .key_dim = static_cast<int>(op.key_dim),
            .value_dim = static_cast<int>(op.value_dim),
            .tiled = op.tiled,
            .by_channel = op.decays_by_channel(),
            .bound = op.decay_bound,
            .sequences = table_of(op.sequences),
            .states = table_of(op.states),
            .out = writable_rows_of(op.out)};
}

}  // namespace

void compute(Device& device, const GatedDeltaRule& op) {
    if (op.qkv.rows == 0) return;
    const DeltaArgs args = arguments_of(op);
    const bool chunks = takes_chunks(device, op);
    if (chunks) run_chunks(device, args, op.qkv.rows);
    if (chunks && args.sequences.count == 1) return;
    const int most_rows = chunks ? kTokenwiseRows : static_cast<int>(op.sequences.most_rows);
    if (op.key_dim <= 128) {
        run_tokens<8>(device, args, most_rows);
    } else if (op.key_dim <= 256) {
        run_tokens<16>(device, args, most_rows);
    } else if (op.key_dim <= 512) {
        run_tokens<32>(device, args, most_rows);
    } else {
        refuse("GatedDeltaRule on CUDA: heads of 512 keys are the widest");
    }
}

bool compute_joined(Device& device, const NormedDelta& joined) {
    const GatedDeltaRule& rule = *joined.rule;
    const GatedRmsNorm& norm = *joined.norm;
    const DeltaArgs args = arguments_of(rule);
    const bool one = rule.qkv.rows == 1 && rule.sequences.rows.rows == 1;
    const bool heads = rule.value_dim == kHeadValues && norm.weight.columns == kHeadValues && rule.key_dim <= 128;
    const bool fours = rule.key_dim % 4 == 0 && in_fours(args.qkv) && args.states.in_fours();
    const bool in_place = floats_at(norm.x) == args.out.first && floats_at(norm.out) == args.out.first;
    if (!one || !heads || !fours || !in_place || norm.sigmoid || args.by_channel) return false;
    const HeadNorm head_norm{floats_at(norm.z), floats_at(norm.weight), norm.epsilon};
    const auto heads_of_row = static_cast<unsigned>(rule.value_heads);
    constexpr unsigned kParts = 4;
    if (device.has_clusters()) {
        const Launch parts{.grid = kParts * heads_of_row, .block = 32 * HeadParts<kParts>::kWarps, .cluster = kParts};
        launch_early(device, parts, normed_delta_kernel<kParts>, args, head_norm);
    } else {
        launch_early(device, {heads_of_row, 32 * kHeadWarps}, normed_delta_kernel<1>, args, head_norm);
    }
    return true;
}

}  // namespace sluice::cuda
