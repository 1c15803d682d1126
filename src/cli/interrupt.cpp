#include "cli/interrupt.h"

#include <unistd.h>

#include <atomic>
#include <csignal>

namespace sluice::cli {

namespace {

std::atomic<bool> asked{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may touch nothing else");

void on_signal(int number) {
    if (asked.exchange(true)) ::_exit(128 + number);
}

}  // namespace

void watch_for_interrupt() {
    struct sigaction action {};
    action.sa_handler = on_signal;  // without SA_RESTART: a read from the terminal returns
    ::sigemptyset(&action.sa_mask);
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() {
    return asked.load();
}

void forget_interrupt() {
    asked.store(false);
}

}  // namespace sluice::cli
