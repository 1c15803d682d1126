#pragma once

// How the processes of a job come together: the leader invites, each of the others greets, the leader compares and
// places the experts, and each says when it is ready.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/expert_share.h"
#include "engine/cluster/placement.h"
#include "experts/expert_store.h"
#include "peers/peers.h"
#include "sluice/options.h"

namespace sluice {

// Field and value of what all must have alike, so that it does not matter who computes an expert.
using Likeness = std::vector<std::pair<std::string, std::string>>;
Likeness likeness(const Checkpoint& checkpoint, const Backend& backend, const EngineOptions& options);

struct Greeting {
    Likeness alike;
    MachineRates rates;
    ExpertShare share;  // of the experts whose records are in its folder
    std::string error;  // why it cannot work; empty: it can
};

// `how`: as its store will hold experts. The link is not measured.
MachineRates measure_rates(const Checkpoint& checkpoint, const EngineOptions& options, const ExpertStoreOptions& how,
                           Backend& backend);

// What a model's experts are, for who shares them out.
struct ExpertSizes {
    std::vector<uint64_t> record_bytes;  // [layers]; 0 for a layer without
    int64_t experts = 0, experts_per_token = 0, columns = 0;

    uint64_t all_bytes() const;
    ExpertLoad load() const;
};
ExpertSizes expert_sizes(const Checkpoint& checkpoint);

// Who holds what.
struct Division {
    Placement placement;
    std::vector<MachineRates> rates = {};  // by rank; empty: unknown
    std::vector<bool> all_in_memory = {};  // whether all that it holds fits its cache

    bool in_memory(int rank) const { return !all_in_memory.empty() && all_in_memory[static_cast<size_t>(rank)]; }
};
// Of a ceiling that nobody named, what is left where several processes of the job run on this host.
uint64_t shared_ceiling(const EngineOptions& options, const Peers& peers);

// The leader's part. Throws naming the host: kUsage and the field where something is not alike, kIo where one does not
// answer.
struct Gathering {
    int64_t pass_rows;
    const ExpertSizes& sizes;
    std::vector<ExpertKey> hottest;  // of earlier runs
    double seconds;                  // that are waited for each
};
Division gather(Peers& peers, const Gathering& how, const Greeting& mine);
void await_ready(Peers& peers, double seconds);

// A worker's part.
int64_t await_invitation(Peers& peers);  // the rows of a pass
struct Assignment {
    Placement placement;
    std::vector<ExpertKey> hottest;  // of those that it holds, in earlier runs
};
Assignment greet(Peers& peers, const ExpertSizes& sizes, const Greeting& mine);
// Says why it cannot work, and waits for the launcher to end it.
[[noreturn]] void decline(Peers& peers, const std::string& error);
void say_ready(Peers& peers, const std::string& error);

}  // namespace sluice
