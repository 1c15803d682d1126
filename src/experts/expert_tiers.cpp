#include "experts/expert_tiers.h"

#include <utility>

namespace sluice {

ExpertTiers::ExpertTiers(std::span<const size_t> slots, int layers, int experts, EvictionPolicy policy)
    : top_(slots.front(), layers, experts, policy), sources_(slots.front()) {
    if (slots.size() > 1) lower_ = std::make_unique<ExpertTiers>(slots.subspan(1), layers, experts, policy);
}

void ExpertTiers::begin(int layer, std::span<const int> ids, bool scan, const RowChoices& rows) {
    top_.begin(layer, ids, scan, rows);
    if (lower_) lower_->begin(layer, ids, scan, rows);
}

void ExpertTiers::plan(int layer, std::span<const int> ids, bool scan, size_t limit, BatchPlan& plan,
                       const RowChoices& rows) {
    top_.plan(layer, ids, scan, limit, plan, rows);
    if (!lower_) return;
    lower_->begin(layer, ids, scan, rows);
    // Those that are there first, so that no miss takes the place of a hit.
    for (const bool there : {true, false}) {
        for (Lease& lease : plan.taken) {
            if (lease.found != Found::kMiss) continue;
            if ((lower_->top_.find(layer, lease.expert) != kNoSlot) == there) look_below(layer, scan, lease);
        }
    }
}

Lease ExpertTiers::take(int layer, int expert, bool scan) {
    Lease lease = top_.take(layer, expert, scan);
    if (lower_ && lease.found == Found::kMiss) look_below(layer, scan, lease);
    return lease;
}

bool ExpertTiers::has(int layer, int expert) const {
    return top_.find(layer, expert) != kNoSlot || (lower_ && lower_->has(layer, expert));
}

void ExpertTiers::look_below(int layer, bool scan, Lease& lease) {
    const Lease under = lower_->take(layer, lease.expert, scan);
    sources_[lease.slot] = {under.slot, under.found == Found::kMiss || under.found == Found::kBelow};
    if (under.found != Found::kFull && under.found != Found::kMiss) lease.found = Found::kBelow;
}

size_t ExpertTiers::landed_above(size_t slot) {
    top_.landed(slot);
    const Source source = std::exchange(sources_[slot], {});
    if (source.in_flight) lower_->landed(source.slot);
    return source.slot;
}

void ExpertTiers::release_below(size_t below) {
    if (below != kNoSlot) lower_->release(below);
}

void ExpertTiers::failed(size_t slot) {
    top_.failed(slot);
    const Source source = std::exchange(sources_[slot], {});
    if (source.slot == kNoSlot) return;
    if (source.in_flight) lower_->failed(source.slot);
    lower_->release(source.slot);
}

}  // namespace sluice
