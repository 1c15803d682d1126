#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "experts/eviction.h"
#include "sluice/machine_shares.h"

namespace sluice {

// Who holds which expert.
class Placement {
  public:
    // Of every layer each owner gets its share, in turns.
    Placement(int layers, int experts, std::span<const double> shares);
    Placement(int experts, std::vector<uint16_t> owners) : experts_(experts), owners_(std::move(owners)) {}

    int owner(const ExpertKey& key) const {
        return owners_[static_cast<size_t>(key.layer) * static_cast<size_t>(experts_) +
                       static_cast<size_t>(key.expert)];
    }
    // [layers * experts]
    const std::vector<uint16_t>& owners() const { return owners_; }

  private:
    int experts_;
    std::vector<uint16_t> owners_;
};

}  // namespace sluice
