// The wire alone, byte for byte, with a handler of the test's.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "base/error.h"
#include "server/exchange.h"

namespace sluice::server {
namespace {

class Echo final : public RequestHandler {
  public:
    std::optional<Response> refuse(const Request& head) override {
        if (head.path == "/refused") return Response{.status = 403, .type = "text/plain", .body = "no"};
        return {};
    }
    void handle(Request request, std::shared_ptr<Exchange> exchange) override {
        if (request.path == "/stream") {
            exchange->begin_stream({.type = "text/plain"});
            exchange->write("one");
            exchange->write("two");
            return exchange->end();
        }
        exchange->respond({.type = "text/plain", .body = request.method + " " + request.path + " " + request.body});
    }
    Response malformed(const Request&, int status, const std::string& why) override {
        return {.status = status, .type = "text/plain", .body = why};
    }
    void decorate(const Request&, Response&) override {}
};

class WireTest : public ::testing::Test {
  protected:
    // All that comes back until the other side closes.
    std::string ask(const std::string& bytes) {
        const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(wire.port());
        ::inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
        EXPECT_EQ(::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        EXPECT_EQ(::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
        ::shutdown(socket, SHUT_WR);
        std::string all;
        char buffer[4096];
        for (ssize_t n; (n = ::recv(socket, buffer, sizeof buffer, 0)) > 0;) all.append(buffer, static_cast<size_t>(n));
        ::close(socket);
        return all;
    }
    void SetUp() override { wire.start(); }

    Echo echo;
    Wire wire{"127.0.0.1", 0, {.body_bytes = 100, .header_seconds = 5}, echo};
};

size_t count(const std::string& text, const std::string& what) {
    size_t n = 0;
    for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
    return n;
}

TEST_F(WireTest, AnswersPipelinedRequestsInOrder) {
    const std::string all =
        ask("GET /a HTTP/1.1\r\nHost: x\r\n\r\nPOST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
            "GET /c HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_EQ(count(all, "HTTP/1.1 200 OK"), 3u);
    EXPECT_LT(all.find("GET /a"), all.find("POST /b hi"));
    EXPECT_LT(all.find("POST /b hi"), all.find("GET /c"));
}

TEST_F(WireTest, StreamsInChunksOrUntilTheEnd) {
    EXPECT_NE(ask("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n").find("\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"),
              std::string::npos);
    const std::string old = ask("GET /stream HTTP/1.0\r\n\r\n");
    EXPECT_TRUE(old.ends_with("\r\n\r\nonetwo")) << old;
}

TEST_F(WireTest, BadFramingIsOneAnswerAndTheEnd) {
    const std::string smuggled = "GET /second HTTP/1.1\r\nHost: x\r\n\r\n";
    for (const std::string head : {"Content-Length: 5\r\nContent-Length: 6",
                                   "Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: xchunked",
                                   "Transfer-Encoding: gzip", "Content-Length: 5x", "Content-Length: -5", "Host: y"}) {
        const std::string all = ask("POST /a HTTP/1.1\r\nHost: x\r\n" + head + "\r\n\r\n" + smuggled);
        EXPECT_LE(count(all, "HTTP/1.1 4"), 1u) << head;
        EXPECT_EQ(all.find("/second"), std::string::npos) << head;
        EXPECT_EQ(count(all, "HTTP/1.1 200"), 0u) << head;
    }
}

TEST_F(WireTest, LimitsHaveTheirStatus) {
    EXPECT_EQ(ask("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n").find("HTTP/1.1 413"), 0u);
    EXPECT_EQ(ask("POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" + std::string(101, 'x'))
                  .find("HTTP/1.1 413"),
              0u);
    EXPECT_EQ(ask("GET /a HTTP/1.1\r\nHost: x\r\nX: " + std::string(70'000, 'a') + "\r\n\r\n").find("HTTP/1.1 431"),
              0u);
    EXPECT_EQ(ask("GET /a HTTP/1.1\r\n\r\n").find("HTTP/1.1 400"), 0u);
}

TEST_F(WireTest, ContinuesOnlyWhatItWillTake) {
    const std::string head = "Host: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    EXPECT_EQ(ask("POST /a HTTP/1.1\r\n" + head + "hi").find("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"), 0u);
    EXPECT_EQ(ask("POST /refused HTTP/1.1\r\n" + head).find("HTTP/1.1 403"), 0u);
}

TEST_F(WireTest, ATakenPortIsOneLine) {
    try {
        const Wire second("127.0.0.1", wire.port(), {}, echo);
        FAIL() << "the port was taken twice";
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("--port"), std::string::npos);
    }
}

}  // namespace
}  // namespace sluice::server
