#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "server/generator.h"
#include "server/metrics.h"
#include "server/prefill_pace.h"

namespace sluice::server {

// What a step made of one sequence of a job.
struct SequenceNews {
    size_t sequence = 0;
    std::vector<TokenId> ids = {};          // new ones
    std::vector<TokenChoice> choices = {};  // of them, if they were asked for
    bool finished = false;
    FinishReason finish = FinishReason::kStop;
    std::exception_ptr error = {};
    int64_t cached = 0;  // tokens of the prompt that nobody had to evaluate; once finished
};

// Who wants the tokens of a job. Called by the thread that steps the engine, and must not make it wait.
class JobListener {
  public:
    virtual ~JobListener() = default;
    virtual void take(SequenceNews news) = 0;
    // The server gives up on the job.
    virtual void give_up(std::exception_ptr reason) = 0;
    // Whether the client is so far behind that making more for it would be a waste.
    virtual bool behind() const = 0;
};

// A request to generate: every prompt is continued `choices` times, each a sequence that takes a place of its own.
struct Job {
    std::vector<std::vector<TokenId>> prompts;
    GenerationOptions options;  // choice i of a prompt is drawn with the seed + i
    size_t choices = 1;
    // Makes the mask of one sequence; empty: none.
    std::function<decltype(GenerationOptions::mask)()> make_mask = {};
    std::shared_ptr<JobListener> listener = {};

    size_t sequences() const { return prompts.size() * choices; }
    int64_t prompt_tokens() const {
        int64_t sum = 0;
        for (const auto& prompt : prompts) sum += static_cast<int64_t>(prompt.size());
        return sum;
    }

    // The scheduler's, for any thread to read.
    std::atomic<bool> cancelled = false;
    std::atomic<bool> running = false;
    std::atomic<int64_t> prompt_done = 0;  // tokens, of all prompts
};

// What a sequence that is not finished is at.
struct SequenceStatus {
    bool running = false;
    int64_t prompt_tokens = 0, prefilled = 0, generated = 0;
    double seconds = 0;  // since it came
};

struct SchedulerLimits {
    size_t slots = 16;      // sequences stepped together
    size_t queue = 128;     // that may wait besides
    int64_t context = 0;    // tokens that a sequence may come to hold
    int64_t kv_tokens = 0;  // that all may hold together; at least a context
};

// Has the generator to itself: one thread that steps all sequences that have a place. Thread-safe.
class Scheduler {
  public:
    Scheduler(Generator& generator, const SchedulerLimits& limits, Metrics& metrics);
    ~Scheduler();  // gives up on whatever is left
    Scheduler(const Scheduler&) = delete;
    Scheduler& operator=(const Scheduler&) = delete;

    // Throws an ApiError where there is no place to wait, or where a job could never have all it asks for. `accepted`
    // runs before anything else happens to the job.
    void submit(const std::shared_ptr<Job>& job, const std::function<void()>& accepted);
    // Nobody wants it any more: its sequences that wait are gone at once, the others within a step.
    void cancel(Job& job);
    // No new jobs from now on.
    void close();
    // Ends every job with this error.
    void give_up(std::exception_ptr reason);

    size_t running() const;  // jobs with a sequence that has a place
    size_t waiting() const;  // jobs without
    std::vector<SequenceStatus> sequences() const;

  private:
    struct Sequence;
    using Sequences = std::vector<std::shared_ptr<Sequence>>;

    void run();
    void admit();
    bool prompt_at_work(const Sequence& sequence) const;
    bool begin(Sequence& sequence);
    Sequences to_step() const;
    void step(const Sequences& live);
    void report(Sequence& sequence);
    void retire_finished();
    int retry_after() const;

    Generator& generator_;
    const SchedulerLimits limits_;
    Metrics& metrics_;
    PrefillPace pace_;

    mutable std::mutex mutex_;
    std::condition_variable wake_;
    Sequences waiting_, running_;
    bool stop_ = false, closed_ = false;
    double seconds_per_job_ = 1;  // smoothed
    std::thread thread_;
};

// What a sequence holds of the memory for all, and what its next step may add; tokens.
struct HeldTokens {
    int64_t held = 0, next = 0;
};
// Which of the sequences, the oldest first, may be stepped without ever using more than `limit`: the oldest always, and
// others as long as what is left lets the oldest come to hold a whole context. So one of them can always go on, and
// what it held is there for the others once it ends.
std::vector<bool> may_grow(std::span<const HeldTokens> sequences, int64_t context, int64_t limit);

// Of sequences that wait, the one with the least is next: what is left to evaluate, less what its waiting has earned.
double queue_rank(int64_t prompt_tokens, double waited_seconds);

}  // namespace sluice::server
