// Many clients at once over a generator of the test's own: nothing of the engine, so that ThreadSanitizer watches the
// scheduler alone.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "server/api_error.h"
#include "server/scheduler.h"
#include "tests/server/kept_tokens.h"

namespace sluice::server {
namespace {

constexpr int64_t kChunk = 64;
constexpr size_t kClients = 16, kRequests = 40;

// The token at a place of an answer, made of the prompt and the seed.
TokenId made_up(std::span<const TokenId> prompt, uint64_t seed, size_t place) {
    return static_cast<TokenId>((prompt[0] * 7 + static_cast<TokenId>(seed) * 31 + static_cast<TokenId>(place)) % 997);
}

class MadeUp final : public Continuation {
  public:
    MadeUp(std::span<const TokenId> prompt, GenerationOptions options) : options_(std::move(options)) {
        result_.prompt_ids.assign(prompt.begin(), prompt.end());
    }
    bool finished() const override { return finished_; }
    const GenerationResult& result() const override { return result_; }
    std::exception_ptr error() const override { return nullptr; }
    PromptProgress progress() const override { return {.done = done_, .total = total()}; }

    void move_on() {
        if (*options_.cancelled) return finish(FinishReason::kCancelled);
        if (done_ < total()) {
            done_ = std::min(done_ + kChunk, total());
            result_.prefilled_tokens = static_cast<uint64_t>(done_);
            if (done_ < total()) return;
        }
        result_.token_ids.push_back(made_up(result_.prompt_ids, options_.sampling.seed, result_.token_ids.size()));
        if (static_cast<int64_t>(result_.token_ids.size()) == options_.max_tokens) finish(FinishReason::kLength);
    }

  private:
    int64_t total() const { return static_cast<int64_t>(result_.prompt_ids.size()); }
    void finish(FinishReason reason) {
        finished_ = true;
        result_.finish = reason;
    }

    GenerationOptions options_;
    GenerationResult result_;
    int64_t done_ = 0;
    bool finished_ = false;
};

class MadeUpGenerator final : public Generator {
  public:
    std::unique_ptr<Continuation> begin(std::span<const TokenId> prompt, const GenerationOptions& options) override {
        return std::make_unique<MadeUp>(prompt, options);
    }
    void step(std::span<Continuation* const> continuations, const StepLimits&) override {
        for (Continuation* each : continuations) static_cast<MadeUp*>(each)->move_on();
    }
};

class Client {
  public:
    Client(Scheduler& scheduler, uint64_t seed) : scheduler_(scheduler), random_(seed) {}

    void run() {
        for (size_t i = 0; i < kRequests; ++i) ask();
    }
    size_t complete = 0, refused = 0;

  private:
    size_t up_to(size_t most) { return std::uniform_int_distribution<size_t>(1, most)(random_); }

    void ask() {
        const auto kept = std::make_shared<Kept>();
        const auto job = std::make_shared<Job>();
        // Few beginnings, so that clients ask for the same at the same time.
        job->prompts = {std::vector<TokenId>(up_to(4) * 50, static_cast<TokenId>(up_to(3)))};
        job->options.max_tokens = static_cast<int64_t>(up_to(20));
        job->options.sampling.seed = up_to(100);
        job->choices = up_to(3);
        job->listener = kept;
        try {
            scheduler_.submit(job, [] {});
        } catch (const ApiError& error) {
            EXPECT_EQ(error.status, 429);
            ++refused;
            std::this_thread::yield();
            return;
        }
        kept->slow = up_to(4) == 1;
        if (up_to(3) == 1) {
            if (up_to(2) == 1) std::this_thread::sleep_for(std::chrono::microseconds(up_to(300)));
            return scheduler_.cancel(*job);
        }
        kept->slow = false;
        ASSERT_TRUE(kept->wait_for([&] { return kept->finished == job->choices; }));
        for (size_t choice = 0; choice < job->choices; ++choice) {
            const std::vector<TokenId>& ids = kept->tokens[choice];
            ASSERT_EQ(static_cast<int64_t>(ids.size()), job->options.max_tokens);
            for (size_t i = 0; i < ids.size(); ++i) {
                ASSERT_EQ(ids[i], made_up(job->prompts[0], job->options.sampling.seed + choice, i));
            }
        }
        ++complete;
    }

    Scheduler& scheduler_;
    std::mt19937_64 random_;
};

TEST(SchedulerThreads, SixteenClientsGetWhatTheyAskedFor) {
    MadeUpGenerator generator;
    Metrics metrics;
    Scheduler scheduler(generator, {.slots = 6, .queue = 24, .context = 1024, .kv_tokens = 4096}, metrics);
    std::vector<Client> clients;
    for (size_t i = 0; i < kClients; ++i) clients.emplace_back(scheduler, i);
    std::atomic<bool> over = false;
    std::thread watcher([&] {
        while (!over) {
            for (const SequenceStatus& each : scheduler.sequences()) EXPECT_LE(each.prefilled, each.prompt_tokens);
            EXPECT_LE(scheduler.running(), 6u);
            scheduler.waiting();
            metrics.totals();
            metrics.rates(0);
            std::this_thread::sleep_for(std::chrono::microseconds(100));
        }
    });
    std::vector<std::thread> threads;
    for (Client& client : clients) threads.emplace_back([&client] { client.run(); });
    for (std::thread& thread : threads) thread.join();
    over = true;
    watcher.join();
    size_t complete = 0;
    for (const Client& client : clients) complete += client.complete;
    EXPECT_GT(complete, kClients * kRequests / 4);
}

TEST(SchedulerThreads, EndsWithWorkUnderWay) {
    MadeUpGenerator generator;
    Metrics metrics;
    const auto kept = std::make_shared<Kept>();
    std::vector<std::shared_ptr<Job>> jobs;
    {
        Scheduler scheduler(generator, {.slots = 2, .queue = 24, .context = 4096, .kv_tokens = 1 << 20}, metrics);
        std::thread closer([&] {
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
            scheduler.close();
            scheduler.give_up(std::make_exception_ptr(not_ready(true)));
        });
        for (int i = 0; i < 20; ++i) {
            jobs.push_back(std::make_shared<Job>());
            jobs.back()->prompts = {std::vector<TokenId>(100, i + 1)};
            jobs.back()->options.max_tokens = 1 << 20;
            jobs.back()->listener = kept;
            try {
                scheduler.submit(jobs.back(), [] {});
            } catch (const ApiError& error) {
                EXPECT_EQ(error.status, 503);
            }
        }
        closer.join();
    }
    for (const auto& job : jobs) EXPECT_EQ(job.use_count(), 1);
}

}  // namespace
}  // namespace sluice::server
