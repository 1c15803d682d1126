#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace sluice::server {

// Threads for what takes longer than the network may wait: parsing, rendering, tokenizing. Thread-safe.
class Workers {
  public:
    explicit Workers(size_t threads);
    ~Workers();  // what has not begun is dropped

    // `task` must not throw.
    void run(std::function<void()> task);

  private:
    void work();

    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::function<void()>> tasks_;
    bool stop_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace sluice::server
