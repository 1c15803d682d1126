#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "server/http_message.h"

namespace sluice::server {

// The answer to one request: whole, or a head and pieces until end(). Every method may be called from any thread; what
// one thread asks for happens in that order. What is sent to a client that is gone is dropped.
class Exchange {
  public:
    virtual ~Exchange() = default;

    virtual void respond(Response response) = 0;
    virtual void begin_stream(Response head) = 0;
    virtual void write(std::string bytes) = 0;
    virtual void end() = 0;

    // Bytes that the client has not taken yet.
    virtual size_t unsent() const = 0;
    // Runs on the network's thread, once, when the client goes away before the answer is complete; at once where it
    // has.
    virtual void on_gone(std::function<void()> action) = 0;
    // Runs `action` on the network's thread.
    virtual void post(std::function<void()> action) = 0;
};

// Who answers. Called on the network's thread, so nothing here may wait or compute for long.
class RequestHandler {
  public:
    virtual ~RequestHandler() = default;

    // Once the head of a request is known: a response refuses it before its body is read.
    virtual std::optional<Response> refuse(const Request& head) = 0;
    virtual void handle(Request request, std::shared_ptr<Exchange> exchange) = 0;
    // The response to what is no proper request; of it at most the head is known.
    virtual Response malformed(const Request& head, int status, const std::string& why) = 0;
    // Adds the headers that every response to this request has.
    virtual void decorate(const Request& head, Response& response) = 0;
};

struct WireLimits {
    uint64_t body_bytes = uint64_t{32} << 20;
    double header_seconds = 10;  // from a request's first byte to the end of its headers
};

// Listens, and serves connections on one thread of its own. Names are resolved and the port is taken by the
// constructor, which throws kIo in one line.
class Wire {
  public:
    Wire(const std::string& host, uint16_t port, const WireLimits& limits, RequestHandler& handler);
    ~Wire();  // closes every connection
    Wire(const Wire&) = delete;
    Wire& operator=(const Wire&) = delete;

    uint16_t port() const;
    void start();
    // No new connections; those that are open end with their answers.
    void stop_listening();
    // Answers that are not complete, or not yet taken by their clients.
    size_t open_answers() const;
    // Runs `action` on the network's thread every `seconds` until the wire ends. Before start() alone.
    void every(double seconds, std::function<void()> action);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::server
