#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "experts/expert_cache.h"

namespace sluice {

// Caches over one another, the fastest first (a device's over the host's), each with an order of eviction of its own.
// What is read comes into every tier, so that what an upper one evicts is mostly still below. Slots are the upper
// tier's, as of one ExpertCache; while one is being filled, so is or stays the slot below it. Bookkeeping alone, one
// thread at a time.
class ExpertTiers {
  public:
    // `slots` of each tier, the fastest first; at least one tier.
    ExpertTiers(std::span<const size_t> slots, int layers, int experts, EvictionPolicy policy);

    // As of ExpertCache. Of a lease that was found kBelow, or missed, below() says where in the next tier.
    void plan(int layer, std::span<const int> ids, bool scan, size_t limit, BatchPlan& plan,
              const RowChoices& rows = {});
    Lease take(int layer, int expert, bool scan);
    void landed(size_t slot) { release_below(landed_above(slot)); }
    // The same while what is below is still copied to the slot. Returns where that is leased until release_below();
    // kNoSlot: nowhere.
    size_t landed_above(size_t slot);
    void release_below(size_t below);
    void failed(size_t slot);
    void release(size_t slot) { top_.release(slot); }
    size_t retire() { return top_.retire(); }
    void restore(size_t slot) { top_.restore(slot); }
    // The same of the next tier's slots.
    size_t retire_below() { return lower_->retire(); }
    void restore_below(size_t slot) { lower_->restore(slot); }

    // Whether any tier holds the expert or awaits it.
    bool has(int layer, int expert) const;

    const ExpertCache& top() const { return top_; }
    const ExpertTiers* lower() const { return lower_.get(); }  // null: none
    // The slot of the next tier that the upper slot in flight is filled from, or together with; kNoSlot: with none,
    // since all there are in use.
    size_t below(size_t slot) const { return sources_[slot].slot; }

  private:
    // Where a slot in flight is filled from.
    struct Source {
        size_t slot = kNoSlot;
        bool in_flight = false;  // it is being filled for the same lease
    };

    void begin(int layer, std::span<const int> ids, bool scan, const RowChoices& rows);
    void look_below(int layer, bool scan, Lease& lease);

    ExpertCache top_;
    std::unique_ptr<ExpertTiers> lower_;
    std::vector<Source> sources_;  // [slots of the top tier]
};

}  // namespace sluice
