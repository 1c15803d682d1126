#pragma once

#include "sluice/sluice.h"

namespace sluice {

// What the expert store has counted since it was opened; zero at first. The fields are those of the C interface.
struct ExpertCounters : sluice_expert_counters {
    constexpr ExpertCounters() : sluice_expert_counters{} {}
};

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
    after.stall_seconds -= before.stall_seconds;
    return after;
}

}  // namespace sluice
