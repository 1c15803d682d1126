#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sluice/expert_counters.h"
#include "sluice/peer_statistics.h"

namespace sluice {

// Totals since open, and where they came from. For footers, `--json` and the C API.
struct EngineStatistics {
    ExpertCounters experts;                  // of all machines of a job
    std::vector<PeerStatistics> peers = {};  // of a job, by rank; rank 0, this one, has no messages
    uint64_t peak_resident_bytes = 0;
    uint64_t tokens_evaluated = 0;
    uint64_t cache_bytes = 0;          // of expert slots now: the governor gives back what others need
    uint64_t host_bytes = 0;           // the same of those in the host's memory, below a card's
    uint64_t prefix_memory_bytes = 0;  // held now by evaluated prompts kept in memory
};

// Calls of an operation of the forward pass and the seconds they took, all threads waited for.
struct OperationTime {
    std::string name;  // "Linear 4096 x 2048": rows of the weight x columns
    uint64_t calls = 0;
    double seconds = 0;
};

}  // namespace sluice
