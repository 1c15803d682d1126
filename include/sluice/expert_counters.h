#pragma once

#include "sluice/sluice.h"

namespace sluice {

// What the expert store has counted since it was opened; zero at first. The fields are those of the C interface.
struct ExpertCounters : sluice_expert_counters {
    constexpr ExpertCounters() : sluice_expert_counters{} {}
};

inline ExpertCounters operator+(ExpertCounters sum, const ExpertCounters& other) {
    sum.hits += other.hits;
    sum.misses += other.misses;
    sum.joined += other.joined;
    sum.reads += other.reads;
    sum.failed_reads += other.failed_reads;
    sum.bytes_read += other.bytes_read;
    sum.prefetch_reads += other.prefetch_reads;
    sum.prefetch_hits += other.prefetch_hits;
    sum.warm_reads += other.warm_reads;
    sum.warm_hits += other.warm_hits;
    sum.warm_bytes += other.warm_bytes;
    sum.row_reads += other.row_reads;
    sum.row_hits += other.row_hits;
    sum.row_bytes += other.row_bytes;
    sum.host_hits += other.host_hits;
    sum.copies += other.copies;
    sum.copied_bytes += other.copied_bytes;
    sum.reached_bytes += other.reached_bytes;
    sum.copies_waited += other.copies_waited;
    sum.stall_seconds += other.stall_seconds;
    return sum;
}

// What was counted between two moments.
inline ExpertCounters operator-(ExpertCounters after, const ExpertCounters& before) {
    after.hits -= before.hits;
    after.misses -= before.misses;
    after.joined -= before.joined;
    after.reads -= before.reads;
    after.failed_reads -= before.failed_reads;
    after.bytes_read -= before.bytes_read;
    after.prefetch_reads -= before.prefetch_reads;
    after.prefetch_hits -= before.prefetch_hits;
    after.warm_reads -= before.warm_reads;
    after.warm_hits -= before.warm_hits;
    after.warm_bytes -= before.warm_bytes;
    after.row_reads -= before.row_reads;
    after.row_hits -= before.row_hits;
    after.row_bytes -= before.row_bytes;
    after.host_hits -= before.host_hits;
    after.copies -= before.copies;
    after.copied_bytes -= before.copied_bytes;
    after.reached_bytes -= before.reached_bytes;
    after.copies_waited -= before.copies_waited;
    after.stall_seconds -= before.stall_seconds;
    return after;
}

}  // namespace sluice
