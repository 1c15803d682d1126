#pragma once

#include <cstddef>
#include <cstdint>

#include "experts/reader.h"

namespace sluice {

// Threads for reads through the page cache: enough for the copies and for read-ahead misses to overlap.
inline constexpr size_t kBufferedDepth = 8;

// Reads at a time below which an expert that is read alone comes late, however the drive is doing: its parts are read
// side by side.
inline constexpr size_t kLeastDepth = 8;

// The fewest direct reads of `record_bytes` at a time, but kLeastDepth, that bring the drive to (nearly) its speed,
// measured at random offsets for a quarter of a second at most.
size_t measure_read_depth(const ReaderFiles& files, uint64_t record_bytes);

}  // namespace sluice
