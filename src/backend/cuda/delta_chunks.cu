// The chunked delta rule's scan: a block goes through a sequence's chunks with 32 rows of a head's state.

#include <algorithm>

#include "backend/cuda/delta_chunks.cuh"

namespace sluice::cuda {

namespace {

constexpr int kScanThreads = 256, kValues = 32;  // value columns of a block
// Numbers from row to row in shared memory, such that the words that a warp asks for at once lie in different banks.
constexpr int kKeyPitch = kKeys + 8, kSquarePitch = kChunk + 8, kStatePitch = kKeys + 8, kValuePitch = kValues + 4;

// Of a chunk, copied while the one before is computed.
struct ScanStage {
    uint16_t keys[kChunk][kKeyPitch], queries[kChunk][kKeyPitch];
    uint16_t inverse[kChunk][kSquarePitch], answers[kChunk][kSquarePitch];
    float factors[kFactors];
};

constexpr int kStages = 2;

struct ScanShared {
    ScanStage stages[kStages];
    float state[kValues][kStatePitch];
    // V - e^G K S^T, D, and D as it is at the chunk's end.
    float wanted[kChunk][kValuePitch], changes[kChunk][kValuePitch], kept[kChunk][kValuePitch];
};

// Four 8x8 matrices of 16-bit numbers; lane l names row l % 8 of matrix l / 8 and gets column g, rows 2 t and the next.
__device__ __forceinline__ void load_columns(const uint16_t* row, uint32_t (&out)[4]) {
    const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(address)
                 : "memory");
}

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
#pragma unroll
        for (int i = 0; i < kStages - 1; ++i) copy_chunk(i * kChunk);
        float values[kValues / 8][4];
        if (keeps_state) {
            load_state();
            load_values(0, values);
        }
        for (int first = 0; first < part_.count; first += kChunk) {
            const ScanStage& stage = stage_of(first);
            if (keeps_state) show_state();
            copies_wait<kStages - 2>();
            __syncthreads();
            copy_chunk(first + (kStages - 1) * kChunk);  // where the chunk before this one was
            float sums[kValues / 8][4] = {};             // rows of K S^T or of Q S^T
            if (keeps_state) {
                times_state(stage.keys, sums);
                want(stage, values, sums);
                load_values(first + kChunk, values);
            } else {
                times_state(stage.queries, sums);
            }
            __syncthreads();
            change(stage);
            __syncthreads();
            if (keeps_state) {
                update_state(stage);
            } else {
                answer(stage, first, sums);
            }
        }
        if (keeps_state) store_state();
    }

  private:
    __device__ ScanStage& stage_of(int first) const {
        return shared_.stages[first / kChunk % kStages];
    }

    __device__ void copy_chunk(int first) {
        if (first < part_.count) {
            ScanStage& stage = stage_of(first);
            const ChunkKeys& keys = args_.keys_of(part_, first, key_head_);
            const ChunkTerms& terms = args_.terms_of(part_, first, head_);
            copy_rows(keys.keys, stage.keys);
            copy_rows(keys.queries, stage.queries);
            copy_square(terms.inverse, stage.inverse);
            copy_square(terms.answers, stage.answers);
            const int i = 4 * threadIdx.x;
            if (i < kFactors) copy_async(&stage.factors[i], terms.decays + i);
        }
        copies_end();
    }
    __device__ static void copy_rows(const uint16_t (&from)[kChunk][kKeys], uint16_t (&to)[kChunk][kKeyPitch]) {
#pragma unroll
        for (int i = threadIdx.x; i < kChunk * kKeys / 8; i += kScanThreads) {
            const int t = i / (kKeys / 8), c = 8 * (i % (kKeys / 8));
            copy_async(&to[t][c], &from[t][c]);
        }
    }
    // Up to the diagonal, in squares of 16.
    __device__ static void copy_square(const uint16_t (&from)[kChunk][kChunk], uint16_t (&to)[kChunk][kSquarePitch]) {
#pragma unroll
        for (int i = threadIdx.x; i < kChunk * kChunk / 8; i += kScanThreads) {
            const int t = i / (kChunk / 8), c = 8 * (i % (kChunk / 8));
            if (c / 16 <= t / 16) copy_async(&to[t][c], &from[t][c]);
        }
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
        float* const to = args_.delta.next_state_of(part_.sequence, head_);
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
    __device__ void times_state(const uint16_t (&rows)[kChunk][kKeyPitch], float (&sums)[kValues / 8][4]) {
#pragma unroll 4
        for (int k = 2 * lane_.t; k < kKeys; k += 8) {
            const float2 low = pair_at(&rows[row()][k]), high = pair_at(&rows[row() + 8][k]);
#pragma unroll
            for (int n = 0; n < kValues / 8; ++n) {
                multiply_add(sums[n], low, high, pair_at(&shared_.state[8 * n + lane_.g][k]));
            }
        }
    }
    __device__ void want(const ScanStage& stage, const float (&values)[kValues / 8][4],
                         const float (&memory)[kValues / 8][4]) {
#pragma unroll
        for (int n = 0; n < kValues / 8; ++n) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int t = row() + 8 * half;
                const float x = fmaf(-stage.factors[t], memory[n][2 * half], values[n][2 * half]);
                const float y = fmaf(-stage.factors[t], memory[n][2 * half + 1], values[n][2 * half + 1]);
                *reinterpret_cast<float2*>(&shared_.wanted[t][8 * n + 2 * lane_.t]) = tf32(float2{x, y});
            }
        }
    }
    // D = (1 + A)^-1 beta times what is wanted; warps 4 to 7 have the upper columns.
    __device__ void change(const ScanStage& stage) {
        constexpr int kTiles = kValues / 16;
        const int column = warp_ / 4 * (kValues / 2);
        float sums[kTiles][4] = {};
#pragma unroll 2
        for (int k = 2 * lane_.t; k < 16 * (warp_ % 4) + 16; k += 8) {
            const float2 low = pair_at(&stage.inverse[row()][k]), high = pair_at(&stage.inverse[row() + 8][k]);
#pragma unroll
            for (int n = 0; n < kTiles; ++n) {
                const int at = column + 8 * n + lane_.g;
                multiply_add(sums[n], low, high, {shared_.wanted[k][at], shared_.wanted[k + 1][at]});
            }
        }
        const float* const rests = stage.factors + kChunk;
#pragma unroll
        for (int n = 0; n < kTiles; ++n) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int t = row() + 8 * half, at = column + 8 * n + 2 * lane_.t;
                const float2 d = {sums[n][2 * half], sums[n][2 * half + 1]};
                *reinterpret_cast<float2*>(&shared_.changes[t][at]) = tf32(d);
                *reinterpret_cast<float2*>(&shared_.kept[t][at]) = tf32({d.x * rests[t], d.y * rests[t]});
            }
        }
    }
    __device__ void update_state(const ScanStage& stage) {
        const float decay = stage.factors[2 * kChunk];
        each_of_state([&](int, int, float& number) { number *= decay; });
        const int lane = threadIdx.x % 32;
#pragma unroll 2
        for (int k = 0; k < kChunk; k += 8) {
            uint32_t columns[4];
            load_columns(&stage.keys[k + lane % 8][32 * warp_ + lane / 8 * 8], columns);
            const int token = k + 2 * lane_.t;
#pragma unroll
            for (int m = 0; m < kValues / 16; ++m) {
                const int value = 16 * m + lane_.g;
                const float2 low = {shared_.kept[token][value], shared_.kept[token + 1][value]};
                const float2 high = {shared_.kept[token][value + 8], shared_.kept[token + 1][value + 8]};
#pragma unroll
                for (int n = 0; n < 4; ++n) multiply_add(state_[m][n], low, high, floats_of(columns[n]));
            }
        }
    }
    __device__ void answer(const ScanStage& stage, int first, float (&sums)[kValues / 8][4]) {
#pragma unroll
        for (int n = 0; n < kValues / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) sums[n][i] *= stage.factors[row() + i / 2 * 8];
        }
#pragma unroll 2
        for (int k = 2 * lane_.t; k < 16 * (warp_ % 4) + 16; k += 8) {
            const float2 low = pair_at(&stage.answers[row()][k]), high = pair_at(&stage.answers[row() + 8][k]);
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
            const float scale = 1.0f / sqrtf(static_cast<float>(args_.delta.key_dim));
            float* const out =
                args_.delta.out[part_.first_row + t] + static_cast<int64_t>(head_) * args_.delta.value_dim;
#pragma unroll
            for (int n = 0; n < kValues / 8; ++n) {
#pragma unroll
                for (int c = 0; c < 2; ++c) {
                    const int at = first_value_ + 8 * n + 2 * lane_.t + c;
                    if (at < args_.delta.value_dim) out[at] = sums[n][2 * half + c] * scale;
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

__global__ void __launch_bounds__(kScanThreads) scan_kernel(const __grid_constant__ ChunkArgs args) {
    extern __shared__ __align__(16) float memory[];
    const SequencePart part = args.delta.sequences.at(blockIdx.z);
    if (part.count <= kTokenwiseRows) return;
    Scan(args, *reinterpret_cast<ScanShared*>(memory), part).run();
}

}  // namespace

bool takes_chunks(const Device& device, const GatedDeltaRule& op) {
    const bool few = std::min(op.sequences.most_rows, op.qkv.rows) <= kTokenwiseRows;
    if (device.exact() || few || op.decays_by_channel()) return false;
    int shared_bytes = 0;
    check(cudaDeviceGetAttribute(&shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device.index()),
          "asking for shared memory");
    return op.key_dim <= kKeys && shared_bytes >= static_cast<int>(sizeof(ScanShared));
}

void run_chunks(Device& device, const DeltaArgs& delta, int64_t rows) {
    const auto sequences = static_cast<unsigned>(delta.sequences.count),
               heads = static_cast<unsigned>(delta.value_heads);
    const uint64_t places = static_cast<uint64_t>(rows) / kChunk + sequences + 1;
    const uint64_t key_bytes = places * static_cast<uint64_t>(delta.key_heads) * sizeof(ChunkKeys);
    std::byte* const scratch = device.scratch(key_bytes + places * heads * sizeof(ChunkTerms));
    const ChunkArgs args{.delta = delta,
                         .fours = delta.key_dim % 4 == 0 && in_fours(delta.qkv),
                         .keys = reinterpret_cast<ChunkKeys*>(scratch),
                         .terms = reinterpret_cast<ChunkTerms*>(scratch + key_bytes)};
    make_chunk_terms(device, args, rows);
    constexpr int kBytes = sizeof(ScanShared);
    check(cudaFuncSetAttribute(scan_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
          "shared memory of GatedDeltaRule");
    const dim3 grid(blocks_for(delta.value_dim, kValues), heads, sequences);
    scan_kernel<<<grid, kScanThreads, kBytes, device.stream()>>>(args);
    check_launch("GatedDeltaRule");
}

}  // namespace sluice::cuda
