#include "peers/peers.h"

#include <dlfcn.h>
#include <sched.h>

#include <chrono>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "peers/alone/alone.h"
#include "peers/mpi/module.h"
#include "sluice/launch.h"

namespace sluice {

namespace {

// An answer that comes soon is looked for all the time; the longer it takes, the seldomer.
constexpr double kEagerSeconds = 2e-3;
constexpr double kPatientSeconds = 1;
constexpr auto kShortPause = std::chrono::microseconds(50);
constexpr auto kLongPause = std::chrono::milliseconds(1);

void pause(double waited) {
    if (waited < kEagerSeconds) {
        ::sched_yield();
    } else {
        std::this_thread::sleep_for(waited < kPatientSeconds ? std::chrono::microseconds(kShortPause) : kLongPause);
    }
}

}  // namespace

std::unique_ptr<Peers> join_peers() {
    if (!launched().with_others()) return std::make_unique<AlonePeers>();
    // MPI's libraries are for those who run under a launcher: nobody else loads them.
    void* const module = ::dlopen(kMpiModule, RTLD_NOW | RTLD_GLOBAL);
    if (module == nullptr) {
        fail(ErrorCode::kUnsupported,
             "started as one of {} processes, but this program cannot reach the others ({}); build it where MPI is "
             "(libopenmpi-dev)",
             launched().size, ::dlerror());
    }
    const auto join = reinterpret_cast<JoinMpi*>(::dlsym(module, kJoinMpi));
    if (join == nullptr) fail(ErrorCode::kUnsupported, "{} is another version's", kMpiModule);
    return std::unique_ptr<Peers>(join());
}

bool wait_for(const Event& event, double seconds, const std::function<void()>& meanwhile) {
    const Stopwatch watch;
    while (!event.done()) {
        const double waited = watch.seconds();
        if (waited > seconds) return false;
        if (meanwhile) meanwhile();
        pause(waited);
    }
    return true;
}

}  // namespace sluice
