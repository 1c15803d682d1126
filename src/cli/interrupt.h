#pragma once

namespace sluice::cli {

// Ctrl-C (SIGINT) and SIGTERM ask the work at hand to stop in order; a second one ends the process at once.
void watch_for_interrupt();
bool interrupted();
// Forgets the request, for a conversation that goes on after a reply was cut short.
void forget_interrupt();

}  // namespace sluice::cli
