#include "base/cgroup.h"

#include <algorithm>
#include <fstream>
#include <string>

namespace sluice {

namespace {

bool lists(std::string_view controllers, std::string_view controller) {
    for (size_t at = 0; at <= controllers.size();) {
        const size_t end = std::min(controllers.find(',', at), controllers.size());
        if (controllers.substr(at, end - at) == controller) return true;
        at = end + 1;
    }
    return false;
}

// "max 100000" or "150000 100000"; microseconds of each period.
std::optional<double> unified_quota(const std::filesystem::path& folder) {
    std::ifstream in(folder / "cpu.max");
    double quota = 0, period = 0;
    if (!(in >> quota >> period) || quota <= 0 || period <= 0) return std::nullopt;
    return quota / period;
}

// A quota of -1 is none.
std::optional<double> older_quota(const std::filesystem::path& folder) {
    std::ifstream quota_in(folder / "cpu.cfs_quota_us"), period_in(folder / "cpu.cfs_period_us");
    double quota = 0, period = 0;
    if (!(quota_in >> quota) || !(period_in >> period) || quota <= 0 || period <= 0) return std::nullopt;
    return quota / period;
}

}  // namespace

std::vector<ControlGroup> control_groups(std::string_view controller, const ControlGroupPlaces& places) {
    std::vector<ControlGroup> groups;
    std::ifstream in(places.memberships);
    // "4:cpu,cpuacct:/a/b" of v1, "0::/a/b" of v2.
    for (std::string line; std::getline(in, line);) {
        const size_t first = line.find(':');
        const size_t second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        const std::string controllers = line.substr(first + 1, second - first - 1);
        const bool unified = controllers.empty();
        if (!unified && !lists(controllers, controller)) continue;
        std::filesystem::path mount = unified ? places.mounts : places.mounts / controller;
        // Controllers that are mounted together have a folder of all their names, and mostly links of one each.
        if (!unified && !std::filesystem::exists(mount)) mount = places.mounts / controllers;
        for (std::string path = line.substr(second + 1);; path.erase(path.rfind('/'))) {
            const bool root = path.empty() || path == "/";
            groups.push_back({root ? mount : std::filesystem::path(mount.string() + path), unified});
            if (root || path.find('/') == std::string::npos) break;
        }
    }
    return groups;
}

std::optional<double> processor_quota(const ControlGroupPlaces& places) {
    std::optional<double> tightest;
    for (const ControlGroup& group : control_groups("cpu", places)) {
        const std::optional<double> quota = group.unified ? unified_quota(group.folder) : older_quota(group.folder);
        if (quota) tightest = std::min(tightest.value_or(*quota), *quota);
    }
    return tightest;
}

}  // namespace sluice
