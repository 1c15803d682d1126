#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "server/api_error.h"
#include "server/http_message.h"
#include "server/server.h"

namespace sluice::server {

// Who may ask: keys, hosts, origins. Immutable.
class Access {
  public:
    explicit Access(const ServerOptions& options) : options_(options) {}

    // What forbids the request; `open`: its endpoint needs no key.
    std::optional<ApiError> refuse(const Request& request, bool open) const;
    // The headers that let a page of an allowed origin read the response.
    void add_cors_headers(const Request& request, Response& response) const;

    // Whether a request without a key may name this host: "localhost:8080".
    bool host_allowed(std::string_view host) const;

  private:
    bool key_right(const Request& request) const;
    bool origin_allowed(const Request& request) const;
    bool cors_origin(std::string_view origin) const;

    const ServerOptions& options_;
};

// Takes the same time wherever two texts of one length differ.
bool equal_in_constant_time(std::string_view a, std::string_view b);

}  // namespace sluice::server
