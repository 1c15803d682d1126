#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "server/exchange.h"
#include "server/json.h"

namespace sluice::server {

// A stream of server-sent events as the answer to a request. The network's thread alone.
class EventStream {
  public:
    using Clock = std::chrono::steady_clock;

    explicit EventStream(std::shared_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {}

    void begin(std::string_view type = "text/event-stream");
    // `name` empty: an event without one.
    void event(std::string_view name, const Json& data);
    void data(std::string_view text);
    void comment(std::string_view text);
    void line(const Json& value);  // of JSON lines, in place of events
    void end();

    Clock::time_point last_written() const { return last_written_; }

  private:
    void write(std::string bytes);

    std::shared_ptr<Exchange> exchange_;
    Clock::time_point last_written_ = Clock::now();
};

}  // namespace sluice::server
