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

// By one warp: the `top_k` largest logits of a row, lane n having the nth: which experts they are, and where each
// stands among them in ascending order. Logits lie in the warp's registers: lane l has l, l + 32, ...
struct ChosenLogit {
    float logit = 0, largest = 0;
    int expert = -1, place = 0;  // -1: this lane has none
};

template <int kPerLane>
__device__ __forceinline__ ChosenLogit choose_by_logits(const RouteArgs& args, const float* logits) {
    const int lane = threadIdx.x % 32;
    unsigned key[kPerLane];  // 0: none, or chosen before
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
        const int e = lane + 32 * i;
        key[i] = e < args.experts ? max(ordered(__ldcg(logits + e)), 1u) : 0;
    }
    ChosenLogit mine;
#pragma unroll 1
    for (int n = 0; n < args.top_k; ++n) {
        unsigned best = 0;
        int place = 0;
#pragma unroll
        for (int i = 0; i < kPerLane; ++i) {
            if (key[i] > best) best = key[i], place = i;
        }
        const unsigned of_all = __reduce_max_sync(kAllLanes, best);
        const unsigned expert = best == of_all ? static_cast<unsigned>(lane + 32 * place) : ~0u;
        const unsigned first = __reduce_min_sync(kAllLanes, expert);
        const float logit = number_of(of_all);
        if (n == 0) mine.largest = logit;
        if (n == lane) mine.logit = logit, mine.expert = static_cast<int>(first);
#pragma unroll
        for (int i = 0; i < kPerLane; ++i) {
            if (i == place && expert == first) key[i] = 0;
        }
    }
#pragma unroll 1
    for (int n = 0; n < args.top_k; ++n) mine.place += __shfl_sync(kAllLanes, mine.expert, n) < mine.expert;
    return mine;
}

// The same with weights, where logits choose by a softmax over the chosen: write(place, expert, weight).
template <int kPerLane, typename Write>
__device__ __forceinline__ void choose_experts(const RouteArgs& args, const float* logits, const Write& write) {
    const ChosenLogit mine = choose_by_logits<kPerLane>(args, logits);
    const bool there = mine.expert >= 0;
    const double value = there ? exp(static_cast<double>(mine.logit) - static_cast<double>(mine.largest)) : 0.0;
    const double divisor = warp_sum_double(value) + 1e-20;
    if (there) write(mine.place, mine.expert, args.weight_of(mine.expert, value / divisor));
}

}  // namespace sluice::cuda
