#pragma once

#include <cstddef>
#include <string>

#include "base/thread_pool.h"

namespace sluice {

// What this machine reaches at best, measured, for holding a run against. Each takes well under a second or two.

inline constexpr size_t kMeasuredMemory = size_t{512} << 20;
// Bytes per second that all threads of the pool read together, sequentially, from a buffer larger than the caches. The
// buffer (`most_bytes`, less where less is free) is given back before returning.
double measure_memory_bandwidth(ThreadPool& pool, size_t most_bytes = kMeasuredMemory);

struct ArithmeticPeak {
    double operations_per_second = 0;  // multiply and add count one each
    std::string instructions;          // "AVX-512 VNNI"
};

// The fastest int8 and BF16 dot products, and float32 multiply-adds, of this processor, on all threads of the pool.
ArithmeticPeak measure_int8_peak(ThreadPool& pool);
ArithmeticPeak measure_bf16_peak(ThreadPool& pool);
ArithmeticPeak measure_float_peak(ThreadPool& pool);

}  // namespace sluice
