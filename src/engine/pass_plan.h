#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace sluice {

// Rows of the largest forward pass: a chunk of a prompt, and a token of some who decode beside it.
int64_t pass_rows(int64_t chunk);

// Who would take part in the next forward pass: with how many rows (0: not at all), and the number of the last pass it
// took part in.
struct PassCandidate {
    int64_t rows = 0;
    uint64_t last_pass = 0;
};

// Who does, as indices in ascending order: who has waited longest first, the earlier first among equals, as many as
// `room` rows hold; the first of them whatever it needs. So nobody waits for more passes than there are candidates.
std::vector<size_t> choose_for_pass(std::span<const PassCandidate> candidates, int64_t room);

}  // namespace sluice
