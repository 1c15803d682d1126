#pragma once

// Which experts a row chooses.

#include "backend/cuda/views.cuh"

namespace sluice::cuda {

constexpr int kMostPlainExperts = 512;

struct RouteArgs {
    Rows<const float> logits;
    const float* bias;
    const float* expert_scale;  // null: one
    RouterScore score;
    int experts, groups, groups_kept, top_k;
    bool normalize, by_logits;
    float scale;
    Rows<int32_t> ids;
    Rows<float> weights;

    bool is_plain() const { return groups == 1 && experts <= kMostPlainExperts; }
    // Whether nobody asks for the values of experts that are not chosen.
    __host__ __device__ bool by_chosen() const { return by_logits && normalize && top_k <= 32 && top_k <= experts; }
    __device__ float weight_of(int expert, double share) const {
        const float own = expert_scale == nullptr ? 1.0f : expert_scale[expert];
        return static_cast<float>(share * static_cast<double>(scale) * static_cast<double>(own));
    }
};
RouteArgs arguments_of(const Route& op);

__device__ inline double warp_sum_double(double value) {
    for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
    return value;
}

// A float as a whole number in the same order, and back.
__device__ inline unsigned ordered(float value) {
    const unsigned bits = __float_as_uint(value + 0.0f);  // one zero
    return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

__device__ inline float number_of(unsigned ordered) {
    return __uint_as_float((ordered & 0x80000000u) != 0 ? ordered & 0x7fffffffu : ~ordered);
}

// The logits of a row in the registers of a warp: lane l has those from l * kPerLane on.
template <int kPerLane>
struct LaneLogits {
    unsigned key[kPerLane];  // 0: none, or chosen before

    __device__ __forceinline__ LaneLogits(const RouteArgs& args, const float* logits) {
        const int first = static_cast<int>(threadIdx.x % 32) * kPerLane;
        if (args.experts == 32 * kPerLane && reinterpret_cast<uintptr_t>(logits) % 16 == 0) {
#pragma unroll
            for (int i = 0; i < kPerLane; i += 4) {
                const float4 four = __ldcg(reinterpret_cast<const float4*>(logits + first + i));
                key[i] = key_of(four.x), key[i + 1] = key_of(four.y);
                key[i + 2] = key_of(four.z), key[i + 3] = key_of(four.w);
            }
            return;
        }
#pragma unroll
        for (int i = 0; i < kPerLane; ++i) key[i] = first + i < args.experts ? key_of(__ldcg(logits + first + i)) : 0;
    }

    // The largest of all, the first of equal ones, which is out then.
    __device__ __forceinline__ int take_largest(unsigned& largest) {
        unsigned most = 0, hits = 0;  // a bit for each key that is the largest
#pragma unroll
        for (const unsigned each : key) most = max(most, each);
        largest = __reduce_max_sync(kAllLanes, most);
#pragma unroll
        for (int i = 0; i < kPerLane; ++i) hits |= key[i] == largest ? 1u << i : 0u;
        const unsigned owners = __ballot_sync(kAllLanes, hits != 0), before = (1u << threadIdx.x % 32) - 1;
        const unsigned out = (owners & before) == 0 ? hits & -hits : 0;
#pragma unroll
        for (int i = 0; i < kPerLane; ++i) key[i] = (out >> i & 1) != 0 ? 0 : key[i];
        const int owner = __ffs(static_cast<int>(owners)) - 1;
        return owner * kPerLane + __shfl_sync(kAllLanes, __ffs(static_cast<int>(hits)) - 1, owner);
    }

  private:
    static __device__ __forceinline__ unsigned key_of(float logit) {
        return max(ordered(logit), 1u);
    }
};

// By one warp: the `top_k` largest logits of a row, lane n having the nth.
struct ChosenLogit {
    float logit = 0, largest = 0;
    int expert = kNone;
    static constexpr int kNone = 0x7fffffff;
};

template <int kPerLane>
__device__ __forceinline__ ChosenLogit choose_by_logits(const RouteArgs& args, const float* logits) {
    LaneLogits<kPerLane> lane_logits(args, logits);
    const int lane = threadIdx.x % 32;
    ChosenLogit mine;
#pragma unroll 1
    for (int n = 0; n < args.top_k; ++n) {
        unsigned largest = 0;
        const int expert = lane_logits.take_largest(largest);
        if (n == 0) mine.largest = number_of(largest);
        if (n == lane) mine.logit = number_of(largest), mine.expert = expert;
    }
    return mine;
}

// What the lane's choice weighs, where logits choose by a softmax over the chosen.
__device__ __forceinline__ float weight_of(const RouteArgs& args, const ChosenLogit& mine) {
    const bool there = mine.expert != ChosenLogit::kNone;
    const double value = there ? exp(static_cast<double>(mine.logit) - static_cast<double>(mine.largest)) : 0.0;
    const double divisor = warp_sum_double(value) + 1e-20;
    return there ? args.weight_of(mine.expert, value / divisor) : 0.0f;
}

// Where the lane's choice stands among all in ascending order.
__device__ __forceinline__ int place_of(const RouteArgs& args, const ChosenLogit& mine) {
    constexpr int kTogether = 8;
    int place = 0;
#pragma unroll 1
    for (int first = 0; first < args.top_k; first += kTogether) {
#pragma unroll
        for (int i = 0; i < kTogether; ++i) place += __shfl_sync(kAllLanes, mine.expert, first + i) < mine.expert;
    }
    return place;
}

}  // namespace sluice::cuda
