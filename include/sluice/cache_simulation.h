#pragma once

// Replaying routing traces on the bookkeeping of the cache.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "sluice/error.h"

namespace sluice {

struct CacheSimulation {
    std::string policy;   // "lru", "s3-fifo", "frequency-lru", "similar-tokens", "belady"
    double fraction = 0;  // of all experts
    uint64_t slots = 0;
    uint64_t requests = 0, hits = 0;
    double hit_rate = 0;
    // Of a tier below: what it has of what the first one lacks. Of "belady" the most that both can have together.
    uint64_t second_slots = 0, second_hits = 0;
    double read_rate = 0;  // the share of the requests that no tier has
};

// Replays a trace under every policy at the given fractions of the experts, with a second tier of another fraction
// below each, such as the host's memory below a device's; 0: none. Caches too small for the experts of one token are
// left out. Throws Error.
std::vector<CacheSimulation> simulate_cache(const std::filesystem::path& trace, const std::vector<double>& fractions,
                                            double second_fraction = 0);

}  // namespace sluice
