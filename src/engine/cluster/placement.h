#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "experts/eviction.h"
#include "experts/rows_of_expert.h"
#include "sluice/machine_shares.h"

namespace sluice {

// Who holds which expert: one machine each, and a second one some.
class Placement {
  public:
    static constexpr uint16_t kNobody = 0xffff;
    // Whether a machine has the expert's record at all; empty: all have all.
    using Available = std::function<bool(size_t owner, const ExpertKey& key)>;

    // Of every layer each owner gets its share, in turns, of what is available to it. Throws kUsage, naming an expert
    // that nobody has.
    Placement(int layers, int experts, std::span<const double> shares, const Available& available = {});
    // As table() of another says.
    Placement(int experts, std::vector<uint16_t> table);

    int owner(const ExpertKey& key) const { return table_[place(key)]; }
    int second(const ExpertKey& key) const { return table_[place(key) + table_.size() / 2]; }
    bool holds(int rank, const ExpertKey& key) const { return owner(key) == rank || second(key) == rank; }
    // Of the experts that a layer wants, in their order, who computes each: of those that two machines hold, whoever
    // has less to do for its share.
    std::vector<int> divide(int layer, const RowsOfExpert& wanted) const;

    void hold_twice(const ExpertKey& key, int rank) {
        table_[place(key) + table_.size() / 2] = static_cast<uint16_t>(rank);
    }
    // Of the experts that it owns.
    double share(int rank) const {
        const auto index = static_cast<size_t>(rank);
        return index < shares_.size() ? shares_[index] : 0;
    }
    int layers() const { return experts_ == 0 ? 0 : static_cast<int>(table_.size() / 2 / experts_); }
    int experts() const { return static_cast<int>(experts_); }
    // Owners, [layers * experts], then the second holders.
    const std::vector<uint16_t>& table() const { return table_; }

  private:
    size_t place(const ExpertKey& key) const {
        return static_cast<size_t>(key.layer) * experts_ + static_cast<size_t>(key.expert);
    }

    void count_shares();

    size_t experts_;
    std::vector<uint16_t> table_;
    std::vector<double> shares_;  // by rank
};

// Memory of each machine that its experts leave, by rank.
using SpareBytes = std::vector<uint64_t>;

// Gives the hottest experts, a quarter of all at most, to a second machine that has them available and memory to
// spare: whoever has most.
void hold_hottest_twice(Placement& placement, std::span<const ExpertKey> hottest, SpareBytes spare,
                        const std::function<uint64_t(int layer)>& record_bytes,
                        const Placement::Available& available = {});

}  // namespace sluice
