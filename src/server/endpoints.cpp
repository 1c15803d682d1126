#include "server/endpoints.h"

#include <array>

namespace sluice::server {

namespace {

constexpr std::array kEndpoints = {
    Endpoint{"GET", "/", serve_page, true, true},
    Endpoint{"GET", "/health", serve_health, true, true},
    Endpoint{"GET", "/health/ready", serve_health, true, true},
    Endpoint{"GET", "/health/live", serve_liveness, true, true},
    Endpoint{"GET", "/metrics", serve_metrics, false, true},
    Endpoint{"GET", "/v1/sluice/status", serve_status},
    Endpoint{"GET", "/v1/models", serve_models},
    Endpoint{"GET", "/v1/models/*", serve_model},
    Endpoint{"POST", "/tokenize", serve_tokenize},
    Endpoint{"POST", "/detokenize", serve_detokenize},
    Endpoint{"POST", "/v1/chat/completions", serve_chat_completions},
    Endpoint{"POST", "/v1/completions", serve_completions},
    Endpoint{"POST", "/v1/responses", serve_responses},
    Endpoint{"POST", "/v1/messages", serve_messages},
    Endpoint{"POST", "/v1/messages/count_tokens", serve_count_tokens},
    Endpoint{"POST", "/api/chat", serve_ollama_chat},
    Endpoint{"POST", "/api/generate", serve_ollama_generate},
    Endpoint{"GET", "/api/tags", serve_ollama_tags},
    Endpoint{"POST", "/api/show", serve_ollama_show},
    Endpoint{"GET", "/api/version", serve_ollama_version},
    Endpoint{"GET", "/api/ps", serve_ollama_running},
};

bool matches(const Endpoint& endpoint, std::string_view path) {
    if (!endpoint.path.ends_with("/*")) return endpoint.path == path;
    const std::string_view start = endpoint.path.substr(0, endpoint.path.size() - 1);
    return path.size() > start.size() && path.starts_with(start);
}

}  // namespace

std::span<const Endpoint> endpoints() {
    return kEndpoints;
}

const Endpoint* find_endpoint(std::string_view method, std::string_view path) {
    for (const Endpoint& endpoint : kEndpoints) {
        if (matches(endpoint, path) && endpoint.method == (method == "HEAD" ? "GET" : method)) return &endpoint;
    }
    return nullptr;
}

std::string methods_of(std::string_view path) {
    std::string methods;
    for (const Endpoint& endpoint : kEndpoints) {
        if (!matches(endpoint, path)) continue;
        if (!methods.empty()) methods += ", ";
        methods += endpoint.method;
        if (endpoint.method == "GET") methods += ", HEAD";
    }
    return methods.empty() ? methods : methods + ", OPTIONS";
}

std::string_view endpoint_label(std::string_view path) {
    for (const Endpoint& endpoint : kEndpoints) {
        if (matches(endpoint, path)) return endpoint.path;
    }
    return "other";
}

}  // namespace sluice::server
