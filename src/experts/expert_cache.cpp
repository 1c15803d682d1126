#include "experts/expert_cache.h"

#include <algorithm>

namespace sluice {

bool is_scan(size_t batch_experts, int experts, int experts_per_token) {
    return batch_experts > static_cast<size_t>(std::max(experts / 2, 4 * experts_per_token));
}

size_t scan_window(size_t slots, int experts_per_token) {
    constexpr size_t kDeepest = 64;  // records: more than the queue of any drive
    return std::max(static_cast<size_t>(experts_per_token), std::min(slots / 4, kDeepest));
}

ExpertCache::ExpertCache(size_t slots, int layers, int experts, EvictionPolicy policy)
    : experts_(static_cast<size_t>(experts)),
      slots_(slots),
      where_(static_cast<size_t>(layers) * experts_, 0),
      order_(make_eviction_order(policy, slots, layers, experts)) {
    for (size_t slot = slots; slot > 0; --slot) empty_.push_back(slot - 1);
}

size_t ExpertCache::index(int layer, int expert) const {
    return static_cast<size_t>(layer) * experts_ + static_cast<size_t>(expert);
}

size_t ExpertCache::find(int layer, int expert) const {
    const uint32_t entry = where_[index(layer, expert)];
    return entry == 0 ? kNoSlot : entry - 1;
}

void ExpertCache::plan(int layer, std::span<const int> ids, bool scan, size_t limit, BatchPlan& plan,
                       const RowChoices& rows) {
    plan.taken.clear();
    plan.waiting.clear();
    begin(layer, ids, scan, rows);
    size_t present = 0;
    for (const int expert : ids) present += find(layer, expert) != kNoSlot;
    const size_t misses = std::min(ids.size() - present, std::max(limit - std::min(limit, present), limit / 2));
    const size_t hits = std::min(present, limit - misses);

    // Leased before anything is evicted, so that no miss takes the place of a hit.
    size_t hits_left = hits;
    for (const int expert : ids) {
        if (hits_left == 0) break;
        if (find(layer, expert) == kNoSlot) continue;
        plan.taken.push_back(take(layer, expert, scan));
        --hits_left;
    }
    size_t misses_left = misses;
    size_t hits_passed = 0;
    std::vector<int> present_waiting;
    for (const int expert : ids) {
        if (find(layer, expert) != kNoSlot) {
            if (hits_passed++ >= hits) present_waiting.push_back(expert);
            continue;
        }
        const Lease lease = misses_left > 0 ? take(layer, expert, scan) : Lease{};
        if (lease.found == Found::kFull) {
            misses_left = 0;
            plan.waiting.push_back(expert);
        } else {
            plan.taken.push_back(lease);
            --misses_left;
        }
    }
    plan.waiting.insert(plan.waiting.end(), present_waiting.begin(), present_waiting.end());
}

Lease ExpertCache::take(int layer, int expert, bool scan) {
    if (const size_t slot = find(layer, expert); slot != kNoSlot) {
        Slot& entry = slots_[slot];
        if (entry.leases++ == 0 && entry.state == SlotState::kReady) order_->pin(slot);
        order_->use(slot, scan);
        return {expert, slot, entry.state == SlotState::kReady ? Found::kHit : Found::kJoined, kNoExpert};
    }
    size_t slot = kNoSlot;
    ExpertKey evicted = kNoExpert;
    if (!empty_.empty()) {
        slot = empty_.back();
        empty_.pop_back();
    } else {
        slot = order_->evict();
        if (slot == kNoSlot) return {expert, kNoSlot, Found::kFull, kNoExpert};
        evicted = slots_[slot].key;
        where_[index(evicted.layer, evicted.expert)] = 0;
    }
    slots_[slot] = {{layer, expert}, SlotState::kInFlight, 1};
    where_[index(layer, expert)] = static_cast<uint32_t>(slot + 1);
    order_->insert(slot, {layer, expert}, scan);
    return {expert, slot, Found::kMiss, evicted};
}

void ExpertCache::landed(size_t slot) {
    slots_[slot].state = SlotState::kReady;
    if (slots_[slot].leases == 0) order_->unpin(slot);
}

void ExpertCache::failed(size_t slot) {
    Slot& entry = slots_[slot];
    order_->erase(slot);
    where_[index(entry.key.layer, entry.key.expert)] = 0;
    entry.state = entry.leases == 0 ? SlotState::kEmpty : SlotState::kFailed;
    if (entry.leases == 0) empty_.push_back(slot);
}

void ExpertCache::release(size_t slot) {
    Slot& entry = slots_[slot];
    if (--entry.leases > 0) return;
    if (entry.state == SlotState::kReady) {
        order_->unpin(slot);
    } else if (entry.state == SlotState::kFailed) {
        entry.state = SlotState::kEmpty;
        empty_.push_back(slot);
    }
}

void ExpertCache::drop(size_t slot) {
    Slot& entry = slots_[slot];
    order_->pin(slot);
    order_->erase(slot);
    where_[index(entry.key.layer, entry.key.expert)] = 0;
    entry.state = SlotState::kEmpty;
    empty_.push_back(slot);
}

size_t ExpertCache::retire() {
    size_t slot = kNoSlot;
    if (!empty_.empty()) {
        slot = empty_.back();
        empty_.pop_back();
    } else if (slot = order_->evict(); slot != kNoSlot) {
        where_[index(slots_[slot].key.layer, slots_[slot].key.expert)] = 0;
        slots_[slot].state = SlotState::kEmpty;
    }
    return slot;
}

bool ExpertCache::retire(size_t slot) {
    const Slot& entry = slots_[slot];
    if (entry.leases > 0 || (entry.state != SlotState::kReady && entry.state != SlotState::kEmpty)) return false;
    if (entry.state == SlotState::kReady) drop(slot);
    return std::erase(empty_, slot) > 0;
}

void ExpertCache::restore(size_t slot) {
    empty_.push_back(slot);
}

}  // namespace sluice
