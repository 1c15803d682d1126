#include "base/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "base/progress.h"

namespace sluice {
namespace {

// The exit status of a child that runs `body`; -1 where a signal ended it.
template <typename Body>
int status_of(Body body) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(body());
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int say_all() {
    tell("to whom it may concern: {}\n", 5);
    log_warning("a warning {}", 6);
    const Progress progress("work", 10);
    return 7;
}

TEST(Log, AStderrThatTakesNothingEndsNothing) {
    EXPECT_EQ(status_of([] {
                  ::dup2(::open("/dev/full", O_WRONLY), STDERR_FILENO);
                  return say_all();
              }),
              7);
    EXPECT_EQ(status_of([] {
                  ::close(STDERR_FILENO);
                  return say_all();
              }),
              7);
}

TEST(Progress, ALineFitsItsTerminal) {
    EXPECT_EQ(bar_line("packing", 0.5, 12, 80), "packing [##############..............]  50 %  12 s left");
    for (size_t columns = 0; columns < 60; ++columns) {
        EXPECT_LT(bar_line("packing", 0.3, 100, columns).size(), std::max<size_t>(columns, 1)) << columns;
    }
    EXPECT_EQ(bar_line("packing", 0.5, 12, 25), "packing  50 %  12 s left") << "without its bar";
}

TEST(Log, ClosedStreamsAreNoPlaceForOtherFiles) {
    EXPECT_EQ(status_of([] {
                  ::close(STDERR_FILENO);
                  ::close(STDOUT_FILENO);
                  hold_standard_streams();
                  const int other = ::open("/dev/null", O_RDONLY);
                  if (other <= STDERR_FILENO) return 1;
                  if (::write(STDERR_FILENO, "x", 1) != 1) return 2;
                  return ::write(STDOUT_FILENO, "x", 1) == -1 ? 0 : 3;  // lost results stay an error
              }),
              0);
}

}  // namespace
}  // namespace sluice
