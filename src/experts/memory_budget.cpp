#include "experts/memory_budget.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/error.h"
#include "base/memory.h"
#include "base/size.h"

namespace sluice {

namespace {

// What the rest of the system is left of `available` bytes. A tenth: others need memory too, and a full
// cgroup stalls in reclaim before it kills.
uint64_t left_to_system(uint64_t available) {
    constexpr uint64_t kLeast = 256ull << 20;
    constexpr uint64_t kMost = 4096ull << 20;
    return std::min(std::clamp(available / 10, kLeast, kMost), available / 4);
}

}  // namespace

uint64_t default_memory_ceiling() {
    const uint64_t available = available_memory_bytes();
    return available - left_to_system(available) + resident_bytes();
}

MemoryBudget plan_memory(const MemoryNeeds& needs, std::optional<uint64_t> ram) {
    const uint64_t ceiling = ram.value_or(default_memory_ceiling());
    if (ceiling < needs.floor()) {
        const uint64_t megabytes = round_up(needs.floor(), 1 << 20) >> 20;
        fail(ErrorCode::kOutOfMemory,
             "{} of memory {}: the trunk takes {}, the context {}, scratch {}, the experts of one token {}; "
             "--ram {}M would do",
             format_size(ceiling), ram ? "(--ram) is too little" : "is free, too little",
             format_size(needs.trunk), format_size(needs.kv), format_size(needs.scratch),
             format_size(needs.experts_floor), megabytes);
    }
    return {ceiling, std::min(ceiling - needs.fixed(), std::max(needs.experts_all, needs.experts_floor))};
}

uint64_t next_cache_bytes(uint64_t current, uint64_t full, uint64_t floor, uint64_t available,
                          uint64_t reserve) {
    const uint64_t step = full / 16;
    if (available < reserve) {
        const uint64_t less = std::max(reserve - available, step);
        return std::max(floor, current - std::min(current, less));
    }
    // Twice the reserve, so that growing does not at once bring back what made it shrink.
    if (available > 2 * reserve + step) return std::min(full, current + step);
    return current;
}

MemoryGovernor::MemoryGovernor(Cache cache, std::function<uint64_t()> available, double seconds)
    : cache_(std::move(cache)),
      available_(available ? std::move(available) : available_memory_bytes),
      seconds_(seconds),
      thread_([this] { work(); }) {}

MemoryGovernor::~MemoryGovernor() {
    {
        const std::scoped_lock lock(mutex_);
        stopping_ = true;
    }
    stop_.notify_all();
    thread_.join();
}

void MemoryGovernor::work() {
    // Half of what a default budget leaves free: the cache's own growth to its size is no pressure.
    const uint64_t reserve = left_to_system(available_() + cache_.full) / 2;
    std::unique_lock lock(mutex_);
    while (!stop_.wait_for(lock, std::chrono::duration<double>(seconds_), [this] { return stopping_; })) {
        const uint64_t current = cache_.bytes();
        const uint64_t next = next_cache_bytes(current, cache_.full, cache_.floor, available_(), reserve);
        if (next != current) cache_.resize(next);
    }
}

}  // namespace sluice
