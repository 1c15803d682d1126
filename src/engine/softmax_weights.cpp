// Loops over whole vocabularies, four lanes at a time: every processor that this runs on has that many.

#include "engine/softmax_weights.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>

namespace sluice {

namespace {

constexpr size_t kRun = 1024;
constexpr size_t kLanes = 4;
constexpr size_t kChains = 4;  // independent, so that operations need not wait for each other
constexpr size_t kBlock = kLanes * kChains;

using Floats = float __attribute__((vector_size(kLanes * sizeof(float))));
using Words = int32_t __attribute__((vector_size(kLanes * sizeof(int32_t))));

Floats load(const float* p) {
    Floats v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

// e^x for x <= 0: 2^n times the Taylor polynomial of the rest, |rest| <= ln2 / 2. Zero under e^-87.
Floats exponential(Floats x) {
    constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
    const Floats bounded = x < -87.0f ? Floats{} - 87.0f : x;
    const Floats shifted = bounded * 1.44269504088896341f + kRounder;
    const Floats n = shifted - kRounder;
    const Floats r = (bounded - n * 0.693145751953125f) - n * 1.42860682030941723e-6f;
    Floats p = r * (1.0f / 720.0f) + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const Words exponent = (std::bit_cast<Words>(shifted) << 23) + (127 << 23);
    return x < -87.0f ? Floats{} : p * std::bit_cast<Floats>(exponent);
}

double sum_of(const float* values, size_t count) {
    Floats sums[kChains] = {};
    size_t i = 0;
    for (; i + kBlock <= count; i += kBlock) {
        for (size_t chain = 0; chain < kChains; ++chain) sums[chain] += load(values + i + chain * kLanes);
    }
    double total = 0;
    for (const Floats& sum : sums) {
        for (size_t lane = 0; lane < kLanes; ++lane) total += static_cast<double>(sum[lane]);
    }
    for (; i < count; ++i) total += static_cast<double>(values[i]);
    return total;
}

}  // namespace

void SoftmaxWeights::compute(std::span<const float> logits, float largest, float temperature) {
    weights_.resize(logits.size());
    const float inverse = 1.0f / temperature;
    size_t i = 0;
    for (; i + kLanes <= logits.size(); i += kLanes) {
        const Floats weight = exponential((load(logits.data() + i) - largest) * inverse);
        std::memcpy(weights_.data() + i, &weight, sizeof weight);
    }
    for (; i < logits.size(); ++i) weights_[i] = exponential((Floats{} + logits[i] - largest) * inverse)[0];
    run_sums_.clear();
    total_ = 0;
    for (size_t begin = 0; begin < weights_.size(); begin += kRun) {
        const size_t count = std::min(kRun, weights_.size() - begin);
        run_sums_.push_back(sum_of(weights_.data() + begin, count));
        total_ += run_sums_.back();
    }
}

size_t SoftmaxWeights::find(double target) const {
    size_t run = 0;
    while (run + 1 < run_sums_.size() && target >= run_sums_[run]) target -= run_sums_[run++];
    size_t last = 0;
    for (size_t i = run * kRun; i < weights_.size(); ++i) {
        if (weights_[i] == 0) continue;
        last = i;
        target -= static_cast<double>(weights_[i]);
        if (target < 0) return i;
    }
    return last;
}

float largest_of(std::span<const float> values) {
    Floats best[kChains];
    for (Floats& chain : best) chain = Floats{} - std::numeric_limits<float>::infinity();
    size_t i = 0;
    for (; i + kBlock <= values.size(); i += kBlock) {
        for (size_t chain = 0; chain < kChains; ++chain) {
            const Floats v = load(values.data() + i + chain * kLanes);
            best[chain] = best[chain] < v ? v : best[chain];
        }
    }
    float largest = -std::numeric_limits<float>::infinity();
    for (const Floats& chain : best) {
        for (size_t lane = 0; lane < kLanes; ++lane) largest = std::max(largest, chain[lane]);
    }
    for (; i < values.size(); ++i) largest = std::max(largest, values[i]);
    return largest;
}

bool all_finite(std::span<const float> values) {
    constexpr uint32_t kExponent = 0x7f800000;
    uint32_t faults = 0;
    for (const float value : values) faults |= (std::bit_cast<uint32_t>(value) & kExponent) == kExponent ? 1 : 0;
    return faults == 0;
}

}  // namespace sluice
