#pragma once

// Which operations of a list have to wait for which, by the memory that they name, and how the list is divided among
// lanes that run side by side.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "backend/operations.h"

namespace sluice::cuda {

// An operation's place: which lane it is in, and what of other lanes it waits for beside what stands before it in its
// own.
struct LanePlace {
    size_t lane = 0;
    std::vector<size_t> after;  // operations
};

// Chains stay in a lane. Of constant memory (weights) nobody has to be told.
std::vector<LanePlace> divide_into_lanes(std::span<const Operation> operations, size_t lanes);

}  // namespace sluice::cuda
