#include <csignal>
#include <exception>
#include <new>

#include "base/log.h"
#include "cli/command_line.h"
#include "cli/helper.h"
#include "cli/interrupt.h"
#include "cli/verb.h"
#include "sluice/error.h"
#include "sluice/launch.h"

namespace sluice::cli {

namespace {

int run(int argc, char** argv) {
    // MPICH's launcher tells of another's death by it, where it leaves the others alone.
    if (launched().with_others()) std::signal(SIGUSR1, SIG_IGN);
    const bool helper = launched().rank != 0;
    if (helper) become_helper();
    const Parsed parsed = parse_command_line(argc, argv);
    if (!parsed.run) return parsed.status;
    if (!helper) {
        parsed.run();
    } else if (parsed.help) {
        parsed.help();
    }
    return interrupted() ? kExitInterrupted : kExitDone;
}

int guarded(int argc, char** argv) {
    try {
        return run(argc, argv);
    } catch (const UsageError& error) {
        return complain(error.what(), kExitUsage);
    } catch (const Error& error) {
        if (interrupted() && error.code() == ErrorCode::kCancelled)
            return complain(std::string("interrupted: ") + error.what(), kExitInterrupted);
        return complain(error.what(), kExitFailed);
    } catch (const std::bad_alloc&) {
        return complain("out of memory; give a smaller `ram_bytes`, `context` or `chunk`", kExitFailed);
    } catch (const std::exception& error) {
        return complain(error.what(), kExitFailed);
    }
}

}  // namespace

}  // namespace sluice::cli

int main(int argc, char** argv) {
    // A closed stdout shows as a failed write, which ends the work in order instead of killing the process.
    std::signal(SIGPIPE, SIG_IGN);
    sluice::hold_standard_streams();
    std::signal(SIGXFSZ, SIG_IGN);  // `ulimit -f`: the write then fails, as on a full drive
    sluice::set_log_level(sluice::LogLevel::kNormal);
    sluice::cli::watch_for_interrupt();
    return sluice::cli::guarded(argc, argv);
}
