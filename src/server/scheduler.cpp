#include "server/scheduler.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/clock.h"
#include "base/start_thread.h"
#include "server/api_error.h"

namespace sluice::server {

namespace {

// A second of waiting counts as much as so many tokens less to evaluate.
constexpr double kTokensPerSecondWaited = 500;
// How long to wait where every client is behind.
constexpr auto kBehindPause = std::chrono::milliseconds(5);
constexpr double kJobSmoothing = 0.2;
constexpr double kMostRetrySeconds = 60;
// Memory for tokens is given out in so many.
constexpr int64_t kPageTokens = 256;
// A shorter prompt is evaluated faster than it is waited for.
constexpr int64_t kSharedTokens = 64;

int64_t round_up_to_page(int64_t tokens) {
    return (tokens + kPageTokens - 1) / kPageTokens * kPageTokens;
}

}  // namespace

double queue_rank(int64_t prompt_tokens, double waited_seconds) {
    return static_cast<double>(prompt_tokens) - kTokensPerSecondWaited * waited_seconds;
}

std::vector<bool> may_grow(std::span<const HeldTokens> sequences, int64_t context, int64_t limit) {
    std::vector<bool> may(sequences.size(), false);
    if (sequences.empty()) return may;
    int64_t free = limit;
    for (const HeldTokens& each : sequences) free -= each.held;
    may[0] = true;
    free -= context - sequences[0].held;
    for (size_t i = 1; i < sequences.size(); ++i) {
        may[i] = sequences[i].next <= free;
        if (may[i]) free -= sequences[i].next;
    }
    return may;
}

struct Scheduler::Sequence {
    std::shared_ptr<Job> job;
    size_t index = 0;  // among the job's sequences
    size_t prompt = 0, choice = 0;
    Stopwatch since_submit, since_token;
    std::unique_ptr<Continuation> generation;
    size_t reported = 0;     // of its tokens
    bool evaluated = false;  // its prompt
    bool finished = false;
    std::atomic<int64_t> prefilled = 0, generated = 0;

    const std::vector<TokenId>& ids() const { return job->prompts[prompt]; }
    int64_t prompt_tokens() const { return static_cast<int64_t>(ids().size()); }
    // A prompt takes all its memory at once where a cache supplies it.
    HeldTokens held() const {
        const int64_t now = generation ? round_up_to_page(prefilled + generated) : 0;
        const int64_t then = round_up_to_page(evaluated ? prefilled + generated + 1 : prompt_tokens() + 1);
        return {.held = now, .next = then - now};
    }
};

Scheduler::Scheduler(Generator& generator, const SchedulerLimits& limits, Metrics& metrics)
    : generator_(generator), limits_(limits), metrics_(metrics) {
    thread_ = start_thread([this] { run(); });
}

Scheduler::~Scheduler() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = closed_ = true;
        for (const auto& each : running_) each->job->cancelled = true;
    }
    wake_.notify_all();
    thread_.join();
}

void Scheduler::submit(const std::shared_ptr<Job>& job, const std::function<void()>& accepted) {
    {
        const std::lock_guard lock(mutex_);
        if (closed_) throw not_ready(true);
        if (running_.size() + waiting_.size() + job->sequences() > limits_.slots + limits_.queue) {
            throw queue_full(retry_after());
        }
        accepted();
        for (size_t i = 0; i < job->sequences(); ++i) {
            auto sequence = std::make_shared<Sequence>();
            sequence->job = job;
            sequence->index = i;
            sequence->prompt = i / job->choices;
            sequence->choice = i % job->choices;
            waiting_.push_back(std::move(sequence));
        }
    }
    wake_.notify_all();
}

void Scheduler::cancel(Job& job) {
    Sequences dropped;  // freed without the lock
    {
        const std::lock_guard lock(mutex_);
        job.cancelled = true;
        const auto kept = std::stable_partition(waiting_.begin(), waiting_.end(),
                                                [&](const auto& each) { return each->job.get() != &job; });
        dropped.assign(kept, waiting_.end());
        waiting_.erase(kept, waiting_.end());
    }
    wake_.notify_all();
}

void Scheduler::close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
}

void Scheduler::give_up(std::exception_ptr reason) {
    std::set<std::shared_ptr<Job>> jobs;
    {
        const std::lock_guard lock(mutex_);
        for (const Sequences* list : {&waiting_, &running_}) {
            for (const auto& each : *list) jobs.insert(each->job);
        }
    }
    for (const auto& job : jobs) {
        job->listener->give_up(reason);
        cancel(*job);
    }
}

int Scheduler::retry_after() const {
    const double ahead = static_cast<double>(waiting_.size() + 1) / static_cast<double>(limits_.slots);
    return static_cast<int>(std::clamp(std::ceil(ahead * seconds_per_job_), 1.0, kMostRetrySeconds));
}

size_t Scheduler::running() const {
    const std::lock_guard lock(mutex_);
    std::set<const Job*> jobs;
    for (const auto& each : running_) jobs.insert(each->job.get());
    return jobs.size();
}

size_t Scheduler::waiting() const {
    const std::lock_guard lock(mutex_);
    std::set<const Job*> jobs;
    for (const auto& each : waiting_) jobs.insert(each->job.get());
    for (const auto& each : running_) jobs.erase(each->job.get());
    return jobs.size();
}

std::vector<SequenceStatus> Scheduler::sequences() const {
    const std::lock_guard lock(mutex_);
    std::vector<SequenceStatus> all;
    for (const Sequences* list : {&running_, &waiting_}) {
        for (const auto& each : *list) {
            all.push_back({.running = list == &running_,
                           .prompt_tokens = each->prompt_tokens(),
                           .prefilled = each->prefilled,
                           .generated = each->generated,
                           .seconds = each->since_submit.seconds()});
        }
    }
    return all;
}

// Whether another sequence is evaluating the same prompt: another choice of the request, or the same request once more
// from a client that gave up on its first. Then this one waits for it, and finds the prompt in the prefix cache.
bool Scheduler::prompt_at_work(const Sequence& sequence) const {
    const auto leads = [&](const auto& each) {
        return each->job == sequence.job && each->prompt == sequence.prompt && each->choice == 0;
    };
    if (sequence.choice > 0 && std::ranges::any_of(waiting_, leads)) return true;
    if (sequence.prompt_tokens() < kSharedTokens) return false;
    return std::ranges::any_of(running_, [&](const auto& each) {
        return !each->evaluated && !each->job->cancelled && each->ids() == sequence.ids();
    });
}

void Scheduler::admit() {
    while (running_.size() < limits_.slots) {
        auto next = waiting_.end();
        double least = 0;
        for (auto it = waiting_.begin(); it != waiting_.end(); ++it) {
            if (prompt_at_work(**it)) continue;
            const double rank = queue_rank((*it)->prompt_tokens(), (*it)->since_submit.seconds());
            if (next != waiting_.end() && rank >= least) continue;
            next = it;
            least = rank;
        }
        if (next == waiting_.end()) return;
        (*next)->job->running = true;
        metrics_.queue_seconds((*next)->since_submit.seconds());
        running_.push_back(std::move(*next));
        waiting_.erase(next);
    }
}

Scheduler::Sequences Scheduler::to_step() const {
    std::vector<HeldTokens> held;
    for (const auto& each : running_) held.push_back(each->held());
    const std::vector<bool> fits = may_grow(held, round_up_to_page(limits_.context), limits_.kv_tokens);
    Sequences live;
    for (size_t i = 0; i < running_.size(); ++i) {
        const Job& job = *running_[i]->job;
        if (job.cancelled || (fits[i] && !job.listener->behind())) live.push_back(running_[i]);
    }
    return live;
}

void Scheduler::run() {
    while (true) {
        Sequences live;
        {
            std::unique_lock lock(mutex_);
            wake_.wait(lock, [this] { return stop_ || !running_.empty() || !waiting_.empty(); });
            if (stop_ && running_.empty()) return;
            if (!stop_) admit();
            live = to_step();
            if (live.empty()) {
                wake_.wait_for(lock, kBehindPause);
                continue;
            }
        }
        step(live);
        retire_finished();
    }
}

// False: it has failed, and its listener knows.
bool Scheduler::begin(Sequence& sequence) {
    const Job& job = *sequence.job;
    GenerationOptions options = job.options;
    options.sampling.seed += sequence.choice;
    options.cancelled = &job.cancelled;
    options.whole_prompt = true;
    try {
        if (job.make_mask) options.mask = job.make_mask();
        sequence.generation = generator_.begin(sequence.ids(), options);
        return true;
    } catch (...) {
        sequence.finished = true;
        job.listener->take({.sequence = sequence.index,
                            .finished = true,
                            .finish = FinishReason::kError,
                            .error = std::current_exception()});
        return false;
    }
}

void Scheduler::step(const Sequences& live) {
    std::vector<Continuation*> stepped;
    bool decoding = false, prefilling = false;
    int64_t before = 0;
    for (const auto& each : live) {
        if (!each->generation && !begin(*each)) continue;
        stepped.push_back(each->generation.get());
        (each->evaluated ? decoding : prefilling) = true;
        if (!each->evaluated) before += each->prefilled;
    }
    StepLimits limits;
    if (decoding && prefilling) {
        limits.chunk = pace_.chunk();
        limits.rows = limits.chunk + static_cast<int64_t>(stepped.size());
    }
    const Stopwatch watch;
    generator_.step(stepped, limits);
    const double seconds = watch.seconds();
    int64_t prefilled = -before;
    for (const auto& each : live) {
        if (!each->generation) continue;
        const bool was_evaluated = each->evaluated;
        report(*each);
        if (!was_evaluated) prefilled += each->prefilled;
    }
    prefilling ? pace_.note_prefill(prefilled, seconds) : pace_.note_decode(seconds);
    metrics_.step(seconds, prefilling, prefilled);
}

void Scheduler::report(Sequence& sequence) {
    const Continuation& generation = *sequence.generation;
    const GenerationResult& result = generation.result();
    Job& job = *sequence.job;
    SequenceNews news{.sequence = sequence.index};
    const auto from = static_cast<ptrdiff_t>(sequence.reported);
    news.ids.assign(result.token_ids.begin() + from, result.token_ids.end());
    if (!result.choices.empty()) news.choices.assign(result.choices.begin() + from, result.choices.end());
    sequence.reported = result.token_ids.size();
    news.finished = sequence.finished = generation.finished();

    const int64_t done = generation.progress().done;
    job.prompt_done += sequence.choice == 0 ? done - sequence.prefilled : 0;
    sequence.prefilled = done;
    sequence.generated = static_cast<int64_t>(sequence.reported);
    metrics_.generated(static_cast<int64_t>(news.ids.size()));
    if (!sequence.evaluated && (!news.ids.empty() || news.finished)) {
        sequence.evaluated = true;
        metrics_.first_token_seconds(sequence.since_submit.seconds());
    } else if (!news.ids.empty()) {
        metrics_.token_seconds(sequence.since_token.seconds());
    }
    if (!news.ids.empty()) sequence.since_token.restart();
    if (news.finished) {
        news.finish = result.finish;
        news.error = generation.error();
        const auto evaluated = static_cast<int64_t>(result.prefilled_tokens);
        const bool complete = news.finish != FinishReason::kCancelled && news.finish != FinishReason::kError;
        news.cached = complete ? sequence.prompt_tokens() - evaluated : 0;
        metrics_.prompt(complete ? evaluated : done, news.cached);
        metrics_.request_seconds(sequence.since_submit.seconds());
        // The place is free before the client hears of the end.
        const std::lock_guard lock(mutex_);
        seconds_per_job_ += kJobSmoothing * (sequence.since_submit.seconds() - seconds_per_job_);
        std::erase_if(running_, [&](const auto& each) { return each.get() == &sequence; });
    }
    if (!news.ids.empty() || news.finished) job.listener->take(std::move(news));
}

void Scheduler::retire_finished() {
    Sequences finished;
    const std::lock_guard lock(mutex_);
    const auto kept =
        std::stable_partition(running_.begin(), running_.end(), [](const auto& each) { return !each->finished; });
    finished.assign(kept, running_.end());
    running_.erase(kept, running_.end());
}

}  // namespace sluice::server
