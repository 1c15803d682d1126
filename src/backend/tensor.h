#pragma once

#include <cstdint>
#include <memory>

#include "device/buffer.h"
#include "tensor/dtype.h"
#include "tensor/matrix.h"

namespace sluice {

// A matrix of F32 or I32 in a backend's memory: [rows, columns], rows `row_stride` elements apart. Copies share memory.
struct Tensor {
    BufferPtr buffer;
    uint64_t offset = 0;  // bytes
    DType dtype = DType::kF32;
    int64_t rows = 0;
    int64_t columns = 0;
    int64_t row_stride = 0;  // elements

    Tensor rows_at(int64_t first, int64_t count) const;
    Tensor columns_at(int64_t first, int64_t count) const;
};

// Rows [rows, columns], contiguous, at the start of `buffer` (or `offset` bytes into it).
Tensor make_tensor(BufferPtr buffer, DType dtype, int64_t rows, int64_t columns, uint64_t offset = 0);

// Part of a weight in a backend's memory.
struct WeightPart {
    BufferPtr buffer;
    uint64_t offset = 0;  // bytes
};

inline WeightPart further(WeightPart part, uint64_t bytes) {
    part.offset += bytes;
    return part;
}

using Weight = Matrix<WeightPart>;

}  // namespace sluice
