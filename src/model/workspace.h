#pragma once

#include <cstdint>

#include "backend/backend.h"

namespace sluice {

// Scratch memory of one forward pass: tensors are taken one after the other and all given back by reset(). Operations
// run in order, so the next block may reuse the memory at once. Without a backend it only counts, to size the real one.
class Workspace {
  public:
    Workspace() = default;
    explicit Workspace(Backend& backend) : backend_(&backend) {}

    Tensor take(int64_t rows, int64_t columns, DType dtype = DType::kF32);
    void reset() { used_ = 0; }
    uint64_t peak_bytes() const { return peak_; }
    const BufferPtr& buffer() const { return buffer_; }

    // Makes room for peak_bytes() of another workspace, so that later takes never grow the buffer.
    void reserve(uint64_t bytes);

  private:
    Backend* backend_ = nullptr;
    BufferPtr buffer_;
    uint64_t used_ = 0;
    uint64_t peak_ = 0;
};

}  // namespace sluice
