#include "server/workers.h"

#include "base/log.h"
#include "base/start_thread.h"

namespace sluice::server {

// As many as the system starts: fewer do the same, one is needed.
Workers::Workers(size_t threads) {
    threads_.reserve(threads);
    for (size_t i = 0; i < threads; ++i) {
        try {
            threads_.push_back(start_thread([this] { work(); }));
        } catch (const Error& error) {
            if (threads_.empty()) throw;
            log_warning("{} of {} threads prepare requests: {}", threads_.size(), threads, error.what());
            return;
        }
    }
}

Workers::~Workers() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

void Workers::run(std::function<void()> task) {
    {
        const std::lock_guard lock(mutex_);
        tasks_.push_back(std::move(task));
    }
    wake_.notify_one();
}

void Workers::work() {
    while (true) {
        std::function<void()> task;
        {
            std::unique_lock lock(mutex_);
            wake_.wait(lock, [this] { return stop_ || !tasks_.empty(); });
            if (stop_) return;
            task = std::move(tasks_.front());
            tasks_.pop_front();
        }
        task();
    }
}

}  // namespace sluice::server
