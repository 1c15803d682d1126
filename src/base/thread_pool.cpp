#include "base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/processors.h"
#include "base/start_thread.h"

namespace sluice {

namespace {
// Who waits looks this many times before it sleeps: between two operations of a token it is cheaper to look than to be
// woken. Longer, and a processor that others want looks taken; the system moves a thread that was put off to one that
// sleeps.
constexpr int kSpins = 4000;
constexpr size_t kMostThreads = 64;  // a mistyped number must not start thousands

void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}
}  // namespace

// Pieces [first, last) that one thread of the team has still to do: first in the upper half, so that one exchange takes
// a piece from either end. Each on its own cache line.
struct alignas(64) Share {
    std::atomic<uint64_t> span{0};

    // What the loop is has been written before.
    void set(uint64_t first, uint64_t last) { span.store(first << 32 | last, std::memory_order_release); }

    // Takes the first piece, or with `from_end` the last one.
    bool take(bool from_end, uint64_t& piece) {
        uint64_t seen = span.load(std::memory_order_relaxed);
        while (true) {
            const uint64_t first = seen >> 32, last = seen & 0xffffffff;
            if (first >= last) return false;
            piece = from_end ? last - 1 : first;
            const uint64_t left = from_end ? first << 32 | (last - 1) : (first + 1) << 32 | last;
            if (span.compare_exchange_weak(seen, left, std::memory_order_acquire, std::memory_order_relaxed))
                return true;
        }
    }
};

struct ThreadPool::State {
    ~State();

    std::vector<std::thread> workers;
    std::vector<Share> shares;
    std::mutex mutex;
    std::condition_variable wake, done;
    std::atomic<uint64_t> generation{0};  // a new value is a new loop
    std::atomic<size_t> sleepers{0};
    std::atomic<bool> caller_sleeps{false};
    bool stop = false;

    // The loop: only who has taken a piece of it and not finished that looks at it, since a worker that comes late may
    // find another loop than the one it was woken for.
    std::atomic<uint64_t> left{0};  // pieces that are not finished
    std::atomic<bool> one_each{false};
    size_t count = 0;
    size_t grain = 1;
    Piece piece = nullptr;
    void* context = nullptr;
    std::function<bool()> go_on;
    std::atomic<bool> abandoned{false};  // the loop that runs
    std::mutex error_mutex;
    std::exception_ptr error;

    // `member` 0 is the caller.
    void run_piece(uint64_t index, size_t member) {
        compute(index, member);
        if (left.fetch_sub(1) != 1 || !caller_sleeps.load()) return;
        const std::lock_guard lock(mutex);
        done.notify_one();
    }

    void compute(uint64_t index, size_t member) {
        if (abandoned.load(std::memory_order_relaxed)) return;
        const size_t begin = static_cast<size_t>(index) * grain;
        try {
            if (member == 0 && go_on && !go_on()) {
                abandoned.store(true, std::memory_order_relaxed);
                return;
            }
            piece(context, begin, std::min(begin + grain, count));
        } catch (...) {
            const std::lock_guard lock(error_mutex);
            if (!error) error = std::current_exception();
        }
    }

    // Neighbouring pieces stay with one thread, which reads memory in order; who is done early helps the others from
    // their far end. With a piece each there is nothing to help with but a thread that has not been scheduled: the
    // caller alone looks for that, since looking costs a cache line per thread.
    void work(size_t member) {
        uint64_t index = 0;
        while (shares[member].take(false, index)) run_piece(index, member);
        if (member != 0 && one_each.load(std::memory_order_relaxed)) return;
        for (size_t i = 1; i < shares.size(); ++i) {
            Share& other = shares[(member + i) % shares.size()];
            while (other.take(true, index)) run_piece(index, member);
        }
    }

    void serve(size_t member) {
        uint64_t seen = 0;
        while (true) {
            int spins = 0;
            while (generation.load(std::memory_order_acquire) == seen && spins < kSpins) {
                relax();
                ++spins;
            }
            if (generation.load(std::memory_order_acquire) == seen) {
                std::unique_lock lock(mutex);
                sleepers.fetch_add(1);
                wake.wait(lock, [&] { return stop || generation.load(std::memory_order_acquire) != seen; });
                sleepers.fetch_sub(1);
                if (stop) return;
            }
            seen = generation.load(std::memory_order_acquire);
            work(member);
        }
    }

    // A worker that was put off in the middle of a piece goes on where the caller sleeps.
    void wait_for_pieces() {
        for (int spins = 0; spins < kSpins; ++spins) {
            if (left.load() == 0) return;
            relax();
        }
        std::unique_lock lock(mutex);
        caller_sleeps.store(true);
        done.wait(lock, [&] { return left.load() == 0; });
        caller_sleeps.store(false);
    }
};

ThreadPool::ThreadPool(size_t threads, bool pinned) : state_(std::make_unique<State>()) {
    const size_t most = std::max(kMostThreads, 4 * usable_processors().size());
    const size_t team = threads == 0 ? available_cores() : std::min(threads, most);
    state_->shares = std::vector<Share>(team);
    state_->workers.reserve(team - 1);
    for (size_t i = 1; i < team; ++i) {
        state_->workers.push_back(start_thread([state = state_.get(), i, pinned] {
            const std::vector<Processor>& processors = usable_processors();
            if (pinned) pin_this_thread(processors[i % processors.size()]);
            state->serve(i);
        }));
    }
}

ThreadPool::~ThreadPool() = default;

// Also where the pool could not be finished: the threads that run wait for work, and nobody else will end them.
ThreadPool::State::~State() {
    {
        const std::lock_guard lock(mutex);
        stop = true;
    }
    wake.notify_all();
    for (std::thread& worker : workers) worker.join();
}

size_t ThreadPool::threads() const {
    return state_->workers.size() + 1;
}

void ThreadPool::set_go_on(std::function<bool()> go_on) {
    state_->go_on = std::move(go_on);
}

bool ThreadPool::is_watched() const {
    return static_cast<bool>(state_->go_on);
}

void ThreadPool::run(size_t count, size_t grain, Piece piece, void* context) {
    State& s = *state_;
    s.count = count;
    s.grain = std::max<size_t>(grain, 1);
    s.piece = piece;
    s.context = context;
    s.abandoned.store(false, std::memory_order_relaxed);
    const size_t pieces = (count + s.grain - 1) / s.grain, team = s.shares.size();
    s.left.store(pieces);
    s.one_each.store(pieces <= team, std::memory_order_relaxed);
    for (size_t i = 0; i < team; ++i) s.shares[i].set(pieces * i / team, pieces * (i + 1) / team);
    {
        const std::lock_guard lock(s.mutex);
        s.generation.fetch_add(1, std::memory_order_release);
    }
    if (s.sleepers.load() > 0) s.wake.notify_all();
    s.work(0);
    s.wait_for_pieces();
    if (s.error) std::rethrow_exception(std::exchange(s.error, nullptr));
    if (s.abandoned.load(std::memory_order_relaxed)) fail(ErrorCode::kCancelled, "stopped by the caller");
}

}  // namespace sluice
