#pragma once

#include <system_error>
#include <thread>
#include <utility>

#include "base/error.h"

namespace sluice {

// A thread that runs `body`. Throws kOutOfMemory in place of std::system_error where the system starts no more. Whoever
// keeps several must end those that run when a later one does not start.
template <typename Body>
std::thread start_thread(Body&& body) {
    try {
        return std::thread(std::forward<Body>(body));
    } catch (const std::system_error& error) {
        fail(ErrorCode::kOutOfMemory,
             "a thread could not be started ({}); fewer --threads, or a higher limit of processes (`ulimit -u`, or the "
             "container's) or of memory (`ulimit -v`) would do",
             errno_text(error.code().value()));
    }
}

}  // namespace sluice
