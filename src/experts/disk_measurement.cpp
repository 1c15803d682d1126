#include "sluice/disk_measurement.h"

#include <algorithm>

#include "base/error.h"
#include "experts/disk_benchmark.h"

namespace sluice {

namespace {

// The largest file of a checkpoint folder, if it is big enough to read at random; else the folder, for a temporary
// file.
std::filesystem::path file_to_read(const std::filesystem::path& path, uint64_t read_bytes) {
    constexpr uint64_t kRecords = 64;
    if (!std::filesystem::is_directory(path)) return path;
    std::filesystem::path largest = path;
    uint64_t bytes = kRecords * read_bytes;
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
        if (entry.path().extension() != ".safetensors" || entry.file_size() <= bytes) continue;
        bytes = entry.file_size();
        largest = entry.path();
    }
    return largest;
}

std::string_view short_name(ReaderKind kind) {
    switch (kind) {
        case ReaderKind::kUring:
            return "uring";
        case ReaderKind::kMmap:
            return "mmap";
        default:
            return "pread";
    }
}

}  // namespace

std::vector<DiskMeasurement> measure_disk(const std::filesystem::path& path, uint64_t read_bytes, double seconds,
                                          const std::function<bool(uint64_t, uint64_t)>& progress) {
    if (!std::filesystem::exists(path)) fail(ErrorCode::kNotFound, "{}: no such file or folder", path.string());
    DiskBenchmarkOptions options;
    options.record_bytes = read_bytes;
    options.seconds_per_row = seconds;
    options.progress = progress;
    // Small reads need no large file to be random; making one takes longer than they do.
    constexpr uint64_t kSmallest = 64ull << 20, kRecords = 512;
    options.temporary_bytes =
        std::clamp(std::min(read_bytes, options.temporary_bytes) * kRecords, kSmallest, options.temporary_bytes);
    std::vector<DiskMeasurement> measurements;
    for (const DiskBenchmarkRow& row : run_disk_benchmark(file_to_read(path, read_bytes), options).rows) {
        measurements.push_back({.reader = std::string(short_name(row.kind)),
                                .direct_io = row.direct,
                                .depth = static_cast<int64_t>(row.depth),
                                .read_bytes = read_bytes,
                                .bytes_per_second = row.bytes_per_second,
                                .latency_p50_us = row.median_seconds * 1e6,
                                .latency_p99_us = row.slowest_percent_seconds * 1e6,
                                .refused = row.error});
    }
    return measurements;
}

}  // namespace sluice
