#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::server {

using Headers = std::vector<std::pair<std::string, std::string>>;

// A request as it came over the wire. Names of headers are in lower case.
struct Request {
    std::string id = {};      // unique; the answer's x-request-id
    std::string method = {};  // "GET"
    std::string path = {};    // percent-decoded, without the query
    Headers headers = {};
    std::string body = {};
    bool http_1_0 = false;

    // The value of the first header of that name; empty where there is none.
    std::string_view header(std::string_view name) const;
    bool has(std::string_view name) const;
};

struct Response {
    int status = 200;
    std::string type = "application/json";
    std::string body = {};
    Headers headers = {};
    bool close = false;  // no further request on this connection
};

// "Too Many Requests"
std::string_view reason_phrase(int status);

// The path of a request's target without scheme, host and query, percent-decoded. Empty where it is no path.
std::string path_of_target(std::string_view target);

// The line of the status and all headers. `length`: of the body; without one it comes in chunks, or until the end of
// the connection under HTTP/1.0.
struct HeadOptions {
    bool http_1_0 = false;
    bool close = false;
    const uint64_t* length = nullptr;
};
std::string response_head(const Response& response, const HeadOptions& options);

// One piece of a body that comes in chunks; an empty one ends it.
std::string chunk_of(std::string_view bytes);

}  // namespace sluice::server
