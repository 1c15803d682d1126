#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <vector>

namespace sluice {

// A logical processor and where it is: processors of one core share its arithmetic, those of one node a memory.
struct Processor {
    int id = 0;
    int core = 0;  // the lowest processor of the same physical core
    int node = 0;
    bool operator==(const Processor&) const = default;
};

// The `allowed` processors in the order in which a team of threads takes them: one of every physical core before second
// ones, memory nodes in turn. `system` is laid out as the kernel's folder of that name; what it does not say counts as
// a core of its own on node 0.
std::vector<Processor> team_order(std::span<const int> allowed,
                                  const std::filesystem::path& system = "/sys/devices/system");

// The same of the processors this process may run on, read once.
const std::vector<Processor>& usable_processors();

// Physical cores that this process may keep busy (affinity and cgroup quota respected), at least 1.
size_t available_cores();

// Keeps the calling thread on one processor. Where the system refuses, the thread goes on as it was.
void pin_this_thread(const Processor& processor);

// Spreads pages that were not touched yet over the memory nodes of the usable processors, so that all threads read with
// the bandwidth of all nodes. Does nothing with one node, or where the process was started with a memory policy.
void spread_over_nodes(std::span<std::byte> pages);

}  // namespace sluice
