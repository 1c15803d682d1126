#pragma once

#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

namespace sluice {

// A control group of this process, and the files that describe it.
struct ControlGroup {
    std::filesystem::path folder;
    bool unified;  // cgroup v2
};

// Where the kernel says which groups there are; another place in tests.
struct ControlGroupPlaces {
    std::filesystem::path memberships = "/proc/self/cgroup";
    std::filesystem::path mounts = "/sys/fs/cgroup";
};

// The groups of this process that `controller` ("memory", "cpu") may limit, of v1 and of v2: its own, then each around
// it up to the root. In a container only some of these folders are there.
std::vector<ControlGroup> control_groups(std::string_view controller, const ControlGroupPlaces& places = {});

// Processors' worth of time that the tightest quota of these groups grants (1.5 of them: 1.5). Nothing without a quota.
std::optional<double> processor_quota(const ControlGroupPlaces& places = {});

}  // namespace sluice
