#include "backend/tensor.h"

#include <utility>

#include "base/error.h"

namespace sluice {

namespace {

void check_part(const char* what, int64_t first, int64_t count, int64_t size) {
    if (first < 0 || count < 0 || first > size - count) {
        fail(ErrorCode::kUsage, "{} {} from {} on: there are {}, choose a part that lies inside", count, what, first,
             size);
    }
}

}  // namespace

Tensor Tensor::rows_at(int64_t first, int64_t count) const {
    check_part("tensor rows", first, count, rows);
    Tensor part = *this;
    part.offset += static_cast<uint64_t>(first * row_stride) * dtype_bytes(dtype);
    part.rows = count;
    return part;
}

Tensor Tensor::columns_at(int64_t first, int64_t count) const {
    check_part("tensor columns", first, count, columns);
    Tensor part = *this;
    part.offset += static_cast<uint64_t>(first) * dtype_bytes(dtype);
    part.columns = count;
    return part;
}

Tensor make_tensor(BufferPtr buffer, DType dtype, int64_t rows, int64_t columns, uint64_t offset) {
    return {.buffer = std::move(buffer),
            .offset = offset,
            .dtype = dtype,
            .rows = rows,
            .columns = columns,
            .row_stride = columns};
}

}  // namespace sluice
