#include "sluice/cache_simulation.h"

#include "experts/cache_simulator.h"

namespace sluice {

namespace {

CacheSimulation figures_of(const SimulatedTiers& tiers, double experts) {
    CacheSimulation figures{.policy = tiers.policy,
                            .fraction = static_cast<double>(tiers.slots.front()) / experts,
                            .slots = tiers.slots.front(),
                            .requests = tiers.misses,
                            .hits = tiers.hits.front()};
    for (const uint64_t hits : tiers.hits) figures.requests += hits;
    if (tiers.slots.size() > 1) {
        figures.second_slots = tiers.slots[1];
        figures.second_hits = tiers.hits[1];
    }
    if (figures.requests == 0) return figures;
    figures.hit_rate = static_cast<double>(figures.hits) / static_cast<double>(figures.requests);
    figures.read_rate = static_cast<double>(tiers.misses) / static_cast<double>(figures.requests);
    return figures;
}

}  // namespace

std::vector<CacheSimulation> simulate_cache(const std::filesystem::path& trace, const std::vector<double>& fractions,
                                            double second_fraction) {
    const RoutingTrace routing = RoutingTrace::load(trace);
    const uint64_t second = slots_of_fractions(routing, {{second_fraction}}).front();
    std::vector<CacheSimulation> simulations;
    for (const SimulatedTiers& tiers : simulate_all(routing, slots_of_fractions(routing, fractions), second)) {
        simulations.push_back(figures_of(tiers, static_cast<double>(experts_of(routing))));
    }
    return simulations;
}

}  // namespace sluice
