#pragma once

#include <cstdint>

#include "backend/operations/experts.h"

namespace sluice {

// A row of ExpertArrivals::entries: a slot that a step fills by itself, the expert that has it, counted from 1 among
// all (0: none), and how many pieces of its record are taken and how many are left. The first row is another: `slot` is
// how many rows are taken, `number` how many there are.
struct ArrivalEntry {
    int32_t slot = 0, number = 0, taken = 0, left = 0;
};
static_assert(sizeof(ArrivalEntry) == 4 * sizeof(int32_t));

constexpr int32_t arrival_pieces(uint64_t slot_bytes) {
    return static_cast<int32_t>((slot_bytes + kArrivalBytes - 1) / kArrivalBytes);
}

}  // namespace sluice
