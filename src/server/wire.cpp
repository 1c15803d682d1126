#include <fmt/core.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/start_thread.h"
#include "server/connection.h"

namespace sluice::server {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

// Where no connection can be taken for now, such as for want of file descriptors.
constexpr auto kAcceptPause = std::chrono::milliseconds(100);

}  // namespace

struct Wire::Impl {
    struct Repeated {
        asio::steady_timer timer;
        std::chrono::microseconds interval;
        std::function<void()> action;
    };

    Impl(const WireLimits& limits, RequestHandler& handler) : state{.limits = limits, .handler = handler} {
        std::random_device random;
        state.id_prefix = fmt::format("{:08x}{:08x}", random(), random());
    }

    void listen(const std::string& host, uint16_t port) {
        error_code error;
        tcp::resolver resolver(context);
        const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive, error);
        if (error) fail(ErrorCode::kIo, "--host {}: {}", host, error.message());
        const tcp::endpoint endpoint = found.begin()->endpoint();
        acceptor.open(endpoint.protocol(), error);
        if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
        if (!error) acceptor.bind(endpoint, error);
        if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
        if (error == boost::system::errc::address_not_available) {
            fail(ErrorCode::kIo, "--host {}: no address of this machine; 0.0.0.0 is all of them", host);
        }
        if (error) fail(ErrorCode::kIo, "--port {}: {} ({}); another --port would do", port, error.message(), host);
        bound = acceptor.local_endpoint(error).port();
    }

    void accept() {
        acceptor.async_accept([this](const error_code& error, tcp::socket socket) {
            if (!acceptor.is_open()) return;
            if (!error) {
                const auto connection = std::make_shared<Connection>(std::move(socket), state);
                std::erase_if(connections, [](const auto& each) { return each.expired(); });
                connections.push_back(connection);
                connection->start();
                return accept();
            }
            pause.expires_after(kAcceptPause);
            pause.async_wait([this](const error_code& stopped) {
                if (!stopped && acceptor.is_open()) accept();
            });
        });
    }

    void repeat(Repeated& task) {
        task.timer.expires_after(task.interval);
        task.timer.async_wait([this, &task](const error_code& stopped) {
            if (stopped) return;
            task.action();
            repeat(task);
        });
    }

    WireState state;
    asio::io_context context{1};
    tcp::acceptor acceptor{context};
    asio::steady_timer pause{context};
    uint16_t bound = 0;
    std::vector<std::weak_ptr<Connection>> connections;
    std::vector<std::unique_ptr<Repeated>> repeated;
    std::thread thread;
};

Wire::Wire(const std::string& host, uint16_t port, const WireLimits& limits, RequestHandler& handler)
    : impl_(std::make_unique<Impl>(limits, handler)) {
    impl_->listen(host, port);
}

Wire::~Wire() {
    if (!impl_->thread.joinable()) return;
    asio::post(impl_->context, [this] {
        error_code ignored;
        impl_->acceptor.close(ignored);
        impl_->pause.cancel();
        for (const auto& task : impl_->repeated) task->timer.cancel();
        for (const auto& each : impl_->connections) {
            if (const auto connection = each.lock()) connection->close();
        }
        impl_->context.stop();
    });
    impl_->thread.join();
}

uint16_t Wire::port() const {
    return impl_->bound;
}

void Wire::start() {
    impl_->accept();
    for (const auto& task : impl_->repeated) impl_->repeat(*task);
    impl_->thread = start_thread([this] { impl_->context.run(); });
}

void Wire::stop_listening() {
    asio::post(impl_->context, [this] {
        error_code ignored;
        impl_->acceptor.close(ignored);
        impl_->state.draining = true;
    });
}

size_t Wire::open_answers() const {
    return impl_->state.open_answers;
}

void Wire::every(double seconds, std::function<void()> action) {
    impl_->repeated.push_back(std::make_unique<Impl::Repeated>(
        Impl::Repeated{.timer = asio::steady_timer(impl_->context),
                       .interval = std::chrono::microseconds(static_cast<int64_t>(seconds * 1e6)),
                       .action = std::move(action)}));
}

}  // namespace sluice::server
