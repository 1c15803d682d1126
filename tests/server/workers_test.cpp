#include "server/workers.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <future>

#include "tests/support/address_space.h"

namespace sluice::server {
namespace {

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// With memory for the stacks of a few threads only. Returns whether a task is done all the same.
bool works_with_a_few_threads() {
    limit_address_space(uint64_t{100} << 20);
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
