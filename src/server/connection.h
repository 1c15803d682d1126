#pragma once

#include <array>
#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "server/exchange.h"

namespace sluice::server {

// What all connections of a wire share.
struct WireState {
    WireLimits limits;
    RequestHandler& handler;
    bool draining = false;                   // the network's thread alone
    std::atomic<size_t> open_answers = 0;    // see Wire::open_answers
    std::atomic<uint64_t> next_request = 0;  // makes ids unique within this process
    std::string id_prefix = {};              // and over processes
};

// One client: requests one after the other, each answered before the next is looked at. The network's thread alone.
class Connection : public std::enable_shared_from_this<Connection> {
  public:
    using Socket = boost::asio::ip::tcp::socket;

    Connection(Socket socket, WireState& wire);
    ~Connection();

    void start();
    void close();

  private:
    friend class ConnectionExchange;
    struct Parser;
    enum class State {
        kHead,     // before or in the head of a request
        kBody,     // in its body
        kBusy,     // its answer is not complete
        kLeaving,  // the last answer is being sent
        kClosed
    };

    void read();
    void on_bytes(const boost::system::error_code& error, size_t count);
    void advance();
    bool parse();  // false: more bytes are needed, or there is nothing left to do
    void take_head();
    bool accept_head();  // false: refused
    void dispatch();
    void malformed(int status, const std::string& why);
    void refuse(Response response);

    void send(std::string bytes);
    void write();
    void on_written(const boost::system::error_code& error, size_t count);
    std::string head_of(Response& response, const uint64_t* length);
    void answer_complete();
    void leave();
    void client_gone();
    void expire_in(double seconds);
    void count_answer();

    Socket socket_;
    WireState& wire_;
    boost::asio::steady_timer timer_;
    State state_ = State::kHead;

    std::array<char, 16384> incoming_;
    bool reading_ = false;
    bool ended_ = false;   // the client sends no more
    std::string pending_;  // read and not parsed
    std::unique_ptr<Parser> parser_;
    Request request_;

    std::deque<std::string> outgoing_;
    std::string writing_;
    std::atomic<size_t> unsent_ = 0;
    bool close_after_ = false;
    bool counted_ = false;

    uint64_t answer_ = 0;  // counts requests: an exchange of an earlier one has no say any more
    bool answer_chunked_ = false;
    std::function<void()> on_gone_;
};

}  // namespace sluice::server
