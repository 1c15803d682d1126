#include "base/processors.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "base/cgroup.h"

#ifdef __linux__
#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace sluice {

namespace {

// Of "3", "3-5" or "3,7" the first number; `missing` where there is none.
int first_number(const std::filesystem::path& file, int missing) {
    std::ifstream in(file);
    int value = missing;
    return in >> value ? value : missing;
}

// The N of the entry nodeN, which links a processor's folder to its node.
int node_of(const std::filesystem::path& processor_folder) {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(processor_folder, ignored)) {
        const std::string name = entry.path().filename().string();
        int node = 0;
        if (name.rfind("node", 0) == 0 &&
            std::from_chars(name.data() + 4, name.data() + name.size(), node).ptr == name.data() + name.size())
            return node;
    }
    return 0;
}

std::vector<int> allowed_processors() {
    std::vector<int> allowed;
#ifdef __linux__
    cpu_set_t set;
    if (::sched_getaffinity(0, sizeof set, &set) == 0) {
        for (int id = 0; id < CPU_SETSIZE; ++id) {
            if (CPU_ISSET(id, &set)) allowed.push_back(id);
        }
    }
#endif
    if (allowed.empty()) {
        for (unsigned id = 0; id < std::max(1u, std::thread::hardware_concurrency()); ++id)
            allowed.push_back(static_cast<int>(id));
    }
    return allowed;
}

}  // namespace

std::vector<Processor> team_order(std::span<const int> allowed, const std::filesystem::path& system) {
    struct Candidate {
        int of_core;  // 0 for the first of its core
        int of_node;  // how many such of its node come before it
        Processor processor;
    };
    std::vector<Candidate> candidates;
    std::map<int, int> per_core;
    std::map<std::pair<int, int>, int> per_node;
    for (const int id : allowed) {
        const std::filesystem::path folder = system / "cpu" / ("cpu" + std::to_string(id));
        const Processor processor{id, first_number(folder / "topology" / "thread_siblings_list", id), node_of(folder)};
        const int of_core = per_core[processor.core]++;
        candidates.push_back({of_core, per_node[{of_core, processor.node}]++, processor});
    }
    std::stable_sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
        return std::pair(a.of_core, a.of_node) < std::pair(b.of_core, b.of_node);
    });
    std::vector<Processor> order;
    for (const Candidate& candidate : candidates) order.push_back(candidate.processor);
    return order;
}

const std::vector<Processor>& usable_processors() {
    static const std::vector<Processor> processors = team_order(allowed_processors());
    return processors;
}

size_t available_cores() {
    std::set<int> cores;
    for (const Processor& processor : usable_processors()) cores.insert(processor.core);
    // A thread beyond the quota would stop all of them for the rest of each period.
    const std::optional<double> quota = processor_quota();
    const size_t paid =
        quota && *quota < static_cast<double>(cores.size()) ? static_cast<size_t>(*quota) : cores.size();
    return std::max<size_t>(1, paid);
}

void pin_this_thread(const Processor& processor) {
#ifdef __linux__
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor.id, &set);
    ::sched_setaffinity(0, sizeof set, &set);
#else
    (void)processor;
#endif
}

void spread_over_nodes(std::span<std::byte> pages) {
#ifdef __linux__
    constexpr int kMostNodes = sizeof(unsigned long) * 8;
    static const unsigned long nodes = [] {
        unsigned long mask = 0;
        for (const Processor& processor : usable_processors()) mask |= 1ul << (processor.node % kMostNodes);
        int policy = MPOL_DEFAULT;
        ::syscall(SYS_get_mempolicy, &policy, nullptr, 0ul, nullptr, 0ul);
        return policy == MPOL_DEFAULT ? mask : 0ul;
    }();
    if ((nodes & (nodes - 1)) == 0) return;
    ::syscall(SYS_mbind, pages.data(), pages.size(), MPOL_INTERLEAVE, &nodes, kMostNodes + 1ul, 0u);
#else
    (void)pages;
#endif
}

}  // namespace sluice
