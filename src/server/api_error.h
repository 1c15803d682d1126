#pragma once

#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "server/http_message.h"

namespace sluice::server {

// What a request is answered with when it cannot be served; each API writes it in its own form.
struct ApiError : std::runtime_error {
    int status;
    std::string type = "invalid_request_error";  // as OpenAI names it
    std::optional<std::string> param = {};       // the field at fault: "messages.0.role"
    std::optional<std::string> code = {};
    int retry_after = 0;     // seconds; 0: no say
    std::string allow = {};  // methods, of a 405

    // Of the message, which may quote the client, one line is made.
    ApiError(int http_status, std::string message);
};

// The message begins with the field.
ApiError bad_field(const std::string& field, std::string_view why);
ApiError context_exceeded(const std::string& field, size_t tokens, size_t context);
ApiError model_not_found(const std::string& asked, const std::string& served);
ApiError wrong_key();
ApiError not_allowed(const std::string& why);
ApiError no_such_endpoint(const std::string& path);
ApiError wrong_method(const std::string& method, const std::string& path, const std::string& allow);
ApiError queue_full(int retry_after);
ApiError not_ready(bool draining);
ApiError internal_error(const std::string& message);
// The one that the exception in flight is; what is none of ours becomes an internal error.
ApiError current_error();

// How an API writes errors.
struct ErrorForm {
    // The body of a response.
    std::string (*body)(const ApiError& error, const std::string& request_id);
    bool second_id_header;  // `request-id` beside `x-request-id`
};

// The form for a path: the API is chosen by where it lives.
const ErrorForm& error_form(std::string_view path);

Response error_response(const ApiError& error, const Request& request);

// {"message", "type", "param", "code"}, as text of JSON: for events in streams too.
std::string openai_error_body(const ApiError& error, const std::string& request_id);
std::string anthropic_error_body(const ApiError& error, const std::string& request_id);

}  // namespace sluice::server
