#pragma once

#include "backend/tensor.h"

namespace sluice {

// Where a block puts what it computes: added to what is there, or instead of it.
struct BlockOutput {
    Tensor rows;
    bool accumulate = true;
};

}  // namespace sluice
