#pragma once

#include <atomic>

namespace sluice::cli {

// Ctrl-C (SIGINT), SIGTERM and a terminal that is closed (SIGHUP) end the process at once with status 128 + signal, as
// long as there is nothing to finish; while an InterruptHold lives they ask the work at hand to stop in order, and only
// a second one ends the process.
void watch_for_interrupt();
bool interrupted();
// Not by Ctrl-C: a conversation ends too.
bool asked_to_end();
// The same as a flag, for what ends by one.
const std::atomic<bool>& interrupt_flag();
// Forgets the request, for a conversation that goes on after a reply was cut short.
void forget_interrupt();

class InterruptHold {
  public:
    InterruptHold();
    ~InterruptHold();
    InterruptHold(const InterruptHold&) = delete;
    InterruptHold& operator=(const InterruptHold&) = delete;
};

}  // namespace sluice::cli
