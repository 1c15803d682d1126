#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace sluice {

// What a machine gives to a job: measured when it is opened, or said beforehand. Zero: unknown, and not counted.
struct MachineRates {
    uint64_t cache_bytes = 0;       // for experts
    double memory_bytes_per_s = 0;  // that its threads read together
    double drive_bytes_per_s = 0;   // of reads of the size of an expert
    double kernel_bytes_per_s = 0;  // of experts' weights that it multiplies with one row
    double link_seconds = 0;        // that a message takes to whoever leads,
    double link_bytes_per_s = 0;    // and what long ones come at
};

// What a model's experts ask of those who hold them.
struct ExpertLoad {
    uint64_t bytes = 0;          // of all of them
    double exchanges = 0;        // of messages, until as many were computed as there are
    double bytes_back = 0;       // of results, for every byte of an expert
    double bytes_sent_each = 0;  // of activations, an exchange
};

// The share of the experts that each machine should hold so that all take the same time for theirs: what is in memory
// is read and multiplied at the slower of the two rates, the rest comes at the drive's, and messages take their time.
// A link alone takes no machine more than three quarters of what it would have without. Adds up to 1.
std::vector<double> shares_of(std::span<const MachineRates> machines, const ExpertLoad& load);

}  // namespace sluice
