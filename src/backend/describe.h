#pragma once

#include <string>
#include <vector>

#include "backend/operations.h"

namespace sluice {

// What a profile files an operation under: its name, and the shape of its weight where that is one matrix.
std::string operation_label(const Operation& operation);

// Prints operations with every field, tensors as their shape and place, without a look at data:
//     Linear(x: F32 [1, 64] at #0+256, weight: F32 [32, 64] at #1+0, out: F32 [1, 32] at #0+512, accumulate: false,
//     ...)
// Buffers are numbered as they appear first, so that two programs over the same memory print alike.
class OperationPrinter {
  public:
    std::string describe(const Operation& operation);

  private:
    class Writer;
    std::vector<BufferPtr> buffers_;  // kept, so that no number names two buffers
};

}  // namespace sluice
