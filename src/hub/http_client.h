#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>

namespace sluice::hub {

// Of an answer; names in lower case. After redirects the headers of all answers are together, the last one's value
// where several have one.
struct HttpAnswer {
    long status = 0;
    std::map<std::string, std::string> headers;

    std::string header(const std::string& name) const;  // empty where there is none
};

// A request whose body may come in pieces.
struct HttpRequest {
    std::string address;
    uint64_t offset = 0;        // asks for the bytes from here on
    bool headers_only = false;  // a HEAD, which follows redirects inside the same host alone
    // A piece of the body of an answer of status 200 or 206; false ends the transfer.
    std::function<bool(const HttpAnswer& answer, std::span<const std::byte> piece)> body = {};
    std::function<bool()> go_on = {};  // asked several times a second; false cancels
};

// Requests over HTTP and HTTPS, one after the other over kept connections. One thread.
class HttpClient {
  public:
    // `token`: sent as the bearer's to the host that is asked, not to those it redirects to; empty: none.
    explicit HttpClient(std::string token);
    ~HttpClient();
    HttpClient(const HttpClient&) = delete;
    HttpClient& operator=(const HttpClient&) = delete;

    // Whatever status comes is an answer. Throws kIo where none comes, or where the body is cut off, with the address
    // and the reason; kCancelled.
    HttpAnswer ask(const HttpRequest& request);

    struct Impl;

  private:
    std::unique_ptr<Impl> impl_;
};

// "a b/c" as part of an address: "a%20b/c".
std::string escaped_path(const std::string& path);

}  // namespace sluice::hub
