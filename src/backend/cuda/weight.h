#pragma once

#include <cstdint>

#include "backend/cuda/device.h"
#include "backend/tensor.h"

namespace sluice::cuda {

enum class ScaleType : int32_t { kF32, kF16, kBf16, kE8m0 };

// A weight matrix of a codec as kernels see it. Nothing is aligned.
struct DeviceWeight {
    const uint8_t *data, *scales, *zero_points;
    int64_t rows, columns;
    int64_t data_row_bytes, scale_row_bytes;
    int32_t group_size, group_rows, block_row_offset;
    ScaleType scale_type;
    const Grids* grids;
};

DeviceWeight device_weight(const Device& device, const Weight& weight);

}  // namespace sluice::cuda
