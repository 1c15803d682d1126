#pragma once

#include <cstdint>

#include "sluice/machine_shares.h"

namespace sluice {

// How many experts a model has: of layers with experts, and in each; and how long a row of their results is.
struct ExpertCounts {
    int64_t layers = 0, experts = 0, experts_per_token = 0, columns = 0;
    uint64_t bytes = 0;  // of all of them
};
ExpertLoad expert_load(const ExpertCounts& counts);

}  // namespace sluice
