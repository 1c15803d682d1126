#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace sluice {

// The expert store's mutex, held. A function that takes one may be called only while it is.
class Locked {
  public:
    explicit Locked(std::mutex& mutex) : lock_(mutex) {}

    void wait_for(std::condition_variable& changed, double seconds) {
        changed.wait_for(lock_, std::chrono::duration<double>(seconds));
    }
    template <typename Condition>
    void wait(std::condition_variable& changed, Condition condition) {
        changed.wait(lock_, condition);
    }
    // Runs `work` with the mutex free.
    template <typename Work>
    void unlocked(Work&& work) {
        lock_.unlock();
        work();
        lock_.lock();
    }

  private:
    std::unique_lock<std::mutex> lock_;
};

}  // namespace sluice
