#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace sluice {

// What a machine gives to a job: measured when it is opened, or said beforehand.
struct MachineRates {
    uint64_t cache_bytes = 0;       // for experts
    double memory_bytes_per_s = 0;  // that its threads read together
    double drive_bytes_per_s = 0;   // of reads of the size of an expert
};

// The share of the experts that each machine should hold so that all take the same time for theirs: what is in memory
// is read at the memory's rate, the rest at the drive's. Adds up to 1.
std::vector<double> shares_of(std::span<const MachineRates> machines, uint64_t expert_bytes);

}  // namespace sluice
