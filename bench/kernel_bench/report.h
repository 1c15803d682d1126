#pragma once

#include <string>
#include <vector>

#include "bench/kernel_bench/limits.h"
#include "bench/kernel_bench/timing.h"

namespace sluice::bench {

struct Measured {
    std::string group, name;
    double flops = 0, bytes = 0;
    Timing timing;

    double flops_per_second() const { return flops / timing.seconds; }
    double bytes_per_second() const { return bytes / timing.seconds; }
    // How near it comes to the sooner of the two limits; 0 where neither is known.
    double share(const Limits& limits) const;
};

std::string table_line(const Measured& measured, const Limits& limits);
std::string limits_line(const Limits& limits);
std::string to_json(const std::string& device, const Limits& limits, const std::vector<Measured>& all);
// The roofline: operations per second over operations per byte, the two limits as lines.
std::string to_svg(const std::string& device, const Limits& limits, const std::vector<Measured>& all);

}  // namespace sluice::bench
