#include "server/api_error.h"

#include <fmt/core.h>

#include <array>
#include <utility>

#include "server/json.h"
#include "sluice/peer_error.h"

namespace sluice::server {

namespace {

struct AnthropicType {
    int status;
    std::string_view type;
};
constexpr std::array kAnthropicTypes = {
    AnthropicType{401, "authentication_error"}, AnthropicType{403, "permission_error"},
    AnthropicType{404, "not_found_error"},      AnthropicType{405, "not_found_error"},
    AnthropicType{413, "request_too_large"},    AnthropicType{429, "rate_limit_error"},
    AnthropicType{503, "overloaded_error"},
};

std::string_view anthropic_type(int status) {
    for (const AnthropicType& each : kAnthropicTypes) {
        if (each.status == status) return each.type;
    }
    return status >= 500 ? "api_error" : "invalid_request_error";
}

std::string ollama_error_body(const ApiError& error, const std::string&) {
    return to_text({{"error", error.what()}});
}

struct Family {
    std::string_view prefix;
    ErrorForm form;
};
// The first whose prefix a path has.
constexpr std::array kFamilies = {
    Family{"/v1/messages", {anthropic_error_body, true}},
    Family{"/api/", {ollama_error_body, false}},
    Family{"", {openai_error_body, false}},
};

std::string one_line(std::string text) {
    for (char& c : text) {
        if (static_cast<unsigned char>(c) < ' ') c = ' ';
    }
    return text;
}

}  // namespace

ApiError::ApiError(int http_status, std::string message)
    : std::runtime_error(one_line(std::move(message))), status(http_status) {}

ApiError bad_field(const std::string& field, std::string_view why) {
    ApiError error(400, fmt::format("{}: {}", field, why));
    error.param = field;
    return error;
}

ApiError context_exceeded(const std::string& field, size_t tokens, size_t context) {
    ApiError error = bad_field(field, fmt::format("the prompt has {} tokens and the context holds {}, of which one at "
                                                  "least must be left for the answer",
                                                  tokens, context));
    error.code = "context_length_exceeded";
    return error;
}

ApiError model_not_found(const std::string& asked, const std::string& served) {
    ApiError error(404, fmt::format("model: '{}' is not served here; this server has '{}'", asked, served));
    error.param = "model";
    error.code = "model_not_found";
    return error;
}

ApiError wrong_key() {
    ApiError error(401, "the API key is missing or wrong; give one as `Authorization: Bearer KEY` or `x-api-key: KEY`");
    error.type = "authentication_error";
    error.code = "invalid_api_key";
    return error;
}

ApiError not_allowed(const std::string& why) {
    return {403, why};
}

ApiError no_such_endpoint(const std::string& path) {
    ApiError error(404, fmt::format("there is no endpoint {}", path.substr(0, 200)));
    error.code = "not_found";
    return error;
}

ApiError wrong_method(const std::string& method, const std::string& path, const std::string& allow) {
    ApiError error(405, fmt::format("{} is not for {}; it takes {}", method.substr(0, 40), path.substr(0, 200), allow));
    error.code = "not_found";
    error.allow = allow;
    return error;
}

ApiError queue_full(int retry_after) {
    ApiError error(429, "all places are taken and the queue is full; try again later");
    error.type = "rate_limit_error";
    error.code = "rate_limit_exceeded";
    error.retry_after = retry_after;
    return error;
}

ApiError not_ready(bool draining) {
    ApiError error(503, draining ? "the server is shutting down" : "the model is being loaded; try again soon");
    error.type = "server_error";
    error.code = draining ? "shutting_down" : "loading";
    error.retry_after = 1;
    return error;
}

ApiError internal_error(const std::string& message) {
    ApiError error(500, message);
    error.type = "server_error";
    return error;
}

ApiError current_error() {
    try {
        throw;
    } catch (const ApiError& error) {
        return error;
    } catch (const std::bad_alloc&) {
        return internal_error("out of memory");
    } catch (const PeerError& error) {
        return internal_error(error.what());
    } catch (const Error& error) {
        // Messages of the engine may name files; those are for the log.
        if (error.code() == ErrorCode::kUsage) return {400, error.what()};
        if (error.code() == ErrorCode::kOutOfMemory) return internal_error("out of memory");
        if (error.code() == ErrorCode::kIo) return internal_error("reading the model failed");
        return internal_error("the model could not evaluate this request");
    } catch (const std::exception&) {
        return internal_error("an internal error");
    }
}

const ErrorForm& error_form(std::string_view path) {
    for (const Family& family : kFamilies) {
        if (path.starts_with(family.prefix)) return family.form;
    }
    return kFamilies.back().form;
}

Response error_response(const ApiError& error, const Request& request) {
    Response response{.status = error.status, .body = error_form(request.path).body(error, request.id)};
    if (error.retry_after > 0) response.headers.emplace_back("retry-after", std::to_string(error.retry_after));
    if (!error.allow.empty()) response.headers.emplace_back("allow", error.allow);
    if (error.status == 401) response.headers.emplace_back("www-authenticate", "Bearer");
    return response;
}

std::string openai_error_body(const ApiError& error, const std::string&) {
    Json body = {{"message", error.what()}, {"type", error.type}, {"param", nullptr}, {"code", nullptr}};
    if (error.param) body["param"] = *error.param;
    if (error.code) body["code"] = *error.code;
    return to_text({{"error", std::move(body)}});
}

std::string anthropic_error_body(const ApiError& error, const std::string& request_id) {
    return to_text({{"type", "error"},
                    {"error", {{"type", anthropic_type(error.status)}, {"message", error.what()}}},
                    {"request_id", request_id}});
}

}  // namespace sluice::server
