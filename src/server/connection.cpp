#include "server/connection.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cctype>
#include <chrono>

namespace sluice::server {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

namespace {

constexpr uint32_t kHeaderBytes = 64 << 10;
// What a client may send ahead while its request is being answered.
constexpr size_t kAheadBytes = 1 << 20;
// A refused body up to this size is read to its end, so that the connection can go on.
constexpr uint64_t kSkippedBodyBytes = 64 << 10;
constexpr size_t kWriteBytes = 64 << 10;

constexpr double kIdleSeconds = 75;
constexpr double kBodySeconds = 60;    // between two pieces of a body
constexpr double kWriteSeconds = 600;  // for a client to take anything at all
constexpr double kLeavingSeconds = 2;  // for a client to read the last answer

std::string lower(boost::beast::string_view text) {
    std::string out(text.data(), text.size());
    for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return out;
}

int status_of(const error_code& error) {
    if (error == http::error::header_limit) return 431;
    if (error == http::error::body_limit) return 413;
    return 400;
}

std::string reason_of(const error_code& error, const WireLimits& limits) {
    if (error == http::error::header_limit) return fmt::format("headers: more than {} bytes", kHeaderBytes);
    if (error == http::error::body_limit)
        return fmt::format("body: more than the limit of {} bytes", limits.body_bytes);
    return fmt::format("not a proper HTTP/1.1 request: {}", error.message());
}

}  // namespace

struct Connection::Parser {
    explicit Parser(uint64_t body_bytes) {
        parser.header_limit(kHeaderBytes);
        parser.body_limit(body_bytes);
    }
    http::request_parser<http::string_body> parser;
};

// The exchange of one request of a connection.
class ConnectionExchange final : public Exchange {
  public:
    ConnectionExchange(std::shared_ptr<Connection> connection, uint64_t answer)
        : connection_(std::move(connection)), answer_(answer) {}

    // An answer that nobody gave is a fault of ours; its client must not wait for ever.
    ~ConnectionExchange() override {
        asio::post(connection_->socket_.get_executor(), [connection = connection_, answer = answer_] {
            if (connection->answer_ == answer && connection->state_ == Connection::State::kBusy) connection->close();
        });
    }

    void respond(Response response) override {
        run([response = std::move(response)](Connection& connection) mutable {
            const uint64_t length = response.body.size();
            connection.close_after_ |= response.close;
            std::string bytes = connection.head_of(response, &length);
            if (connection.request_.method != "HEAD") bytes += response.body;
            connection.send(std::move(bytes));
            connection.answer_complete();
        });
    }

    void begin_stream(Response head) override {
        run([head = std::move(head)](Connection& connection) mutable {
            connection.answer_chunked_ = !connection.request_.http_1_0;
            connection.close_after_ |= connection.request_.http_1_0;
            connection.send(connection.head_of(head, nullptr));
        });
    }

    void write(std::string bytes) override {
        if (bytes.empty()) return;
        run([bytes = std::move(bytes)](Connection& connection) mutable {
            connection.send(connection.answer_chunked_ ? chunk_of(bytes) : std::move(bytes));
        });
    }

    void end() override {
        run([](Connection& connection) {
            if (connection.answer_chunked_) connection.send(chunk_of({}));
            connection.answer_complete();
        });
    }

    size_t unsent() const override { return connection_->unsent_; }

    void on_gone(std::function<void()> action) override {
        asio::dispatch(connection_->socket_.get_executor(), [connection = connection_, answer = answer_,
                                                             action = std::move(action)]() mutable {
            if (connection->answer_ != answer || connection->state_ != Connection::State::kBusy || connection->ended_) {
                return action();
            }
            connection->on_gone_ = std::move(action);
        });
    }

    void post(std::function<void()> action) override {
        asio::post(connection_->socket_.get_executor(), std::move(action));
    }

  private:
    template <typename Action>
    void run(Action action) {
        asio::dispatch(connection_->socket_.get_executor(),
                       [connection = connection_, answer = answer_, action = std::move(action)]() mutable {
                           if (connection->answer_ != answer || connection->state_ != Connection::State::kBusy) return;
                           action(*connection);
                       });
    }

    std::shared_ptr<Connection> connection_;
    uint64_t answer_;
};

Connection::Connection(Socket socket, WireState& wire)
    : socket_(std::move(socket)), wire_(wire), timer_(socket_.get_executor()) {}

Connection::~Connection() = default;

void Connection::start() {
    error_code ignored;
    socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
    expire_in(kIdleSeconds);
    read();
}

void Connection::close() {
    if (state_ == State::kClosed) return;
    client_gone();
    state_ = State::kClosed;
    error_code ignored;
    socket_.close(ignored);
    timer_.cancel();
    outgoing_.clear();
    unsent_ = 0;
    count_answer();
}

void Connection::expire_in(double seconds) {
    timer_.expires_after(std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000)));
    timer_.async_wait([self = shared_from_this()](const error_code& error) {
        if (!error) self->close();
    });
}

// Reads while there is room for what comes, also during an answer: the end of the connection shows there.
void Connection::read() {
    if (reading_ || ended_ || state_ == State::kClosed || pending_.size() >= kAheadBytes) return;
    reading_ = true;
    socket_.async_read_some(asio::buffer(incoming_), [self = shared_from_this()](const error_code& error, size_t n) {
        self->reading_ = false;
        self->on_bytes(error, n);
    });
}

void Connection::on_bytes(const error_code& error, size_t count) {
    if (state_ == State::kClosed) return;
    if (error) {
        ended_ = true;
        // Whoever closes one direction alone still gets an answer that comes by itself, but none that takes work.
        if (state_ == State::kBusy && error == asio::error::eof) return client_gone();
        if (state_ == State::kLeaving && error == asio::error::eof && unsent_ > 0) return;
        return close();
    }
    if (state_ == State::kLeaving) return read();
    pending_.append(incoming_.data(), count);
    advance();
}

void Connection::advance() {
    while ((state_ == State::kHead || state_ == State::kBody) && parse()) {
    }
    if (state_ != State::kClosed) read();
}

bool Connection::parse() {
    if (state_ == State::kHead && parser_ == nullptr) {
        pending_.erase(0, std::min(pending_.size(), pending_.find_first_not_of("\r\n")));
        if (pending_.empty()) {
            expire_in(kIdleSeconds);
            return false;
        }
        parser_ = std::make_unique<Parser>(wire_.limits.body_bytes);
        request_ = {};
        request_.id = fmt::format("req_{}{:06x}", wire_.id_prefix, wire_.next_request++);
        expire_in(wire_.limits.header_seconds);
    }
    auto& parser = parser_->parser;
    error_code error;
    const size_t used = parser.put(asio::buffer(pending_), error);
    pending_.erase(0, used);
    if (error && error != http::error::need_more) {
        malformed(status_of(error), reason_of(error, wire_.limits));
        return false;
    }
    if (state_ == State::kHead && parser.is_header_done()) {
        take_head();
        if (!accept_head()) return false;
        state_ = State::kBody;
        parser.eager(true);
    }
    if (parser.is_done()) {
        dispatch();
        return state_ == State::kHead;
    }
    if (state_ == State::kBody) expire_in(kBodySeconds);
    return used > 0 && !pending_.empty();
}

void Connection::take_head() {
    const auto& message = parser_->parser.get();
    request_.method.assign(message.method_string().data(), message.method_string().size());
    request_.path = path_of_target({message.target().data(), message.target().size()});
    request_.http_1_0 = message.version() < 11;
    request_.headers.clear();
    for (const auto& field : message) {
        request_.headers.emplace_back(lower(field.name_string()),
                                      std::string(field.value().data(), field.value().size()));
    }
}

bool Connection::accept_head() {
    auto& parser = parser_->parser;
    const auto hosts =
        std::ranges::count_if(request_.headers, [](const auto& header) { return header.first == "host"; });
    if (hosts > 1 || (hosts == 0 && !request_.http_1_0)) {
        malformed(400, "Host: exactly one is needed");
        return false;
    }
    if (request_.has("transfer-encoding") && !parser.chunked()) {
        malformed(400, "Transfer-Encoding: only chunked is understood");
        return false;
    }
    close_after_ = request_.http_1_0 || !parser.keep_alive();
    const bool expects = request_.has("expect") && !request_.http_1_0;
    if (expects && lower(parser.get()["expect"]) != "100-continue") {
        malformed(417, "Expect: only 100-continue is understood");
        return false;
    }
    if (std::optional<Response> refusal = wire_.handler.refuse(request_)) {
        const auto length = parser.content_length();
        const bool short_body = !parser.chunked() && (!length || *length <= kSkippedBodyBytes);
        if (expects || !short_body) {
            refuse(std::move(*refusal));
            return false;
        }
    }
    if (expects && !parser.is_done()) send("HTTP/1.1 100 Continue\r\n\r\n");
    return true;
}

void Connection::dispatch() {
    request_.body = std::move(parser_->parser.get().body());
    parser_.reset();
    timer_.cancel();
    state_ = State::kBusy;
    ++answer_;
    answer_chunked_ = false;
    on_gone_ = nullptr;
    count_answer();
    auto exchange = std::make_shared<ConnectionExchange>(shared_from_this(), answer_);
    Request request = request_;
    request_.body.clear();
    // Refused before, but its body had to be read first.
    if (std::optional<Response> refusal = wire_.handler.refuse(request)) return exchange->respond(std::move(*refusal));
    wire_.handler.handle(std::move(request), std::move(exchange));
}

void Connection::malformed(int status, const std::string& why) {
    if (request_.method.empty()) take_head();
    refuse(wire_.handler.malformed(request_, status, why));
}

// Answers at once; what the client still sends is thrown away.
void Connection::refuse(Response response) {
    parser_.reset();
    pending_.clear();
    close_after_ = true;
    const uint64_t length = response.body.size();
    std::string bytes = head_of(response, &length);
    if (request_.method != "HEAD") bytes += response.body;
    state_ = State::kBusy;
    ++answer_;
    send(std::move(bytes));
    answer_complete();
    read();
}

std::string Connection::head_of(Response& response, const uint64_t* length) {
    close_after_ |= wire_.draining;
    wire_.handler.decorate(request_, response);
    return response_head(response, {.http_1_0 = request_.http_1_0, .close = close_after_, .length = length});
}

void Connection::send(std::string bytes) {
    unsent_ += bytes.size();
    outgoing_.push_back(std::move(bytes));
    if (writing_.empty()) write();
}

void Connection::write() {
    while (!outgoing_.empty() && writing_.size() < kWriteBytes) {
        writing_ += outgoing_.front();
        outgoing_.pop_front();
    }
    if (state_ == State::kBusy) expire_in(kWriteSeconds);
    asio::async_write(socket_, asio::buffer(writing_),
                      [self = shared_from_this()](const error_code& error, size_t n) { self->on_written(error, n); });
}

void Connection::on_written(const error_code& error, size_t count) {
    writing_.clear();
    if (state_ == State::kClosed) return;
    if (error) return close();
    unsent_ -= count;
    if (!outgoing_.empty()) return write();
    if (state_ == State::kBusy) timer_.cancel();
    if (state_ == State::kLeaving) return leave();
    count_answer();
}

void Connection::answer_complete() {
    on_gone_ = nullptr;
    if (close_after_ || ended_) {
        state_ = State::kLeaving;
        expire_in(kWriteSeconds);
        if (unsent_ == 0) leave();
        return;
    }
    state_ = State::kHead;
    count_answer();
    // Not from within: a client that sends many requests at once must not deepen the stack.
    asio::post(socket_.get_executor(), [self = shared_from_this()] { self->advance(); });
}

// All is sent. A connection that is closed with unread bytes in it would take the answer along.
void Connection::leave() {
    count_answer();
    error_code ignored;
    socket_.shutdown(Socket::shutdown_send, ignored);
    if (ended_) return close();
    expire_in(kLeavingSeconds);
    read();
}

void Connection::client_gone() {
    if (const std::function<void()> action = std::exchange(on_gone_, nullptr)) action();
}

void Connection::count_answer() {
    const bool open = state_ == State::kBusy || (state_ != State::kClosed && unsent_ > 0);
    if (open == counted_) return;
    counted_ = open;
    open ? ++wire_.open_answers : --wire_.open_answers;
}

}  // namespace sluice::server
