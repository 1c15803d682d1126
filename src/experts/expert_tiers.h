#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "experts/expert_cache.h"

namespace sluice {

// A cache (of a device's slots) over another one (of the host's), or alone; each with an order of eviction of its own.
// What is read comes to the upper one; what that evicts goes to the lower one, which lets go first of what the upper
// one has as well: so both hold different experts, as far as there is need (docs/experiments.md). Slots are the upper
// tier's, as of one ExpertCache. Bookkeeping alone, one thread at a time.
class ExpertTiers {
  public:
    // `lower_slots`: 0 for one tier.
    ExpertTiers(size_t slots, size_t lower_slots, int layers, int experts, EvictionPolicy policy);

    // As of ExpertCache. A lease that was found kBelow is to be filled from below(); what a slot held before its lease
    // is to be saved to saved_to() before it is filled.
    void plan(int layer, std::span<const int> ids, bool scan, size_t limit, BatchPlan& plan,
              const RowChoices& rows = {});
    Lease take(int layer, int expert, bool scan);
    void landed(size_t slot);
    // The same while copies to and from it are under way. Of what comes back each keeps its lease until
    // release_below(). `saved`: what the slot held before was saved where it should be.
    struct Below {
        size_t source = kNoSlot, saved_to = kNoSlot;
    };
    Below landed_above(size_t slot, bool saved);
    void release_below(size_t below);
    void failed(size_t slot);
    void release(size_t slot) { top_.release(slot); }
    size_t retire() { return top_.retire(); }
    bool retire(size_t slot) { return top_.retire(slot); }
    void restore(size_t slot) { top_.restore(slot); }
    // The same of the lower tier's slots.
    size_t retire_below() { return lower_->retire(); }
    void restore_below(size_t slot) { lower_->restore(slot); }

    // A batch asks for these experts of the layer, which take() follows: as plan() does by itself, but for the lower
    // tier, which has them all.
    void begin(int layer, std::span<const int> ids, const RowChoices& rows);
    // Of a slot that is ready and leased: the slot below that it is to be saved to, which keeps a lease; kNoSlot where
    // it is there already or there is no room. landed_below() or failed_below() follows.
    size_t keep_below(size_t slot);
    void landed_below(size_t below) { lower_->landed(below); }
    // A claim on what the lower tier has and the upper one lacks, until release_below(); kNoSlot: it has not.
    size_t lease_below(int layer, int expert);
    void failed_below(size_t below) {
        lower_->failed(below);
        lower_->release(below);
    }

    // Whether a tier holds the expert or awaits it.
    bool has(int layer, int expert) const;

    const ExpertCache& top() const { return top_; }
    const ExpertCache* lower() const { return lower_ ? &*lower_ : nullptr; }  // null: none
    // Slots of the lower tier, of the upper slot in flight; kNoSlot: none.
    size_t below(size_t slot) const { return pairs_[slot].source; }
    size_t saved_to(size_t slot) const { return pairs_[slot].saved_to; }

  private:
    void look_below(int layer, bool scan, Lease& lease);
    void send_below(const Lease& lease, bool scan);
    void make_room_below();

    ExpertCache top_;
    std::optional<ExpertCache> lower_;
    std::vector<Below> pairs_;   // [slots of the upper tier]: of slots in flight
    std::deque<size_t> twins_;   // slots below of what came up, the oldest first: each once
    std::vector<bool> is_twin_;  // [slots of the lower tier]: whether it is listed
};

}  // namespace sluice
