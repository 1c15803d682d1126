#include "server/server.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "server/exchange.h"
#include "server/notify.h"
#include "server/service.h"

namespace sluice::server {

namespace {

constexpr auto kPoll = std::chrono::milliseconds(20);
// For the last bytes to leave once every answer is made.
constexpr double kFlushSeconds = 2;
// A launcher that ends a job because one of its processes died gives the others a second.
constexpr double kPeerSeconds = 0.5;

// Polls until `done`, `seconds` at most.
template <typename Done>
void wait_for(double seconds, const Done& done) {
    const Stopwatch watch;
    while (!done() && watch.seconds() < seconds) std::this_thread::sleep_for(kPoll);
}

}  // namespace

void serve(const ServerOptions& options, const std::function<std::unique_ptr<Engine>()>& open,
           const std::function<void(const Engine&, uint16_t)>& ready, const std::function<bool()>& should_stop) {
    Service service(options);
    Wire wire(options.host, static_cast<uint16_t>(options.port),
              {.body_bytes = options.max_body_bytes, .header_seconds = options.header_timeout_s}, service);
    // Often enough that no silence is longer than was asked for by more than a fifth.
    wire.every(std::clamp(options.keepalive_s / 5, 0.005, 1.0), [&service] { service.tick(); });
    wire.start();
    std::unique_ptr<Engine> engine = open();
    if (engine->tokenizer() == nullptr) {
        fail(ErrorCode::kUnsupported, "{} has no tokenizer.json, so text means nothing to it; serve needs one",
             engine->info().model_name);
    }
    service.open(std::move(engine));
    ready(service.engine(), wire.port());
    notify_service_manager("READY=1");
    while (!should_stop() && service.engine().lost().empty()) std::this_thread::sleep_for(kPoll);

    notify_service_manager("STOPPING=1");
    service.drain();
    service.engine().hurry_peers(kPeerSeconds);
    wire.stop_listening();
    log_info("serve: stopping; running requests have {} s", options.drain_s);
    wait_for(options.drain_s, [&] { return wire.open_answers() == 0; });
    service.give_up();
    wait_for(kFlushSeconds, [&] { return wire.open_answers() == 0; });
    service.engine().save_trace();
    if (const std::string lost = service.engine().lost(); !lost.empty()) fail(ErrorCode::kIo, "{}", lost);
}

}  // namespace sluice::server
