#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "experts/eviction.h"

namespace sluice {

enum class SlotState : uint8_t {
    kEmpty,
    kInFlight,  // a read into it is under way
    kReady,     // holds a whole expert
    kFailed,    // its read failed; empty once the last lease is given back
};

// How an expert was found.
enum class Found : uint8_t {
    kHit,     // it is there
    kJoined,  // its read is under way for somebody else
    kBelow,   // a lower tier has it, or will in a moment; the caller must copy it into the slot, then as with a miss
    kMiss,    // the caller must read it into the slot and then say landed() or failed()
    kFull,    // every slot is leased or in flight; nothing was taken
};

// A claim on a slot: it is not given to another expert before release().
struct Lease {
    int expert = 0;
    size_t slot = kNoSlot;
    Found found = Found::kFull;
    ExpertKey evicted = kNoExpert;  // what the slot held before
};

// What one batch takes now, and what has to wait until it gives slots back.
struct BatchPlan {
    std::vector<Lease> taken;  // hits and joined reads, then misses
    std::vector<int> waiting;  // experts, in the order in which to take them
};

// True for a batch that touches so many experts of a layer (a long prompt) that it says nothing about what decoding
// needs.
bool is_scan(size_t batch_experts, int experts, int experts_per_token);
// How many slots a scan may lease at once: enough to keep a drive busy, few enough to leave the others alone.
size_t scan_window(size_t slots, int experts_per_token);

// Which expert sits in which slot of one pool. Bookkeeping alone: no memory, no reads, no locks; the store and the
// simulator both run on it. Slots move kEmpty -> kInFlight -> kReady -> (evicted) kInFlight, or kInFlight -> kFailed ->
// kEmpty. One thread at a time.
class ExpertCache {
  public:
    ExpertCache(size_t slots, int layers, int experts, EvictionPolicy policy);

    // A batch asks for these experts of the layer. plan() does this itself.
    void begin(int layer, std::span<const int> ids, bool scan, const RowChoices& rows) {
        order_->begin(layer, ids, scan, rows);
    }
    // Leases at most `limit` of the distinct experts `ids` of `layer`; those that are present come first, but when not
    // all fit, misses get half of the limit so that reads run while present experts are used.
    void plan(int layer, std::span<const int> ids, bool scan, size_t limit, BatchPlan& plan,
              const RowChoices& rows = {});
    // Leases one more expert of the same batch.
    Lease take(int layer, int expert, bool scan);

    void landed(size_t slot);
    // Forgets the expert at once, so that the next request reads it again.
    void failed(size_t slot);
    void release(size_t slot);

    // Empties a slot that is ready and that nobody leases.
    void drop(size_t slot);

    // Takes an empty slot, or an unused expert's, out of service; kNoSlot when all are leased. restore() undoes it.
    size_t retire();
    void restore(size_t slot);
    // Takes this one; false where it is leased, awaits a record or is out of service already.
    bool retire(size_t slot);

    size_t slots() const { return slots_.size(); }
    bool has_empty() const { return !empty_.empty(); }  // a slot that take() would fill without an eviction
    SlotState state(size_t slot) const { return slots_[slot].state; }
    uint32_t leases(size_t slot) const { return slots_[slot].leases; }
    ExpertKey key(size_t slot) const { return slots_[slot].key; }
    // The slot that holds the expert or is being filled with it, or kNoSlot.
    size_t find(int layer, int expert) const;

  private:
    struct Slot {
        ExpertKey key;
        SlotState state = SlotState::kEmpty;
        uint32_t leases = 0;
    };

    size_t index(int layer, int expert) const;

    size_t experts_;
    std::vector<Slot> slots_;
    std::vector<size_t> empty_;    // slots
    std::vector<uint32_t> where_;  // [layers * experts]: slot + 1, 0: not here
    std::unique_ptr<EvictionOrder> order_;
};

}  // namespace sluice
