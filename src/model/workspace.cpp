#include "model/workspace.h"

#include <algorithm>

#include "base/memory.h"

namespace sluice {

namespace {
constexpr uint64_t kAlignment = 64;  // of every tensor: a cache line, and the widest vector
}

Tensor Workspace::take(int64_t rows, int64_t columns, DType dtype) {
    const uint64_t bytes =
        round_up(static_cast<uint64_t>(rows) * static_cast<uint64_t>(columns) * dtype_bytes(dtype), kAlignment);
    const uint64_t offset = used_;
    used_ += bytes;
    peak_ = std::max(peak_, used_);
    if (backend_ == nullptr) return make_tensor(nullptr, dtype, rows, columns, offset);
    if (buffer_ == nullptr || buffer_->bytes() < used_) {
        // Tensors taken before keep the old buffer alive.
        buffer_ = backend_->allocate(std::max(used_, peak_));
    }
    return make_tensor(buffer_, dtype, rows, columns, offset);
}

void Workspace::reserve(uint64_t bytes) {
    peak_ = std::max(peak_, bytes);
    if (backend_ != nullptr && (buffer_ == nullptr || buffer_->bytes() < bytes)) buffer_ = backend_->allocate(bytes);
}

}  // namespace sluice
