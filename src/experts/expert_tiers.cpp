#include "experts/expert_tiers.h"

#include <utility>

namespace sluice {

ExpertTiers::ExpertTiers(size_t slots, size_t lower_slots, int layers, int experts, EvictionPolicy policy)
    : top_(slots, layers, experts, policy), pairs_(slots), is_twin_(lower_slots) {
    if (lower_slots > 0) lower_.emplace(lower_slots, layers, experts, policy);
}

void ExpertTiers::plan(int layer, std::span<const int> ids, bool scan, size_t limit, BatchPlan& plan,
                       const RowChoices& rows) {
    top_.plan(layer, ids, scan, limit, plan, rows);
    if (!lower_) return;
    lower_->begin(layer, ids, scan, rows);
    // What is there is leased first, so that nothing that goes down takes its place.
    for (Lease& lease : plan.taken) look_below(layer, scan, lease);
    for (const Lease& lease : plan.taken) send_below(lease, scan);
}

void ExpertTiers::begin(int layer, std::span<const int> ids, const RowChoices& rows) {
    top_.begin(layer, ids, false, rows);
}

size_t ExpertTiers::keep_below(size_t slot) {
    const auto [layer, expert] = top_.key(slot);
    if (lower_->find(layer, expert) != kNoSlot || !lower_->has_empty()) return kNoSlot;
    return lower_->take(layer, expert, false).slot;
}

size_t ExpertTiers::lease_below(int layer, int expert) {
    if (!lower_ || top_.find(layer, expert) != kNoSlot) return kNoSlot;
    const size_t below = lower_->find(layer, expert);
    if (below == kNoSlot || lower_->state(below) != SlotState::kReady) return kNoSlot;
    return lower_->take(layer, expert, false).slot;
}

Lease ExpertTiers::take(int layer, int expert, bool scan) {
    Lease lease = top_.take(layer, expert, scan);
    if (lower_) {
        look_below(layer, scan, lease);
        send_below(lease, scan);
    }
    return lease;
}

bool ExpertTiers::has(int layer, int expert) const {
    return top_.find(layer, expert) != kNoSlot || (lower_ && lower_->find(layer, expert) != kNoSlot);
}

// What is still on its way down is read again: it is not there to be copied.
void ExpertTiers::look_below(int layer, bool scan, Lease& lease) {
    if (lease.found != Found::kMiss) return;
    const size_t below = lower_->find(layer, lease.expert);
    if (below == kNoSlot || lower_->state(below) != SlotState::kReady) return;
    pairs_[lease.slot].source = lower_->take(layer, lease.expert, scan).slot;
    lease.found = Found::kBelow;
}

void ExpertTiers::send_below(const Lease& lease, bool scan) {
    const auto [layer, expert] = lease.evicted;
    if (lease.evicted == kNoExpert) return;
    if (lower_->find(layer, expert) == kNoSlot) make_room_below();
    const Lease down = lower_->take(layer, expert, scan);
    if (down.found == Found::kMiss) {
        pairs_[lease.slot].saved_to = down.slot;
    } else if (down.found != Found::kFull) {
        lower_->release(down.slot);
    }
}

void ExpertTiers::make_room_below() {
    for (size_t left = twins_.size(); left > 0 && !lower_->has_empty(); --left) {
        const size_t below = twins_.front();
        twins_.pop_front();
        const auto [layer, expert] = lower_->key(below);
        const bool above = lower_->state(below) == SlotState::kReady && top_.find(layer, expert) != kNoSlot;
        if (above && lower_->leases(below) > 0) {
            twins_.push_back(below);
            continue;
        }
        is_twin_[below] = false;
        if (above) lower_->drop(below);
    }
}

void ExpertTiers::landed(size_t slot) {
    const auto [source, saved_to] = landed_above(slot, true);
    release_below(source);
    release_below(saved_to);
}

ExpertTiers::Below ExpertTiers::landed_above(size_t slot, bool saved) {
    top_.landed(slot);
    Below pair = std::exchange(pairs_[slot], {});
    if (pair.source != kNoSlot && !is_twin_[pair.source]) {
        is_twin_[pair.source] = true;
        twins_.push_back(pair.source);
    }
    if (pair.saved_to == kNoSlot) return pair;
    if (saved) {
        lower_->landed(pair.saved_to);
    } else {
        lower_->failed(pair.saved_to);
        release_below(std::exchange(pair.saved_to, kNoSlot));
    }
    return pair;
}

void ExpertTiers::release_below(size_t below) {
    if (below != kNoSlot) lower_->release(below);
}

void ExpertTiers::failed(size_t slot) {
    top_.failed(slot);
    const Below pair = std::exchange(pairs_[slot], {});
    release_below(pair.source);
    if (pair.saved_to == kNoSlot) return;
    lower_->failed(pair.saved_to);
    lower_->release(pair.saved_to);
}

}  // namespace sluice
