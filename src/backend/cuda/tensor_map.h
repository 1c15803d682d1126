#pragma once

#include <cuda.h>

#include <cstdint>

namespace sluice::cuda {

// BF16 numbers in planes of rows, as Hopper's copy engine takes boxes of 64 numbers by box_rows rows of one plane from
// them. What lies outside is zeros.
struct PlanesOfRows {
    const void* first;  // at a multiple of 16 bytes, as row_bytes and plane_bytes are
    int64_t width, rows, planes;
    uint64_t row_bytes, plane_bytes;
    int box_rows;
};

// Throws kIo where the driver refuses.
CUtensorMap tensor_map(const PlanesOfRows& numbers);

}  // namespace sluice::cuda
