#include "cli/estimate.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "base/memory.h"

namespace sluice::cli {

namespace {

struct Point {
    double fraction, hit_rate;
};

// Published hit rates against the share of experts that is cached, by experts per layer (and experts per token).
constexpr std::array kHitRates64 = {Point{0, 0}, Point{0.125, 0.30}, Point{0.375, 0.68}, Point{1, 1}};
constexpr std::array kHitRates256 = {Point{0, 0},       Point{0.03, 0.13}, Point{0.06, 0.40}, Point{0.12, 0.62},
                                     Point{0.24, 0.85}, Point{0.48, 0.94}, Point{1, 1}};
constexpr std::array kHitRates512 = {Point{0, 0}, Point{0.18, 0.44}, Point{0.36, 0.62}, Point{0.54, 0.72}, Point{1, 1}};

std::span<const Point> hit_rates_for(int64_t experts) {
    // The borders are the geometric means of 64, 256 and 512.
    if (experts < 128) return kHitRates64;
    if (experts < 362) return kHitRates256;
    return kHitRates512;
}

// What a run reaches of its bounds: kernels read memory at about 85 % of the sequential speed (weights in tiles; others
// at less), reads keep a drive about 85 % busy.
constexpr double kMemoryEfficiency = 0.85;
constexpr double kDiskEfficiency = 0.85;

}  // namespace

double expected_hit_rate(int64_t experts, double cached_fraction) {
    const std::span<const Point> points = hit_rates_for(experts);
    for (size_t i = 1; i < points.size(); ++i) {
        const Point& low = points[i - 1];
        const Point& high = points[i];
        if (cached_fraction <= high.fraction) {
            const double share = std::max(0.0, cached_fraction - low.fraction) / (high.fraction - low.fraction);
            return low.hit_rate + share * (high.hit_rate - low.hit_rate);
        }
    }
    return 1;
}

uint64_t measured_read_bytes(uint64_t bytes_per_expert) {
    constexpr uint64_t kMost = 32 << 20;
    return std::clamp<uint64_t>(bytes_per_expert, kPageBytes, kMost);
}

double best_disk_speed(const std::vector<DiskMeasurement>& rows, bool direct_io) {
    double best = 0;
    for (const DiskMeasurement& row : rows) {
        if (row.refused.empty() && row.direct_io == direct_io) best = std::max(best, row.bytes_per_second);
    }
    return best;
}

double TokenBound::tokens_per_s() const {
    const double seconds = std::max(memory_s + layers_s, disk_s);
    return seconds > 0 ? 1 / seconds : 0;
}

TokenBound decode_bound(const ModelReport& model, const MachineSpeed& speed, double miss_bytes_per_token,
                        double context_tokens) {
    TokenBound bound;
    const double weights =
        static_cast<double>(model.trunk_bytes_per_token) + static_cast<double>(model.expert_bytes_per_token);
    const double state = context_tokens * static_cast<double>(model.kv_bytes_per_token) +
                         2.0 * static_cast<double>(model.state_bytes_per_sequence);  // read and written
    if (speed.memory_bytes_per_s > 0) bound.memory_s = (weights + state) / speed.memory_bytes_per_s;
    if (bound.memory_s > 0) bound.layers_s = static_cast<double>(model.layers) * speed.layer_s;
    if (speed.disk_bytes_per_s > 0) bound.disk_s = miss_bytes_per_token / speed.disk_bytes_per_s;
    return bound;
}

PlanEstimate estimate_plan(const ModelReport& model, const MachineSpeed& speed, const MemoryOutlook& memory) {
    PlanEstimate plan;
    if (!memory.runs) return plan;
    if (model.expert_bytes > 0) {
        const auto fraction = [&](uint64_t bytes) {
            return std::min(1.0, static_cast<double>(bytes) / static_cast<double>(model.expert_bytes));
        };
        // Both tiers hold different experts.
        plan.cached_fraction = fraction(memory.cache_bytes + memory.host_bytes);
        plan.card_rate = memory.host_bytes > 0 ? expected_hit_rate(model.experts, fraction(memory.cache_bytes)) : 0;
    }
    plan.hit_rate = expected_hit_rate(model.experts, plan.cached_fraction);
    const double misses = (1 - plan.hit_rate) * static_cast<double>(model.expert_bytes_per_token);
    const MachineSpeed reached{.memory_bytes_per_s = kMemoryEfficiency * speed.memory_bytes_per_s,
                               .disk_bytes_per_s = kDiskEfficiency * speed.disk_bytes_per_s,
                               .layer_s = speed.layer_s};
    plan.decode_tokens_per_s =
        decode_bound(model, reached, misses, static_cast<double>(memory.context) / 2).tokens_per_s();
    return plan;
}

}  // namespace sluice::cli
