#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "experts/eviction.h"
#include "experts/slot_place.h"

namespace sluice {

// Where the experts of all layers are, for operations that take them from both tiers.
struct ReachedPlaces {
    // On its way to a slot of the device: until it is there `slots` names the host's.
    struct Coming {
        size_t index;  // in slots
        SlotPlace to;
    };

    std::vector<int32_t> slots;  // [layers * experts]: of the layer's memory, and from its last on of the host's tier
    std::vector<Coming> coming;
    uint64_t moves = 0;  // that the store had made by then
};

// A record of the host's tier that stands in a slot of the device, too, for a while.
struct StagedExpert {
    ExpertKey key;
    int32_t slot = 0;
};

// What the rows of a step chose in a layer: [rows, experts_per_token].
struct StepChoices {
    int layer = 0;
    std::span<const int32_t> experts;
};

}  // namespace sluice
