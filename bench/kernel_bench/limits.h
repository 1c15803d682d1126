#pragma once

#include <string>

#include "backend/backend.h"

namespace sluice::bench {

// What the device reaches at most, measured now; 0 where it was not. Per second.
struct Limits {
    double copy_bytes = 0, read_bytes = 0;  // of memory far larger than the caches; a copied byte counts twice
    double flops = 0;                       // a product of BF16 matrices, 8192 each way
    std::string flops_by;                   // "cuBLAS"
};

Limits cuda_limits(Backend& backend);
Limits cpu_limits(Backend& backend);

}  // namespace sluice::bench
