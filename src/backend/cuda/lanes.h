#pragma once

// Which operations of a list have to wait for which, by the memory that they name, and how the list is divided among
// lanes that run side by side.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "backend/cuda/touched.h"

namespace sluice::cuda {

// A group's place: which lane it is in, and what of other lanes it waits for beside what stands before it in its
// own.
struct LanePlace {
    size_t lane = 0;
    std::vector<size_t> after;  // groups
};

// Chains stay in a lane. Nobody writes weights.
std::vector<LanePlace> divide_into_lanes(std::span<const OperationGroup> groups, size_t lanes);

}  // namespace sluice::cuda
