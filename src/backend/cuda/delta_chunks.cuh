#pragma once

// The gated delta rule in chunks of 64 tokens, on tensor cores with operands of TF32. Within a chunk, G_t the sum of ln
// g up to t, D the changes that the tokens make to the state S of its begin:
//     (1 + A) D = beta (V - e^G K S^T),  A[t, i] = beta_t e^(G_t - G_i) k_t . k_i for i < t
//     out = (e^G Q S^T + P D) / sqrt(key_dim),  P[t, i] = e^(G_t - G_i) q_t . k_i for i <= t
//     S = e^G_end S + D^T (e^(G_end - G) K)
// Decays are differences of sums that fall, so that none is above one. What does not depend on the state is made for
// all chunks at once and kept as F16: none of it is above one either, and F16 has as many digits as TF32.

#include "backend/cuda/recurrent.cuh"
#include "backend/cuda/tensor_cores.cuh"

namespace sluice::cuda {

constexpr int kChunk = 64, kKeys = 128;  // tokens, the widest key

// Of a chunk and key head, of length one; zeros behind the sequence's end and the width.
struct ChunkKeys {
    uint16_t keys[kChunk][kKeys], queries[kChunk][kKeys];
};

// Of a chunk and value head.
struct ChunkTerms {
    uint16_t inverse[kChunk][kChunk];     // (1 + A)^-1 beta
    uint16_t answers[kChunk][kChunk];     // P
    float decays[kChunk], rests[kChunk];  // e^G, e^(G_end - G)
    float decay[8];                       // e^G_end, once
};
constexpr int kFactors = 2 * kChunk + 8;  // numbers behind the matrices

struct ChunkArgs {
    DeltaArgs delta;
    bool fours;  // keys and queries may be read 16 bytes at a time
    ChunkKeys* keys;
    ChunkTerms* terms;

    // The chunk that starts at row `first` of a sequence; each has a place of its own.
    __device__ int64_t place_of(const SequencePart& part, int first) const {
        return part.first_row / kChunk + part.sequence + first / kChunk;
    }
    __device__ ChunkKeys& keys_of(const SequencePart& part, int first, int key_head) const {
        return keys[place_of(part, first) * delta.key_heads + key_head];
    }
    __device__ ChunkTerms& terms_of(const SequencePart& part, int first, int head) const {
        return terms[place_of(part, first) * delta.value_heads + head];
    }
};

// Fills keys and terms of all sequences of more than kTokenwiseRows rows.
void make_chunk_terms(Device& device, const ChunkArgs& args, int64_t rows);

__device__ __forceinline__ void copy_async(void* to, const void* from) {
    const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(from) : "memory");
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

__device__ __forceinline__ uint32_t halves_of(float low, float high) {
    uint32_t pair = 0;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}
__device__ __forceinline__ float2 floats_of(uint32_t halves) {
    float2 pair{};
    asm("{.reg .f16 low, high; mov.b32 {low, high}, %2; cvt.f32.f16 %0, low; cvt.f32.f16 %1, high;}"
        : "=f"(pair.x), "=f"(pair.y)
        : "r"(halves));
    return pair;
}
__device__ __forceinline__ float2 pair_at(const uint16_t* from) {
    return floats_of(*reinterpret_cast<const uint32_t*>(from));
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

}  // namespace sluice::cuda
