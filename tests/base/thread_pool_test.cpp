#include "base/thread_pool.h"
#include "base/processors.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "tests/support/address_space.h"

namespace sluice {
namespace {

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// With memory for the stacks of a few threads only.
int start_many_threads() {
    limit_address_space(uint64_t{100} << 20);
    try {
        const ThreadPool pool(60);
        return 1;
    } catch (const Error& error) {
        const std::string what = error.what();
        return error.code() == ErrorCode::kOutOfMemory && what.find("thread could not be started") != what.npos ? 0 : 2;
    }
}

TEST(ThreadPool, ThreadsThatDoNotStartAreAnError) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::alarm(60);  // a hang is a failure
        ::_exit(start_many_threads());
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
    EXPECT_EQ(WEXITSTATUS(status), 0);
}
#endif

TEST(ThreadPool, AMistypedNumberStartsNoThousands) {
    EXPECT_LE(ThreadPool(1'000'000).threads(), std::max<size_t>(64, 4 * usable_processors().size()));
}

TEST(ThreadPool, TouchesEveryIndexOnce) {
    for (const size_t threads : {1, 2, 3, 8}) {
        ThreadPool pool(threads);
        for (const size_t count : {size_t{0}, size_t{1}, size_t{7}, size_t{1000}}) {
            for (const size_t grain : {size_t{1}, size_t{3}, size_t{64}, size_t{5000}}) {
                std::vector<int> touched(count, 0);
                pool.parallel_for(count, grain, [&](size_t begin, size_t end) {
                    for (size_t i = begin; i < end; ++i) ++touched[i];
                });
                EXPECT_EQ(touched, std::vector<int>(count, 1)) << threads << " threads, " << count << " by " << grain;
            }
        }
    }
}

TEST(ThreadPool, CutsByIndexWhateverTheThreads) {
    const auto cuts = [](size_t threads) {
        ThreadPool pool(threads);
        std::vector<std::atomic<size_t>> length(100);
        pool.parallel_for(100, 7, [&](size_t begin, size_t end) { length[begin] = end - begin; });
        return std::vector<size_t>(length.begin(), length.end());
    };
    EXPECT_EQ(cuts(2), cuts(5));
}

TEST(ThreadPool, SeesWhatTheCallerWroteAndShowsItWhatItWrote) {
    ThreadPool pool(4);
    std::vector<int> values(512, 0);
    for (int round = 1; round <= 300; ++round) {
        values[0] = round;
        std::vector<int> copies(values.size());
        pool.parallel_for(copies.size(), 16, [&](size_t begin, size_t end) {
            for (size_t i = begin; i < end; ++i) copies[i] = values[0] + static_cast<int>(i);
        });
        const int expected = 512 * round + 511 * 512 / 2;
        ASSERT_EQ(std::accumulate(copies.begin(), copies.end(), 0), expected);
    }
}

TEST(ThreadPool, RethrowsAndGoesOn) {
    ThreadPool pool(4);
    for (int round = 0; round < 20; ++round) {
        EXPECT_THROW(pool.parallel_for(100, 1,
                                       [](size_t begin, size_t) {
                                           if (begin % 10 == 3) throw std::runtime_error("three");
                                       }),
                     std::runtime_error);
        std::atomic<size_t> done{0};
        pool.parallel_for(100, 1, [&](size_t begin, size_t end) { done += end - begin; });
        EXPECT_EQ(done, 100u);
    }
}

TEST(ThreadPool, WakesAfterItSlept) {
    ThreadPool pool(3);
    for (int round = 0; round < 5; ++round) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        std::atomic<size_t> done{0};
        pool.parallel_for(30, 1, [&](size_t begin, size_t end) { done += end - begin; });
        EXPECT_EQ(done, 30u);
    }
}

// The others wait until the caller was asked, who says no before its first piece.
TEST(ThreadPool, LeavesOutTheRestWhereTheCallerIsToldTo) {
    for (const size_t threads : {1, 3}) {
        ThreadPool pool(threads);
        std::atomic<bool> asked = false;
        std::atomic<size_t> done = 0;
        pool.set_go_on([&] {
            asked = true;
            return false;
        });
        try {
            pool.parallel_for(1000, 1, [&](size_t begin, size_t end) {
                while (!asked) std::this_thread::yield();
                done += end - begin;
            });
            ADD_FAILURE() << "went on";
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::kCancelled);
        }
        EXPECT_LT(done, 1000u);
        pool.set_go_on({});
        done = 0;
        pool.parallel_for(1000, 1, [&](size_t begin, size_t end) { done += end - begin; });
        EXPECT_EQ(done, 1000u);
    }
}

TEST(ThreadPool, ManyComeAndGo) {
    for (int round = 0; round < 50; ++round) {
        ThreadPool pool(4);
        if (round % 2 == 0) pool.parallel_for(8, 1, [](size_t, size_t) {});
    }
}

TEST(ThreadPool, PinnedWorkersStayWhereTheyArePut) {
    ThreadPool pool(usable_processors().size(), true);
    const std::thread::id caller = std::this_thread::get_id();
    std::mutex mutex;
    std::set<int> pinned_to;
    const auto note = [&](size_t, size_t) {
        cpu_set_t set;
        ASSERT_EQ(::sched_getaffinity(0, sizeof set, &set), 0);
        const std::lock_guard lock(mutex);
        if (std::this_thread::get_id() == caller) {
            EXPECT_EQ(CPU_COUNT(&set), static_cast<int>(usable_processors().size()));
            return;
        }
        EXPECT_EQ(CPU_COUNT(&set), 1);
        for (const Processor& processor : usable_processors()) {
            if (CPU_ISSET(processor.id, &set)) pinned_to.insert(processor.id);
        }
    };
    for (int round = 0; round < 100; ++round) pool.parallel_for(64, 1, note);
    EXPECT_LT(pinned_to.size(), pool.threads());
    EXPECT_EQ(pinned_to.count(usable_processors().front().id), 0u) << "that one is the caller's";
}

TEST(ThreadPool, TakesTheCoresThereAreByDefault) {
    EXPECT_EQ(ThreadPool(0).threads(), available_cores());
    EXPECT_GE(available_cores(), 1u);
}

}  // namespace
}  // namespace sluice
