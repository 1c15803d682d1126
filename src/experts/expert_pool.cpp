#include "experts/expert_pool.h"

#include <algorithm>

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

void ExpertPool::retire_slots() {
    while (admission.slots() > std::max(target, admission.reserved())) {
        const size_t slot = cache.retire();
        if (slot == kNoSlot) return;
        memory->discard(slot);
        retired.push_back(slot);
        admission.set_slots(admission.slots() - 1);
    }
}

void ExpertPool::restore_slots() {
    for (; admission.slots() < target; retired.pop_back()) {
        cache.restore(retired.back());
        admission.set_slots(admission.slots() + 1);
    }
}

EventPtr ExpertPool::arrival(size_t slot) {
    if (arrivals[slot] && arrivals[slot]->done()) arrivals[slot].reset();
    return arrivals[slot];
}

std::vector<std::unique_ptr<ExpertPool>> make_pools(const ExpertCatalogue& catalogue, uint64_t cache_bytes,
                                                    EvictionPolicy policy, const MakeSlots& make_slots) {
    const uint64_t floor = catalogue.floor_bytes();
    if (cache_bytes < floor) {
        fail(ErrorCode::kOutOfMemory, "the expert cache got {}, but the experts of one token need {} ({} bytes)",
             format_size(cache_bytes), format_size(floor), floor);
    }
    const auto per_token = static_cast<uint64_t>(catalogue.experts_per_token);
    const uint64_t all = catalogue.all_bytes();
    const double share =
        all <= floor ? 0.0 : std::min(1.0, static_cast<double>(cache_bytes - floor) / static_cast<double>(all - floor));
    const int layers = static_cast<int>(catalogue.record_bytes.size());
    std::vector<std::unique_ptr<ExpertPool>> pools;
    for (const uint64_t size : catalogue.record_sizes()) {
        const auto layers_here = std::count(catalogue.record_bytes.begin(), catalogue.record_bytes.end(), size);
        const uint64_t count = static_cast<uint64_t>(layers_here) * static_cast<uint64_t>(catalogue.experts);
        const uint64_t slots = per_token + static_cast<uint64_t>(share * static_cast<double>(count - per_token));
        pools.push_back(std::make_unique<ExpertPool>(make_slots(slots, size), layers, catalogue.experts, policy));
    }
    return pools;
}

}  // namespace sluice
