#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <vector>

#include "server/scheduler.h"

namespace sluice::server {

// Keeps the tokens of a job's sequences.
class Kept final : public JobListener {
  public:
    void take(SequenceNews news) override {
        const std::lock_guard lock(mutex_);
        std::vector<TokenId>& ids = tokens[news.sequence];
        ids.insert(ids.end(), news.ids.begin(), news.ids.end());
        if (news.finished) {
            ++finished;
            cached = news.cached;
            finish = news.finish;
        }
        changed_.notify_all();
    }
    void give_up(std::exception_ptr) override {
        const std::lock_guard lock(mutex_);
        ++given_up;
        changed_.notify_all();
    }
    bool behind() const override { return slow; }

    template <typename Condition>
    bool wait_for(const Condition& condition) {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, std::chrono::seconds(60), condition);
    }

    std::map<size_t, std::vector<TokenId>> tokens;
    size_t finished = 0, given_up = 0;
    int64_t cached = -1;
    FinishReason finish = FinishReason::kStop;
    std::atomic<bool> slow = false;

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
};

}  // namespace sluice::server
