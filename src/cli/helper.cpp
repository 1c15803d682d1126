#include "cli/helper.h"

#include <fcntl.h>
#include <unistd.h>

#include <csignal>

#include "base/log.h"

namespace sluice::cli {

void become_helper() {
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) std::signal(signal, SIG_IGN);
    set_log_level(LogLevel::kQuiet);
    const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere < 0) return;
    ::dup2(nowhere, STDOUT_FILENO);
    ::dup2(nowhere, STDERR_FILENO);
    ::close(nowhere);
}

}  // namespace sluice::cli
