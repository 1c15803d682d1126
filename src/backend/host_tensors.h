#pragma once

#include <cstdint>
#include <span>

#include "backend/tensor.h"
#include "device/host_buffer.h"
#include "tensor/weight_view.h"

namespace sluice {

// First element of a tensor in host memory. Its shape was checked by Backend::run; row r starts r * row_stride later.
// Throw kUsage like host_bytes, and when adopted memory is not aligned to the element.
const float* floats(const Tensor& tensor);
const int32_t* ints(const Tensor& tensor);
float* writable_floats(const Tensor& tensor);
int32_t* writable_ints(const Tensor& tensor);

// The column of the largest number of a row, the first of equals; -1 where one of them is not finite.
int32_t argmax(std::span<const float> row);

// A weight in host memory. Throws kUsage like host_bytes.
WeightView view(const Weight& weight);

}  // namespace sluice
