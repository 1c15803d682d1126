#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace sluice {

// A mutex that is given in the order of asking: who gives it back and asks again waits behind those who asked before.
class FairMutex {
  public:
    void lock() {
        std::unique_lock lock(mutex_);
        const uint64_t ticket = tickets_++;
        changed_.wait(lock, [&] { return served_ == ticket; });
    }
    bool try_lock() {
        const std::lock_guard lock(mutex_);
        if (served_ != tickets_) return false;
        ++tickets_;
        return true;
    }
    void unlock() {
        {
            const std::lock_guard lock(mutex_);
            ++served_;
        }
        changed_.notify_all();
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    uint64_t tickets_ = 0;  // given out; one is held while it is above `served_`
    uint64_t served_ = 0;   // given back
};

}  // namespace sluice
