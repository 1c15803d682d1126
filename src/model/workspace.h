#pragma once

#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "backend/backend.h"

namespace sluice {

// Scratch memory of one forward pass: tensors are taken one after the other and all given back by reset(). Operations
// run in order, so the next block may reuse the memory at once. Without a backend it only counts, to size the real one.
class Workspace {
  public:
    Workspace() = default;
    explicit Workspace(Backend& backend) : backend_(&backend) {}

    Tensor take(int64_t rows, int64_t columns, DType dtype = DType::kF32);
    // One that holds `values`.
    template <typename T>
    Tensor put(const std::vector<T>& values, int64_t columns = 1) {
        static_assert(std::is_same_v<T, float> || std::is_same_v<T, int32_t>);
        const DType dtype = std::is_same_v<T, float> ? DType::kF32 : DType::kI32;
        const Tensor tensor = take(static_cast<int64_t>(values.size()) / columns, columns, dtype);
        backend_->upload(tensor.buffer, tensor.offset, std::as_bytes(std::span(values)));
        return tensor;
    }
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
