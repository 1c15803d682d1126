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
#include "engine/cluster/placement.h"
#include "peers/peers.h"
#include "sluice/options.h"

namespace sluice {

// Field and value of what all must have alike, so that it does not matter who computes an expert.
using Likeness = std::vector<std::pair<std::string, std::string>>;
Likeness likeness(const Checkpoint& checkpoint, const Backend& backend, const EngineOptions& options);

struct Greeting {
    Likeness alike;
    MachineRates rates;
    std::string error;  // why it cannot work; empty: it can
};

MachineRates measure_rates(const Checkpoint& checkpoint, const EngineOptions& options, uint64_t cache_bytes);
// Of a ceiling that nobody named, what is left where several processes of the job run on this host.
uint64_t shared_ceiling(const EngineOptions& options, const Peers& peers);

// The leader's part. Throws naming the host: kUsage and the field where something is not alike, kIo where one does not
// answer.
Placement gather(Peers& peers, const ModelConfig& config, int64_t pass_rows, const Greeting& mine,
                 uint64_t expert_bytes, double seconds);
void await_ready(Peers& peers, double seconds);

// A worker's part.
int64_t await_invitation(Peers& peers);  // the rows of a pass
Placement greet(Peers& peers, const ModelConfig& config, const Greeting& mine);
// Says why it cannot work, and waits for the launcher to end it.
[[noreturn]] void decline(Peers& peers, const std::string& error);
void say_ready(Peers& peers, const std::string& error);

}  // namespace sluice
