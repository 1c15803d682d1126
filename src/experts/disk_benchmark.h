#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "experts/reader.h"

namespace sluice {

struct DiskBenchmarkOptions {
    uint64_t record_bytes = 2 << 20;  // of one read: an expert
    double seconds_per_row = 0.5;
    std::vector<size_t> depths = {1, 2, 4, 8, 16, 32};
    std::vector<ReaderKind> readers = {ReaderKind::kPread, ReaderKind::kUring, ReaderKind::kMmap};
    uint64_t temporary_bytes = 1ull << 30;  // of the file that is made where the path is a folder
    // While the file is made (no row done) and after every row; false stops.
    std::function<bool(size_t done, size_t rows)> progress;
};

// Random reads of one reader at one depth.
struct DiskBenchmarkRow {
    ReaderKind kind{};
    std::string reader;  // Reader::name()
    size_t depth = 0;    // records asked for at a time
    bool direct = false;
    uint64_t reads = 0;
    double bytes_per_second = 0;
    double median_seconds = 0;           // of one read, from asking to having
    double slowest_percent_seconds = 0;  // 99 of 100 are faster
    std::string error;                   // why there are no numbers
};

struct DiskBenchmark {
    std::filesystem::path file;
    uint64_t file_bytes = 0;
    uint64_t record_bytes = 0;
    bool temporary = false;
    bool direct_works = false;
    std::vector<DiskBenchmarkRow> rows;
    const DiskBenchmarkRow* best() const;  // the fastest; null without any
};

// Reads expert-sized records at random page-aligned offsets of `path`, or of a file of random bytes made in the folder
// `path` and removed afterwards. Cached pages are dropped before and behind buffered reads, so that all rows measure
// the drive. Throws kNotFound, kIo, kCancelled, or kInvalidFile for a file smaller than 16 records.
DiskBenchmark run_disk_benchmark(const std::filesystem::path& path, const DiskBenchmarkOptions& options = {});

// One row. `file` must hold at least one record.
DiskBenchmarkRow measure_reads(const std::filesystem::path& file, ReaderKind kind, size_t depth, bool direct,
                               uint64_t record_bytes, double seconds);

// Bytes per second that the store's own choice of reader gets out of the drive under `file`: direct where that works.
double measure_drive(const std::filesystem::path& file, uint64_t record_bytes, double seconds);

}  // namespace sluice
