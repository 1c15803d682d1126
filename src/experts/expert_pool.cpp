#include "experts/expert_pool.h"

#include <algorithm>
#include <tuple>

#include "base/error.h"
#include "base/size.h"

namespace sluice {

void ExpertPool::sweep_uses() {
    std::erase_if(uses, [&](const Use& use) {
        if (!use.done->done()) return false;
        cache.release(use.slot);
        return true;
    });
}

void ExpertPool::sweep_copied() {
    if (!host) return;
    std::ignore = saving();
    for (; !host->copied.empty() && host->copied.front().done->done(); host->copied.pop_front()) {
        cache.release_below(host->copied.front().slot);
    }
}

size_t ExpertPool::retire_one() {
    if (!memory->shrinks_at_end()) return cache.retire();
    for (size_t slot = memory->slots(); slot-- > 0;) {
        if (cache.retire(slot)) return slot;
    }
    return kNoSlot;
}

void ExpertPool::retire_slots() {
    if (reached || fixed || slots_held() <= target) return;
    end_reserve();
    end_lending();
    while (admission.slots() > std::max(target, admission.reserved())) {
        const size_t slot = retire_one();
        if (slot == kNoSlot) return;
        ++moves;
        memory->discard(slot);
        retired.push_back(slot);
        admission.set_slots(admission.slots() - 1);
    }
}

void ExpertPool::restore_slots() {
    for (; slots_held() < target && memory->restore(retired.back()); retired.pop_back()) {
        cache.restore(retired.back());
        admission.set_slots(admission.slots() + 1);
    }
}

void ExpertPool::retire_host_slots() {
    if (!host || reached) return;
    for (; host->in_service > host->target; --host->in_service) {
        const size_t slot = cache.retire_below();
        if (slot == kNoSlot) return;
        ++moves;
        host->memory->discard(slot);
        host->retired.push_back(slot);
    }
}

void ExpertPool::restore_host_slots() {
    if (!host) return;
    for (; host->in_service < host->target; ++host->in_service) {
        cache.restore_below(host->retired.back());
        host->retired.pop_back();
    }
}

void ExpertPool::keep_reserve(size_t most, size_t least) {
    while (reserve.size() < most && admission.slots() > std::max(least, admission.reserved())) {
        const size_t slot = cache.retire();
        if (slot == kNoSlot) return;
        ++moves;
        reserve.push_back(slot);
        admission.set_slots(admission.slots() - 1);
    }
}

void ExpertPool::end_reserve() {
    for (; !reserve.empty(); reserve.pop_back()) {
        cache.restore(reserve.back());
        admission.set_slots(admission.slots() + 1);
    }
}

void ExpertPool::lend(size_t most) {
    std::erase_if(reserve, [&](size_t slot) {
        if (lent.size() >= most || arrival(slot) != nullptr) return false;
        lent.push_back(slot);
        return true;
    });
}

void ExpertPool::take_back(size_t slot) {
    std::erase(lent, slot);
    cache.restore(slot);
    admission.set_slots(admission.slots() + 1);
}

void ExpertPool::end_lending() {
    while (!lent.empty()) take_back(lent.back());
}

bool ExpertPool::saving() {
    while (host && !host->saves.empty() && host->saves.front()->done()) host->saves.pop_front();
    return host && !host->saves.empty();
}

void ExpertPool::landed(const ReadOutcome& outcome) {
    const size_t slot = outcome.place.slot;
    arrivals[slot] = outcome.arrived;
    const auto [source, saved_to] = cache.landed_above(slot, outcome.is_saved);
    const auto keep = [this](size_t below, const EventPtr& done) {
        if (below != kNoSlot && done) {
            host->copied.push_back({below, done});
        } else {
            cache.release_below(below);
        }
    };
    if (saved_to != kNoSlot && outcome.saved) host->saves.push_back(outcome.saved);
    keep(saved_to, outcome.saved);
    keep(source, outcome.arrived);
}

EventPtr ExpertPool::arrival(size_t slot) {
    if (arrivals[slot] && arrivals[slot]->done()) arrivals[slot].reset();
    return arrivals[slot];
}

std::vector<std::unique_ptr<ExpertPool>> make_pools(const ExpertCatalogue& catalogue, EvictionPolicy policy,
                                                    const TierMemory& cache, const TierMemory& host) {
    const uint64_t floor = catalogue.floor_bytes();
    if (cache.bytes < floor) {
        fail(ErrorCode::kOutOfMemory, "the expert cache got {}, but the experts of one token need {} ({} bytes)",
             format_size(cache.bytes), format_size(floor), floor);
    }
    const auto per_token = static_cast<uint64_t>(catalogue.experts_per_token);
    const uint64_t all = catalogue.all_bytes();
    const auto share_of = [](uint64_t bytes, uint64_t most) {
        return bytes >= most ? 1.0 : static_cast<double>(bytes) / static_cast<double>(most);
    };
    const double share = share_of(cache.bytes - floor, all - floor), host_share = share_of(host.bytes, all);
    const int layers = static_cast<int>(catalogue.record_bytes.size());
    std::vector<std::unique_ptr<ExpertPool>> pools;
    for (const uint64_t size : catalogue.record_sizes()) {
        uint64_t count = 0;
        for (int layer = 0; layer < layers; ++layer) {
            if (catalogue.record_bytes[static_cast<size_t>(layer)] != size) continue;
            count += static_cast<uint64_t>(catalogue.held_experts(layer));
        }
        const uint64_t beyond = count - std::min(count, per_token);
        const uint64_t slots = per_token + static_cast<uint64_t>(share * static_cast<double>(beyond));
        const auto host_slots = static_cast<uint64_t>(host_share * static_cast<double>(count));
        pools.push_back(std::make_unique<ExpertPool>(cache.make(slots, size),
                                                     host_slots > 0 ? host.make(host_slots, size) : nullptr, layers,
                                                     catalogue.experts, policy));
    }
    return pools;
}

}  // namespace sluice
