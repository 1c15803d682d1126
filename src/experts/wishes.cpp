#include "experts/wishes.h"

#include <utility>

namespace sluice {

namespace {

// Reads under way at once: fewer than a drive can take.
constexpr size_t kHintReads = 4;
constexpr size_t kWarmReads = 4;

}  // namespace

Wishes::Wishes(std::span<const size_t> slots_of_pools) {
    for (const size_t slots : slots_of_pools) slots_.emplace_back(slots);
}

SlotPlaces Wishes::ungranted(const SlotPlaces& reads, ReadFor wish) const {
    SlotPlaces places;
    for (const SlotPlace& place : reads) {
        if (slots_[place.pool][place.slot].wish == wish) places.push_back(place);
    }
    return places;
}

SlotPlaces Wishes::end_hints(int layer) {
    std::erase_if(hints_, [layer](const ExpertKey& key) { return key.layer == layer; });
    SlotPlaces places = ungranted(hint_reads_, ReadFor::kHint);
    std::erase_if(places, [&](const SlotPlace& place) { return at(place).key.layer != layer; });
    return places;
}

std::optional<ExpertKey> Wishes::next_hint() const {
    if (demanded_ > 0 || hints_.empty() || hint_reads_.size() >= kHintReads) return std::nullopt;
    return hints_.back();
}

void Wishes::warm(std::span<const ExpertKey> experts) {
    warming_ = Warming::kGoesOn;
    warm_.assign(experts.rbegin(), experts.rend());
}

void Wishes::go_on_warming() {
    if (warming_ == Warming::kPaused) warming_ = Warming::kGoesOn;
}

SlotPlaces Wishes::pause_warming() {
    if (warming_ == Warming::kGoesOn) warming_ = Warming::kPaused;
    return ungranted(warm_reads_, ReadFor::kWarm);
}

void Wishes::stop_warming() {
    warming_ = Warming::kOver;
    warm_.clear();
}

std::optional<ExpertKey> Wishes::next_warm() const {
    const bool may = warming_ == Warming::kGoesOn && demanded_ == 0 && warm_reads_.size() < kWarmReads;
    if (!may || warm_.empty()) return std::nullopt;
    return warm_.back();
}

void Wishes::begin(SlotPlace place, ExpertKey key, ReadFor wish, bool listed) {
    at(place).key = key;
    at(place).wish = wish;
    if (listed) (wish == ReadFor::kWarm ? warm_reads_ : hint_reads_).push_back(place);
}

void Wishes::demand(SlotPlace place) {
    if (!std::exchange(at(place).demanded, true)) ++demanded_;
}

ReadFor Wishes::grant(SlotPlace place) {
    return std::exchange(at(place).wish, ReadFor::kDemand);
}

bool Wishes::end(SlotPlace place, bool failed, bool cancelled) {
    if (std::exchange(at(place).demanded, false)) --demanded_;
    std::erase(hint_reads_, place);
    if (std::erase(warm_reads_, place) == 0) return false;
    if (failed) {
        stop_warming();  // who needs it will say what is wrong
    } else if (cancelled && warming_ != Warming::kOver) {
        warm_.push_back(at(place).key);
    }
    return true;
}

}  // namespace sluice
