#pragma once

#include <cstddef>
#include <vector>

#include "device/buffer.h"

namespace sluice {

// A slot of the expert store.
struct SlotPlace {
    size_t pool = 0;
    size_t slot = 0;
    friend bool operator==(const SlotPlace&, const SlotPlace&) = default;
};
using SlotPlaces = std::vector<SlotPlace>;

// A record in a slot of the host's tier, which stays there until it is given back; no record: it is not there.
struct BelowLease {
    SlotPlace place;
    BufferPtr record = nullptr;
};

}  // namespace sluice
