#pragma once

#include <cstddef>
#include <deque>
#include <vector>

#include "device/event.h"
#include "experts/expert_cache.h"

namespace sluice {

// Which landing areas of a pool a read may use. One that a record has come to is free when the record is in its slot.
class Landings {
  public:
    explicit Landings(size_t count) {
        for (size_t landing = count; landing > 0; --landing) free_.push_back(landing - 1);
    }

    // kNoSlot when all are taken.
    size_t take() {
        while (free_.empty() && !leaving_.empty() && leaving_.front().arrived->done()) {
            free_.push_back(leaving_.front().landing);
            leaving_.pop_front();
        }
        if (free_.empty()) return kNoSlot;
        const size_t landing = free_.back();
        free_.pop_back();
        ++taken_;
        return landing;
    }

    // Free when `arrived` is done; null: now.
    void give_back(size_t landing, EventPtr arrived) {
        --taken_;
        if (arrived) {
            leaving_.push_back({landing, std::move(arrived)});
        } else {
            free_.push_back(landing);
        }
    }

    bool any_taken() const { return taken_ > 0; }  // that no record has come to yet
    // When the next of the others is free; null: one is.
    EventPtr next_free() const { return free_.empty() && !leaving_.empty() ? leaving_.front().arrived : nullptr; }

  private:
    struct Leaving {
        size_t landing;
        EventPtr arrived;
    };

    std::vector<size_t> free_;
    size_t taken_ = 0;
    std::deque<Leaving> leaving_;  // oldest first: they arrive in this order
};

}  // namespace sluice
