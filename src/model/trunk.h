#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "checkpoint/checkpoint.h"

namespace sluice {

// How a backend holds matrices of the trunk: where they are mapped, or as it reads them soonest, in memory of its own.
enum class TrunkForm : uint8_t { kMapped, kFastest };

// Brings the trunk's tensors into a backend: matrices are adopted where they are mapped, vectors become F32.
class Trunk {
  public:
    Trunk(const Checkpoint& checkpoint, Backend& backend, TrunkForm form = TrunkForm::kMapped)
        : checkpoint_(checkpoint), backend_(backend), form_(form) {}

    Weight weight(int layer, Role role);
    // A matrix that only Linear, not in full precision, GatedMlp and Embed read: in the form that was asked for.
    Weight projection(int layer, Role role);
    // A copy of some rows of a matrix. Throws kUnsupported where some of them alone share their scales.
    Weight rows(int layer, Role role, std::span<const int64_t> rows);
    std::vector<float> values(int layer, Role role) const { return checkpoint_.vector(layer, role); }
    Tensor vector(int layer, Role role);               // [1, n]
    Tensor table(int layer, Role role, int64_t rows);  // [rows, n]
    // [values / columns, columns]
    Tensor upload(const std::vector<float>& values, int64_t columns) { return upload(DType::kF32, values, columns); }
    Tensor upload(const std::vector<int32_t>& values, int64_t columns) { return upload(DType::kI32, values, columns); }

  private:
    template <typename Value>
    Tensor upload(DType dtype, const std::vector<Value>& values, int64_t columns);
    WeightPart part(const ByteRange& range);
    Weight tiled(const WeightSource& source);

    const Checkpoint& checkpoint_;
    Backend& backend_;
    TrunkForm form_;
};

}  // namespace sluice
