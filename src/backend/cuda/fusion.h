#pragma once

// Which operations of a list are handed over at once.

#include <vector>

#include "backend/cuda/touched.h"

namespace sluice::cuda {

// What the card's kernels take at once.
enum class Joining : uint8_t {
    kProducts,  // products of the same rows; what is added to a sum of experts right behind it
    kSteps      // also what joined.h has for a step of one row
};

// One by one, but for what joins an earlier one where nothing stands against it.
std::vector<OperationGroup> group_operations(std::vector<Operation> operations, Joining joining);

}  // namespace sluice::cuda
