#include "server/sse.h"

namespace sluice::server {

void EventStream::begin(std::string_view type) {
    Response head{.type = std::string(type)};
    head.headers = {{"cache-control", "no-cache"}, {"x-accel-buffering", "no"}};
    exchange_->begin_stream(std::move(head));
}

void EventStream::write(std::string bytes) {
    last_written_ = Clock::now();
    exchange_->write(std::move(bytes));
}

void EventStream::event(std::string_view name, const Json& data) {
    std::string bytes;
    if (!name.empty()) bytes.append("event: ").append(name).append("\n");
    write(bytes.append("data: ").append(to_text(data)).append("\n\n"));
}

void EventStream::data(std::string_view text) {
    write(std::string("data: ").append(text).append("\n\n"));
}

void EventStream::comment(std::string_view text) {
    write(std::string(": ").append(text).append("\n\n"));
}

void EventStream::line(const Json& value) {
    write(to_text(value) + "\n");
}

void EventStream::end() {
    exchange_->end();
}

}  // namespace sluice::server
