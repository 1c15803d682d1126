#include "server/workers.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <future>

namespace sluice::server {
namespace {

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// With memory for the stacks of a few threads only. Returns whether a task is done all the same.
bool works_with_a_few_threads() {
    rlimit limit{};
    ::getrlimit(RLIMIT_AS, &limit);
    std::ifstream in("/proc/self/statm");
    uint64_t pages = 0;
    in >> pages;
    limit.rlim_cur = pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)) + (uint64_t{100} << 20);
    ::setrlimit(RLIMIT_AS, &limit);
    std::promise<void> done;
    Workers workers(60);
    workers.run([&done] { done.set_value(); });
    return done.get_future().wait_for(std::chrono::seconds(30)) == std::future_status::ready;
}

TEST(Workers, AreAsManyAsTheSystemStarts) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::alarm(60);  // a hang is a failure
        ::_exit(works_with_a_few_threads() ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
    EXPECT_EQ(WEXITSTATUS(status), 0);
}
#endif

}  // namespace
}  // namespace sluice::server
