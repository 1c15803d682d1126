#include "experts/cache_simulator.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <set>
#include <utility>

#include "base/error.h"
#include "experts/expert_tiers.h"

namespace sluice {

namespace {

struct Batch {
    int layer = 0;
    std::vector<int> experts;      // distinct, ascending
    std::vector<int32_t> choices;  // of every row
};

std::vector<Batch> batches_of(const RoutingTrace& trace) {
    std::vector<Batch> batches;
    for (int64_t step = 0; step < trace.steps(); ++step) {
        if (step == 0 || trace.batch(step) != trace.batch(step - 1)) batches.push_back({trace.layer(step), {}, {}});
        const auto chosen = trace.chosen(step);
        batches.back().experts.insert(batches.back().experts.end(), chosen.begin(), chosen.end());
        batches.back().choices.insert(batches.back().choices.end(), chosen.begin(), chosen.end());
    }
    for (Batch& batch : batches) {
        std::sort(batch.experts.begin(), batch.experts.end());
        batch.experts.erase(std::unique(batch.experts.begin(), batch.experts.end()), batch.experts.end());
    }
    return batches;
}

void check_slots(const RoutingTrace& trace, uint64_t slots) {
    if (slots < static_cast<uint64_t>(trace.top_k())) {
        fail(ErrorCode::kUsage, "a cache of {} experts cannot hold the {} of one token", slots, trace.top_k());
    }
}

// The most that the upper tiers can have together, tier by tier.
SimulatedTiers optimum_of_tiers(const RoutingTrace& trace, std::vector<uint64_t> slots) {
    SimulatedTiers result{.policy = {}, .slots = std::move(slots), .hits = {}, .misses = 0};
    uint64_t together = 0, had = 0;
    for (const uint64_t count : result.slots) {
        together += count;
        const SimulatedCache best = simulate_optimum(trace, together);
        result.policy = best.policy;
        result.hits.push_back(best.hits - std::exchange(had, best.hits));
        result.misses = best.misses;
    }
    return result;
}

// The trace as a series of expert numbers, with the batch in which each is needed next.
struct FutureUses {
    explicit FutureUses(const RoutingTrace& trace, const std::vector<Batch>& batches)
        : experts_(static_cast<size_t>(trace.experts())) {
        std::vector<size_t> next(static_cast<size_t>(trace.layers()) * experts_, kNever);
        after.resize(batches.size());
        for (size_t b = batches.size(); b > 0; --b) {
            const Batch& batch = batches[b - 1];
            for (const int expert : batch.experts)
                after[b - 1].push_back(std::exchange(next[key(batch.layer, expert)], b - 1));
        }
    }
    size_t key(int layer, int expert) const {
        return static_cast<size_t>(layer) * experts_ + static_cast<size_t>(expert);
    }

    static constexpr size_t kNever = std::numeric_limits<size_t>::max();
    std::vector<std::vector<size_t>> after;  // [batch][place in the batch]

  private:
    size_t experts_;
};

}  // namespace

SimulatedTiers simulate_tiers(const RoutingTrace& trace, EvictionPolicy policy, std::span<const uint64_t> slots) {
    if (slots.empty() || slots.size() > 2)
        fail(ErrorCode::kUsage, "{} tiers to simulate: one or two can be", slots.size());
    check_slots(trace, slots.front());
    SimulatedTiers result{.policy = std::string(eviction_policy_name(policy)),
                          .slots = {slots.begin(), slots.end()},
                          .hits = std::vector<uint64_t>(slots.size()),
                          .misses = 0};
    const int experts = static_cast<int>(trace.experts());
    const int top_k = static_cast<int>(trace.top_k());
    const uint64_t upper = slots.front();
    ExpertTiers tiers(upper, slots.size() > 1 ? slots[1] : 0, static_cast<int>(trace.layers()), experts, policy);
    BatchPlan plan;
    std::deque<size_t> held;
    const auto hold = [&](const Lease& lease) {
        ++(lease.found == Found::kMiss ? result.misses : result.hits[lease.found == Found::kBelow ? 1 : 0]);
        if (lease.found != Found::kHit) tiers.landed(lease.slot);
        held.push_back(lease.slot);
    };
    for (const Batch& batch : batches_of(trace)) {
        const bool scan = is_scan(batch.experts.size(), experts, top_k);
        const size_t limit = std::min<size_t>(upper, scan ? scan_window(upper, top_k) : batch.experts.size());
        tiers.plan(batch.layer, batch.experts, scan, limit, plan,
                   {.experts = batch.choices, .per_row = static_cast<size_t>(top_k)});
        for (const Lease& lease : plan.taken) hold(lease);
        for (const int expert : plan.waiting) {
            tiers.release(held.front());
            held.pop_front();
            hold(tiers.take(batch.layer, expert, scan));
        }
        for (const size_t slot : held) tiers.release(slot);
        held.clear();
    }
    return result;
}

SimulatedCache simulate_cache(const RoutingTrace& trace, EvictionPolicy policy, uint64_t slots) {
    const SimulatedTiers one = simulate_tiers(trace, policy, {&slots, 1});
    return {one.policy, slots, one.hits.front(), one.misses};
}

SimulatedCache simulate_optimum(const RoutingTrace& trace, uint64_t slots) {
    check_slots(trace, slots);
    SimulatedCache result{"belady", slots};
    const std::vector<Batch> batches = batches_of(trace);
    const FutureUses future(trace, batches);
    const size_t keys = static_cast<size_t>(trace.layers() * trace.experts());
    constexpr size_t kAbsent = FutureUses::kNever - 1;
    std::vector<size_t> next_use(keys, kAbsent);  // of what is in the cache
    std::vector<size_t> last_batch(keys, FutureUses::kNever);
    std::set<std::pair<size_t, size_t>> cached;  // next use, key
    for (size_t b = 0; b < batches.size(); ++b) {
        const Batch& batch = batches[b];
        std::vector<std::pair<size_t, size_t>> missing;  // next use, key
        for (size_t i = 0; i < batch.experts.size(); ++i) {
            const size_t key = future.key(batch.layer, batch.experts[i]);
            last_batch[key] = b;
            if (next_use[key] == kAbsent) {
                missing.emplace_back(future.after[b][i], key);
                continue;
            }
            ++result.hits;
            cached.erase({next_use[key], key});
            next_use[key] = future.after[b][i];
            cached.emplace(next_use[key], key);
        }
        for (const auto& [next, key] : missing) {
            ++result.misses;
            if (cached.size() == slots) {
                // What this batch uses stays, unless the batch alone fills the cache.
                auto victim = std::find_if(cached.rbegin(), cached.rend(),
                                           [&](const auto& entry) { return last_batch[entry.second] != b; });
                if (victim == cached.rend()) victim = cached.rbegin();
                next_use[victim->second] = kAbsent;
                cached.erase(std::next(victim).base());
            }
            next_use[key] = next;
            cached.emplace(next, key);
        }
    }
    return result;
}

std::vector<SimulatedTiers> simulate_all(const RoutingTrace& trace, std::span<const uint64_t> slots,
                                         uint64_t second_slots) {
    std::vector<SimulatedTiers> results;
    for (const uint64_t count : slots) {
        if (count < static_cast<uint64_t>(trace.top_k())) continue;
        std::vector<uint64_t> tiers = {count};
        if (second_slots > 0) tiers.push_back(second_slots);
        for (const EvictionPolicy policy : kAllPolicies) results.push_back(simulate_tiers(trace, policy, tiers));
        results.push_back(optimum_of_tiers(trace, std::move(tiers)));
    }
    return results;
}

uint64_t experts_of(const RoutingTrace& trace) {
    std::set<int32_t> layers;
    for (int64_t step = 0; step < trace.steps(); ++step) layers.insert(trace.layer(step));
    return layers.size() * static_cast<uint64_t>(trace.experts());
}

std::vector<uint64_t> slots_of_fractions(const RoutingTrace& trace, std::span<const double> fractions) {
    const auto all = static_cast<double>(experts_of(trace));
    std::vector<uint64_t> slots;
    for (const double fraction : fractions) slots.push_back(static_cast<uint64_t>(std::llround(fraction * all)));
    return slots;
}

}  // namespace sluice
