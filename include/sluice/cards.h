#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sluice {

// A card that `device` cuda:N names; N counts from 0 in the order of cards().
struct Card {
    std::string name;
    int compute_capability = 0;  // 90 for 9.0
    uint64_t memory_bytes = 0, free_bytes = 0;
    double memory_bytes_per_s = 0;  // as its clock promises; 0: the driver does not say
};

// None without a driver, or in a program built without CUDA. Thread-safe.
std::vector<Card> cards();
// Whether this program has kernels for them.
bool built_with_cuda();

}  // namespace sluice
