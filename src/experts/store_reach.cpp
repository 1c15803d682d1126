// The expert store for steps whose operations take experts from both tiers by themselves: where all of them are, and
// what moves between two such steps.

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/log.h"
#include "experts/expert_store.h"

namespace sluice {

namespace {

// Slots that are kept empty for what a step brings.
constexpr size_t kReserve = 64, kReserveShare = 16;
size_t reserve_of(const ExpertPool& pool) {
    return std::min(kReserve, std::max<size_t>(pool.memory->slots() / kReserveShare, 1));
}

}  // namespace

bool ExpertStore::has_room_for_all() const {
    const Locked locked(mutex_);
    if (catalogue_.held) return false;
    for (size_t i = 0; i < pools_.size(); ++i) {
        const auto layers = static_cast<size_t>(std::ranges::count(pool_of_layer_, i));
        const auto& host = pools_[i]->host;
        if (!host || host->in_service < layers * static_cast<size_t>(catalogue_.experts)) return false;
    }
    return !pools_.empty();
}

std::vector<int> ExpertStore::on_drive(int layer) const {
    const ExpertPool& pool = *pools_[pool_of(layer)];
    std::vector<int> missing;
    const Locked locked(mutex_);
    for (int expert = 0; expert < catalogue_.experts; ++expert) {
        if (!pool.cache.has(layer, expert)) missing.push_back(expert);
    }
    return missing;
}

BelowLease ExpertStore::lease_below(const ExpertKey& key) {
    const size_t pool_index = pool_of(key.layer);
    ExpertPool& pool = *pools_[pool_index];
    const Locked locked(mutex_);
    if (pool.saving()) return {};
    const size_t slot = pool.cache.lease_below(key.layer, key.expert);
    if (slot == kNoSlot) return {};
    return {.place = {pool_index, slot}, .record = pool.host->memory->buffer(slot)};
}

void ExpertStore::release_below(const BelowLease& lease) {
    const Locked locked(mutex_);
    pools_[lease.place.pool]->cache.release_below(lease.place.slot);
}

void ExpertStore::keep_all_below() {
    struct Save {
        size_t slot, below;
        EventPtr done = nullptr;
        bool failed = false;
    };
    for (const auto& pool : pools_) {
        if (!pool->host) continue;
        std::vector<Save> saves;
        {
            const Locked locked(mutex_);
            for (size_t slot = 0; slot < pool->memory->slots(); ++slot) {
                if (pool->cache.top().state(slot) != SlotState::kReady) continue;
                const auto [layer, expert] = pool->cache.top().key(slot);
                const Lease lease = pool->cache.take(layer, expert, true);
                if (const size_t below = pool->cache.keep_below(lease.slot); below != kNoSlot) {
                    saves.push_back({lease.slot, below});
                } else {
                    pool->cache.release(lease.slot);
                }
            }
        }
        for (Save& save : saves) {
            try {
                save.done = pool->memory->save(save.slot, pool->host->memory->land_at(save.below, save.below));
            } catch (const Error& error) {
                log_debug("an expert was not kept in memory: {}", error.what());
                save.failed = true;
            }
        }
        for (const Save& save : saves) {
            if (save.done) save.done->wait();
        }
        const Locked locked(mutex_);
        for (const Save& save : saves) {
            pool->cache.release(save.slot);
            if (save.failed) {
                pool->cache.failed_below(save.below);
            } else {
                pool->cache.landed_below(save.below);
                pool->cache.release_below(save.below);
            }
        }
    }
}

uint64_t ExpertStore::moves(const Locked&) const {
    return std::accumulate(pools_.begin(), pools_.end(), uint64_t{0},
                           [](uint64_t sum, const auto& pool) { return sum + pool->moves; });
}

bool ExpertStore::find_all(const Locked& locked, ReachedPlaces& places) {
    const auto experts = static_cast<size_t>(catalogue_.experts);
    places.slots.assign(pool_of_layer_.size() * experts, -1);
    places.coming.clear();
    places.moves = moves(locked);
    for (size_t layer = 0; layer < pool_of_layer_.size(); ++layer) {
        if (pool_of_layer_[layer] == kNoSlot) continue;
        for (size_t expert = 0; expert < experts; ++expert) {
            const ExpertKey key{static_cast<int>(layer), static_cast<int>(expert)};
            if (!find_one(locked, key, layer * experts + expert, places)) return false;
        }
    }
    return true;
}

bool ExpertStore::find_one(const Locked&, const ExpertKey& key, size_t index, ReachedPlaces& places) {
    const size_t pool_index = pool_of_layer_[static_cast<size_t>(key.layer)];
    ExpertPool& pool = *pools_[pool_index];
    const ExpertCache* const lower = pool.cache.lower();
    const size_t below = lower == nullptr ? kNoSlot : lower->find(key.layer, key.expert);
    if (below == kNoSlot || lower->state(below) != SlotState::kReady || !pool.host->memory->reached(below)) {
        return false;
    }
    places.slots[index] = static_cast<int32_t>(pool.memory->slots() + below);
    const size_t slot = pool.cache.top().find(key.layer, key.expert);
    if (slot == kNoSlot) return true;
    if (pool.cache.top().state(slot) == SlotState::kReady && !pool.arrival(slot)) {
        places.slots[index] = static_cast<int32_t>(slot);
    } else {
        places.coming.push_back({index, {pool_index, slot}});
    }
    return true;
}

bool ExpertStore::begin_reach(ReachedPlaces& places) {
    const Locked locked(mutex_);
    wishes_.drop_hints();
    for (const auto& pool : pools_) {
        pool->sweep_copied();
        if (pool->saving()) return false;
    }
    if (places.slots.empty() || places.moves != moves(locked)) {
        if (!find_all(locked, places)) {
            places.slots.clear();
            for (const auto& pool : pools_) {
                pool->end_reserve();
                pool->end_lending();
            }
            return false;
        }
    }
    std::erase_if(places.coming, [&](const ReachedPlaces::Coming& each) {
        ExpertPool& pool = *pools_[each.to.pool];
        if (pool.cache.top().state(each.to.slot) != SlotState::kReady || pool.arrival(each.to.slot)) return false;
        places.slots[each.index] = static_cast<int32_t>(each.to.slot);
        return true;
    });
    for (const auto& pool : pools_) pool->reached = true;
    return true;
}

void ExpertStore::end_reach() {
    const Locked locked(mutex_);
    for (const auto& pool : pools_) {
        pool->reached = false;
        pool->retire_slots();
        pool->retire_host_slots();
    }
}

// What comes fills only slots that were empty before the running step began. The host's tier has what the device's
// evicts.
void ExpertStore::move_by(std::span<const StepChoices> step, std::span<const StagedExpert> came, ReachedPlaces& next) {
    SlotPlaces submitted;
    {
        const Locked locked(mutex_);
        for (const auto& pool : pools_) pool->end_reserve();
        for (const StepChoices& choices : step) bring(locked, choices, came, submitted);
        const auto of_token = static_cast<size_t>(catalogue_.experts_per_token);
        for (const auto& pool : pools_) pool->keep_reserve(reserve_of(*pool), of_token);
    }
    reads_.submit(submitted);
    const Locked locked(mutex_);
    if (!find_all(locked, next)) next.slots.clear();
}

// As a copy that has ended.
void ExpertStore::keep(const Locked&, ExpertPool& pool, const StagedExpert& came) {
    pool.take_back(static_cast<size_t>(came.slot));
    const Lease lease = pool.cache.take(came.key.layer, came.key.expert, false);
    ++pool.moves;
    pool.cache.landed(lease.slot);
    pool.cache.release(lease.slot);
}

std::vector<int32_t> ExpertStore::lend(std::vector<StagedExpert>& came) {
    const Locked locked(mutex_);
    ExpertPool& pool = *pools_.front();
    std::erase_if(came, [&](const StagedExpert& each) {
        return std::ranges::find(pool.lent, static_cast<size_t>(each.slot)) == pool.lent.end();
    });
    pool.lend(reserve_of(pool) + came.size());
    std::vector<int32_t> free(pool.lent.begin(), pool.lent.end());
    std::erase_if(free, [&](int32_t slot) {
        return std::ranges::any_of(came, [slot](const StagedExpert& each) { return each.slot == slot; });
    });
    return free;
}

void ExpertStore::take_back() {
    const Locked locked(mutex_);
    for (const auto& pool : pools_) pool->end_lending();
}

void ExpertStore::bring(const Locked& locked, const StepChoices& choices, std::span<const StagedExpert> came,
                        SlotPlaces& submitted) {
    const size_t pool_index = pool_of(choices.layer);
    ExpertPool& pool = *pools_[pool_index];
    std::vector<int> ids(choices.experts.begin(), choices.experts.end());
    std::ranges::sort(ids);
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    used_.note(choices.layer, ids);
    const auto per_row = static_cast<size_t>(catalogue_.experts_per_token);
    pool.cache.begin(choices.layer, ids,
                     choices.experts.size() > per_row ? RowChoices{choices.experts, per_row} : RowChoices{});
    for (const int expert : ids) {
        const bool here = pool.cache.top().find(choices.layer, expert) != kNoSlot;
        const ExpertKey key{choices.layer, expert};
        const auto found = std::ranges::find(came, key, &StagedExpert::key);
        if (!here && found != came.end()) {
            keep(locked, pool, *found);
            continue;
        }
        if (!here && !pool.cache.top().has_empty()) continue;
        const Lease lease = pool.cache.take(choices.layer, expert, false);
        pool.cache.release(lease.slot);
        if (lease.found != Found::kBelow && lease.found != Found::kMiss) continue;
        begin_read(locked, filling_of(locked, pool_index, choices.layer, lease), ReadFor::kDemand, false, submitted);
    }
}

std::vector<int32_t> ExpertStore::reserve(int layer, size_t wanted) {
    const Locked locked(mutex_);
    ExpertPool& pool = *pools_[pool_of(layer)];
    const size_t least = std::max(static_cast<size_t>(catalogue_.experts_per_token), pool.memory->slots() / 2);
    pool.keep_reserve(wanted, least);
    return {pool.reserve.begin(), pool.reserve.end()};
}

EventPtr ExpertStore::stage(std::span<const StagedExpert> experts, const EventPtr& after) {
    if (experts.empty()) return nullptr;
    ExpertPool& pool = *pools_[pool_of(experts.front().key.layer)];
    std::vector<size_t> sources;
    {
        const Locked locked(mutex_);
        for (const auto& [key, slot] : experts) sources.push_back(pool.cache.lower()->find(key.layer, key.expert));
        counters_.copies += experts.size();
        counters_.copied_bytes += experts.size() * pool.record_bytes();
    }
    pool.memory->after(after);
    EventPtr last;
    for (size_t i = 0; i < experts.size(); ++i) {
        last =
            pool.memory->fill(static_cast<size_t>(experts[i].slot), pool.host->memory->land_at(sources[i], sources[i]));
    }
    return last;
}

void ExpertStore::count_reached(uint64_t on_device, uint64_t on_host, uint64_t bytes) {
    const Locked locked(mutex_);
    counters_.hits += on_device + on_host;
    counters_.host_hits += on_host;
    counters_.reached_bytes += bytes;
}

}  // namespace sluice
