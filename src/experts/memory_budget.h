#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

namespace sluice {

// The ceiling where nobody names one: what this process has and may still take (cgroup limits included), less what the
// rest of the system is left for its own work.
uint64_t default_memory_ceiling();

// What the rest of the system is left of `available` bytes.
uint64_t left_to_system(uint64_t available);

// What the system says of its memory.
struct MemoryState {
    uint64_t available = 0;    // bytes it can still give
    double stalled_share = 0;  // of the time since the last look, in which a task waited for memory
};

// The size that a cache should have next, of `full` bytes at most and `floor` at least: less by what is missing where
// fewer than `reserve` are available, less by a part where tasks wait for memory, more by a part where plenty is
// available and none waits.
uint64_t next_cache_bytes(uint64_t current, uint64_t full, uint64_t floor, const MemoryState& state, uint64_t reserve);

// Watches the memory that the machine and the cgroups have left, once a second, and resizes a cache by it.
class MemoryGovernor {
  public:
    struct Cache {
        std::function<uint64_t()> bytes;
        std::function<void(uint64_t)> resize;
        uint64_t full = 0;
        uint64_t floor = 0;
    };
    // `state`: how the system is; asked of the kernel where there is none.
    explicit MemoryGovernor(Cache cache, std::function<MemoryState()> state = {}, double seconds = 1.0);
    ~MemoryGovernor();
    MemoryGovernor(const MemoryGovernor&) = delete;
    MemoryGovernor& operator=(const MemoryGovernor&) = delete;

  private:
    void work();

    Cache cache_;
    std::function<MemoryState()> state_;
    double seconds_;
    uint64_t reserve_;
    std::mutex mutex_;
    std::condition_variable stop_;
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace sluice
