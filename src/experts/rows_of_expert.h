#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace sluice {

// The distinct experts of a batch in ascending order, and the entries (row * experts_per_token + j) that chose each,
// one expert after the other: those of experts[i] from first[i] on.
struct RowsOfExpert {
    std::vector<int> experts;
    std::vector<int32_t> entries;
    std::vector<size_t> first{0};  // and their end

    bool empty() const { return experts.empty(); }
    size_t count(size_t i) const { return first[i + 1] - first[i]; }
    std::span<const int32_t> of(size_t i) const { return std::span(entries).subspan(first[i], count(i)); }
    void add(int expert, std::span<const int32_t> more) {
        experts.push_back(expert);
        entries.insert(entries.end(), more.begin(), more.end());
        first.push_back(entries.size());
    }
};

}  // namespace sluice
