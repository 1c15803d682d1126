#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "cli/flag.h"
#include "sluice/expert_load.h"
#include "sluice/machine_shares.h"

namespace sluice::cli {

// Machines of a job as a person describes them: RAM:MEMORY:DRIVE:KERNELS:LINK:LATENCY of each, the leader's first, by
// commas; bytes, four times bytes a second, microseconds. The last three may be left out, and KERNELS may be 0: as much
// as memory gives. "24G:40G:3G,64G:80G:6G:0:1200M:20".
Flag hosts_flag(std::vector<MachineRates>& hosts);

// What each would hold of a model's experts, as they would divide them if they measured what is said of them.
// `leader_bytes`: what of its memory the leader needs for other things.
struct HostShare {
    double share = 0;   // of all experts
    double cached = 0;  // of those
};
std::vector<HostShare> plan_hosts(std::vector<MachineRates> hosts, uint64_t leader_bytes, const ExpertCounts& experts);
std::string hosts_text(const std::vector<HostShare>& hosts, uint64_t expert_bytes);
nlohmann::ordered_json hosts_json(const std::vector<HostShare>& hosts, uint64_t expert_bytes);

}  // namespace sluice::cli
