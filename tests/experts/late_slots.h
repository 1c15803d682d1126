#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "device/slot_memory.h"

namespace sluice::testing {

struct LateSlotsOptions {
    size_t landings = 16;
    double failing = 0;  // share of copies that throw, as of a device that is lost now and then
    uint64_t seed = 3;
    bool at_end = false;  // memory goes back from the last slot on
};

// Slots as of a device, but where tests can look: apart from their landing areas and filled late, by a thread of their
// own, in the order of the calls. A landing area holds 0xff once its record has been copied.
std::unique_ptr<SlotMemory> make_late_slots(size_t slots, size_t slot_bytes, const LateSlotsOptions& options = {});

}  // namespace sluice::testing
