#pragma once

#include <cstddef>

namespace sluice::bench {

// What this machine can do at most, measured when first asked for.
double read_bytes_per_second(size_t threads);  // sequential reads of memory far larger than the caches
double int8_ops_per_second();                  // one thread, products and sums
double bf16_ops_per_second();                  // likewise, BF16 with sums in F32
double float_ops_per_second();                 // likewise, F32

}  // namespace sluice::bench
