#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "cli/flag.h"
#include "sluice/machine_shares.h"

namespace sluice::cli {

// Machines of a job as a person describes them: RAM:MEMORY:DRIVE of each, the leader's first, by commas; the last two
// are bytes a second. "24G:40G:3G,64G:80G:6G".
Flag hosts_flag(std::vector<MachineRates>& hosts);

// What each would hold of a model's experts. `leader_bytes`: what of its memory the leader needs for other things.
struct HostShare {
    double share = 0;   // of all experts
    double cached = 0;  // of those
};
std::vector<HostShare> plan_hosts(std::vector<MachineRates> hosts, uint64_t leader_bytes, uint64_t expert_bytes);
std::string hosts_text(const std::vector<HostShare>& hosts, uint64_t expert_bytes);
nlohmann::ordered_json hosts_json(const std::vector<HostShare>& hosts, uint64_t expert_bytes);

}  // namespace sluice::cli
