#pragma once

// Numbers for kernels that are timed.

#include <cstdint>

#include "backend/backend.h"

namespace sluice::bench {

BufferPtr random_bytes(Backend& target, uint64_t bytes);
// Of the normal distribution.
Tensor random_tensor(Backend& target, int64_t rows, int64_t columns);
// Codes of all kinds, with scales that make small numbers of them.
Weight random_weight(Backend& target, const WeightFormat& format, int64_t rows, int64_t columns);
uint64_t weight_bytes(const Weight& weight);

}  // namespace sluice::bench
