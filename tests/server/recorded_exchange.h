#pragma once

#include <string>
#include <vector>

#include "server/exchange.h"
#include "server/json.h"

namespace sluice::server {

// Keeps what would be sent. What is posted runs at once.
class RecordedExchange final : public Exchange {
  public:
    void respond(Response response) override { whole = std::move(response); }
    void begin_stream(Response response) override { head = std::move(response); }
    void write(std::string bytes) override { stream += bytes; }
    void end() override { ended = true; }
    size_t unsent() const override { return unsent_bytes; }
    void on_gone(std::function<void()> action) override { gone = std::move(action); }
    void post(std::function<void()> action) override { action(); }

    // The data of the events so far; those that are not JSON as texts.
    std::vector<Json> events() const {
        std::vector<Json> all;
        for (size_t at = stream.find("data: "); at != std::string::npos; at = stream.find("data: ", at + 1)) {
            const std::string data = stream.substr(at + 6, stream.find("\n\n", at) - at - 6);
            Json value = Json::parse(data, nullptr, false);
            all.push_back(value.is_discarded() ? Json(data) : value);
        }
        return all;
    }

    std::optional<Response> whole, head;
    std::string stream;
    bool ended = false;
    size_t unsent_bytes = 0;
    std::function<void()> gone;
};

}  // namespace sluice::server
