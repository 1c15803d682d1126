#pragma once

#include <string>
#include <vector>

namespace sluice {

// What a message to another machine of a job takes, one way: the shortest that was seen, and the rate of long ones.
struct LinkMeasurement {
    std::string name;
    double latency_seconds = 0;
    double bytes_per_second = 0;
};

// Of each other process of the job that a launcher started this one in, which call answer_links() meanwhile. Once a
// process. Throws Error.
std::vector<LinkMeasurement> measure_links();
void answer_links();

}  // namespace sluice
