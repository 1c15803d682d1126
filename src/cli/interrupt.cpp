#include "cli/interrupt.h"

#include <unistd.h>

#include <atomic>
#include <csignal>

namespace sluice::cli {

namespace {

std::atomic<bool> asked{false};
std::atomic<bool> ending{false};
std::atomic<int> holds{0};
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free,
              "a signal handler may touch nothing else");

void on_signal(int number) {
    if (number != SIGINT) ending.store(true);
    const bool again = asked.exchange(true);
    if (holds.load() > 0 && !again) return;
    constexpr char kWord[] = "sluice: interrupted\n";
    // Nothing can be done about a standard error that is gone.
    if (::write(STDERR_FILENO, kWord, sizeof kWord - 1) < 0) ::_exit(128 + number);
    ::_exit(128 + number);
}

}  // namespace

void watch_for_interrupt() {
    struct sigaction action {};
    action.sa_handler = on_signal;  // without SA_RESTART: a read from the terminal returns
    ::sigemptyset(&action.sa_mask);
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
    // Whoever started it with nohup wants it to outlive the terminal.
    struct sigaction before {};
    ::sigaction(SIGHUP, nullptr, &before);
    if (before.sa_handler != SIG_IGN) ::sigaction(SIGHUP, &action, nullptr);
}

bool interrupted() {
    return asked.load();
}

bool asked_to_end() {
    return ending.load();
}

const std::atomic<bool>& interrupt_flag() {
    return asked;
}

void forget_interrupt() {
    asked.store(false);
}

InterruptHold::InterruptHold() {
    ++holds;
}

InterruptHold::~InterruptHold() {
    --holds;
}

}  // namespace sluice::cli
