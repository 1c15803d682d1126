#pragma once

#include <cstdint>
#include <unordered_map>

#include "model/sequence_state.h"

namespace sluice {

// The memory of states of one pool that share pages and slots: each counts once, however many of them hold it. States
// must not change between add() and remove().
class StateMemory {
  public:
    void add(const SequenceState& state);
    void remove(const SequenceState& state);
    uint64_t bytes() const { return bytes_; }

  private:
    std::unordered_map<int32_t, size_t> page_owners_, slot_owners_;
    uint64_t bytes_ = 0;
};

}  // namespace sluice
