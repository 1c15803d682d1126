#include "experts/memory_budget.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/clock.h"
#include "base/memory.h"
#include "base/start_thread.h"

namespace sluice {

namespace {

// The state since the last call.
class SystemMemory {
  public:
    MemoryState operator()() {
        const double stalled = memory_stall_seconds().value_or(0);
        const double seconds = std::max(watch_.seconds(), 1e-3);
        const double waited = stalled - std::exchange(stalled_, stalled);
        watch_.restart();
        return {available_memory_bytes(), waited / seconds};
    }

  private:
    double stalled_ = memory_stall_seconds().value_or(0);
    Stopwatch watch_;
};

}  // namespace

// A tenth: others need memory too, and a full cgroup stalls in reclaim before it kills.
uint64_t left_to_system(uint64_t available) {
    constexpr uint64_t kLeast = 256ull << 20;
    constexpr uint64_t kMost = 4096ull << 20;
    return std::min(std::clamp(available / 10, kLeast, kMost), available / 4);
}

uint64_t default_memory_ceiling() {
    const uint64_t available = available_memory_bytes();
    return available - left_to_system(available) + resident_bytes();
}

uint64_t next_cache_bytes(uint64_t current, uint64_t full, uint64_t floor, const MemoryState& state, uint64_t reserve) {
    // Short waits are part of reclaiming page cache; at the upper share the machine feels slow.
    constexpr double kCalm = 0.01, kPressed = 0.1;
    const uint64_t step = full / 16;
    if (state.available < reserve || state.stalled_share > kPressed) {
        const uint64_t missing = reserve - std::min(reserve, state.available);
        return std::max(floor, current - std::min(current, std::max(missing, step)));
    }
    // Twice the reserve, so that growing does not at once bring back what made it shrink.
    if (state.available > 2 * reserve + step && state.stalled_share < kCalm) return std::min(full, current + step);
    return current;
}

MemoryGovernor::MemoryGovernor(Cache cache, std::function<MemoryState()> state, double seconds)
    : cache_(std::move(cache)),
      state_(state ? std::move(state) : SystemMemory()),
      seconds_(seconds),
      // Half of what a default budget leaves free: the cache's own growth to its size is no pressure.
      reserve_(left_to_system(state_().available) / 2),
      thread_(start_thread([this] { work(); })) {}

MemoryGovernor::~MemoryGovernor() {
    {
        const std::scoped_lock lock(mutex_);
        stopping_ = true;
    }
    stop_.notify_all();
    thread_.join();
}

void MemoryGovernor::work() {
    std::unique_lock lock(mutex_);
    while (!stop_.wait_for(lock, std::chrono::duration<double>(seconds_), [this] { return stopping_; })) {
        const uint64_t current = cache_.bytes();
        const uint64_t next = next_cache_bytes(current, cache_.full, cache_.floor, state_(), reserve_);
        // What it comes to is a whole number of slots, maybe the present one.
        if (next != current) cache_.resize(next);
    }
}

}  // namespace sluice
