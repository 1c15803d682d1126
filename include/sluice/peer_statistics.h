#pragma once

#include <cstdint>
#include <string>

#include "sluice/expert_counters.h"
#include "sluice/machine_shares.h"

namespace sluice {

// What another machine of the job has done for this one since the engine was opened.
struct PeerStatistics {
    std::string name;  // of its host
    double share = 0;  // of the model's experts that it holds
    MachineRates rates = {};
    ExpertCounters experts;
    uint64_t cache_bytes = 0;
    uint64_t messages = 0;  // in both directions
    uint64_t bytes_sent = 0, bytes_received = 0;
    double wait_seconds = 0;  // that this machine waited for its rows with nothing else to do
    double busy_seconds = 0;  // that it worked
};

// What it has done between two moments.
inline PeerStatistics operator-(PeerStatistics after, const PeerStatistics& before) {
    after.experts = after.experts - before.experts;
    after.messages -= before.messages;
    after.bytes_sent -= before.bytes_sent;
    after.bytes_received -= before.bytes_received;
    after.wait_seconds -= before.wait_seconds;
    after.busy_seconds -= before.busy_seconds;
    return after;
}

}  // namespace sluice
