#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
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
// Which of them `device` names: the 1 of "cuda:1", the first of "cuda" and "auto"; none: another kind of device. Throws
// kUsage for what is no number.
std::optional<size_t> card_number(std::string_view device);
// Whether this program has kernels for them.
bool built_with_cuda();

}  // namespace sluice
