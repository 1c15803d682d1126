#pragma once

// How fast a drive gives what experts are read by.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "sluice/error.h"

namespace sluice {

struct DiskMeasurement {
    std::string reader;  // "pread", "uring", "mmap"
    bool direct_io = false;
    int64_t depth = 0;
    uint64_t read_bytes = 0;  // of one read
    double bytes_per_second = 0;
    double latency_p50_us = 0, latency_p99_us = 0;
    std::string refused;  // why this combination did not run; empty when it did
};

// Expert-sized random reads of `path` (a file, a checkpoint folder, or any folder: then a temporary file of random data
// is written there and removed), over readers and depths. `seconds` per row; `progress` is called between rows, and
// false stops. Throws Error.
std::vector<DiskMeasurement> measure_disk(const std::filesystem::path& path, uint64_t read_bytes, double seconds,
                                          const std::function<bool(uint64_t done, uint64_t rows)>& progress = {});

}  // namespace sluice
