#include "server/access.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cctype>

namespace sluice::server {

namespace {

constexpr std::array<std::string_view, 3> kLocalHosts = {"localhost", "127.0.0.1", "[::1]"};

std::string lower(std::string_view text) {
    std::string out(text);
    for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return out;
}

std::string_view without_port(std::string_view host) {
    const size_t bracket = host.rfind(']');
    const size_t colon = host.rfind(':');
    if (colon == std::string_view::npos || (bracket != std::string_view::npos && colon < bracket)) return host;
    return host.substr(0, colon);
}

std::string_view bearer_of(std::string_view authorization) {
    constexpr std::string_view kScheme = "bearer ";
    if (authorization.size() < kScheme.size() || lower(authorization.substr(0, kScheme.size())) != kScheme) return {};
    return authorization.substr(kScheme.size());
}

}  // namespace

bool equal_in_constant_time(std::string_view a, std::string_view b) {
    unsigned difference = a.size() == b.size() ? 0 : 1;
    for (size_t i = 0; i < a.size(); ++i) {
        const char other = b.empty() ? '\0' : b[i % b.size()];
        difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(other);
    }
    return difference == 0;
}

bool Access::key_right(const Request& request) const {
    bool right = false;
    for (const std::string_view given : {bearer_of(request.header("authorization")), request.header("x-api-key")}) {
        if (given.empty()) continue;
        for (const std::string& key : options_.api_keys) right |= equal_in_constant_time(given, key);
    }
    return right;
}

bool Access::host_allowed(std::string_view host) const {
    const std::string name = lower(without_port(host));
    if (std::ranges::find(kLocalHosts, name) != kLocalHosts.end()) return true;
    return std::ranges::any_of(options_.allowed_hosts, [&](const std::string& allowed) {
        return lower(allowed) == name || lower(allowed) == lower(host);
    });
}

bool Access::cors_origin(std::string_view origin) const {
    return std::ranges::find(options_.cors_origins, origin) != options_.cors_origins.end();
}

bool Access::origin_allowed(const Request& request) const {
    const std::string origin = lower(request.header("origin")), host = lower(request.header("host"));
    return origin == "http://" + host || origin == "https://" + host || cors_origin(request.header("origin"));
}

std::optional<ApiError> Access::refuse(const Request& request, bool open) const {
    if (!options_.api_keys.empty()) {
        if (open || request.method == "OPTIONS" || key_right(request)) return {};
        return wrong_key();
    }
    // Without a key only this machine's own programs are meant: neither a name that was made to lead here nor a page of
    // another origin.
    if (request.has("host") && !host_allowed(request.header("host"))) {
        return not_allowed(fmt::format("Host: '{}' is not this machine; --allow-host or --api-key would do",
                                       request.header("host").substr(0, 100)));
    }
    if (request.has("origin") && !origin_allowed(request)) {
        // A preflight is answered without the headers that would allow anything.
        if (request.method == "OPTIONS") return {};
        return not_allowed("Origin: pages of other origins are not served; --cors ORIGIN would do");
    }
    return {};
}

void Access::add_cors_headers(const Request& request, Response& response) const {
    if (options_.cors_origins.empty()) return;
    response.headers.emplace_back("vary", "Origin");
    const std::string_view origin = request.header("origin");
    if (origin.empty() || !cors_origin(origin)) return;
    response.headers.emplace_back("access-control-allow-origin", std::string(origin));
    response.headers.emplace_back("access-control-expose-headers", "x-request-id, request-id, retry-after");
    if (request.method != "OPTIONS" || !request.has("access-control-request-method")) return;
    response.headers.emplace_back("access-control-allow-methods", "GET, HEAD, POST, OPTIONS");
    response.headers.emplace_back("access-control-max-age", "600");
    const std::string_view asked = request.header("access-control-request-headers");
    if (!asked.empty()) response.headers.emplace_back("access-control-allow-headers", std::string(asked));
}

}  // namespace sluice::server
