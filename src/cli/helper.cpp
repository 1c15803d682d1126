#include "cli/helper.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/error.h"
#include "base/log.h"
#include "cli/command_line.h"
#include "cli/verb.h"
#include "sluice/error.h"
#include "sluice/launch.h"

namespace sluice::cli {

namespace {

void say_nothing() {
    set_log_level(LogLevel::kQuiet);
    const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere < 0) return;
    ::dup2(nowhere, STDOUT_FILENO);
    ::dup2(nowhere, STDERR_FILENO);
    ::close(nowhere);
}

std::string host_name() {
    char name[256] = {};
    return ::gethostname(name, sizeof name - 1) == 0 ? name : "this host";
}

// Launchers give the status that a process died of, each in its own way. So that a job ends with status 1 whatever
// becomes of one that helps, what the launcher sees is a process that waits for it.
[[noreturn]] void wait_for_helper(pid_t helper) {
    int status = 0;
    while (::waitpid(helper, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status)) ::_exit(WEXITSTATUS(status));
    const int signal = WTERMSIG(status);
    ::_exit(complain(fmt::format("{} (rank {}): was ended by signal {} ({}); the job ends", host_name(),
                                 launched().rank, signal, ::strsignal(signal)),
                     kExitFailed));
}

}  // namespace

void become_helper() {
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) std::signal(signal, SIG_IGN);
    const pid_t waiting = ::getpid(), helper = ::fork();
    if (helper < 0) fail(ErrorCode::kIo, "{} (rank {}): fork: {}", host_name(), launched().rank, errno_text(errno));
    if (helper > 0) wait_for_helper(helper);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != waiting) ::_exit(kExitFailed);
    say_nothing();
}

}  // namespace sluice::cli
