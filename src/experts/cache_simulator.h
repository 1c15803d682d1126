#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "experts/eviction.h"
#include "experts/routing_trace.h"

namespace sluice {

struct SimulatedCache {
    std::string policy;  // eviction_policy_name, or "belady"
    uint64_t slots = 0;
    uint64_t hits = 0;
    uint64_t misses = 0;  // distinct experts of each batch, as the store counts them
};

// The same of tiers over one another, the fastest first.
struct SimulatedTiers {
    std::string policy;
    std::vector<uint64_t> slots;  // [tiers]
    std::vector<uint64_t> hits;   // [tiers]: where an expert was found, looked for from above
    uint64_t misses = 0;          // of all of them
};

// Replays the trace on the bookkeeping of the live store (ExpertTiers): the same hits and misses, expert by expert, for
// one caller whose batches fit in the cache. Of wider batches the oldest slot is given back for each further expert.
// `slots` at least the distinct experts of one row. Throws kUsage for fewer.
SimulatedCache simulate_cache(const RoutingTrace& trace, EvictionPolicy policy, uint64_t slots);

// The same through one tier or two of so many slots, a device's over the host's.
SimulatedTiers simulate_tiers(const RoutingTrace& trace, EvictionPolicy policy, std::span<const uint64_t> slots);

// What no policy can beat: the expert that is needed again last goes first (Belady), known from the trace itself.
SimulatedCache simulate_optimum(const RoutingTrace& trace, uint64_t slots);

// Every policy and the optimum ("belady") for each size of the first tier, in that order, over a second one unless that
// has no slots; sizes too small for one row are skipped. The optimum's first tier is the best by itself, and so are
// both together.
std::vector<SimulatedTiers> simulate_all(const RoutingTrace& trace, std::span<const uint64_t> slots,
                                         uint64_t second_slots = 0);

// All experts of the layers that the trace has seen: some models' first layers have none.
uint64_t experts_of(const RoutingTrace& trace);

// Slots for fractions of experts_of().
std::vector<uint64_t> slots_of_fractions(const RoutingTrace& trace, std::span<const double> fractions);

}  // namespace sluice
