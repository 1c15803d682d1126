#pragma once

#include <span>
#include <vector>

#include "backend/backend.h"
#include "checkpoint/checkpoint.h"

namespace sluice {

// Brings the trunk's tensors into a backend: matrices are adopted where they are mapped, vectors become F32.
class Trunk {
  public:
    Trunk(const Checkpoint& checkpoint, Backend& backend) : checkpoint_(checkpoint), backend_(backend) {}

    Weight weight(int layer, Role role);
    // A copy of some rows of a matrix. Throws kUnsupported where some of them alone share their scales.
    Weight rows(int layer, Role role, std::span<const int64_t> rows);
    std::vector<float> values(int layer, Role role) const { return checkpoint_.vector(layer, role); }
    Tensor vector(int layer, Role role);                               // [1, n]
    Tensor table(int layer, Role role, int64_t rows);                  // [rows, n]
    Tensor upload(const std::vector<float>& values, int64_t columns);  // [values / columns, columns]

  private:
    WeightPart part(const ByteRange& range);

    const Checkpoint& checkpoint_;
    Backend& backend_;
};

}  // namespace sluice
