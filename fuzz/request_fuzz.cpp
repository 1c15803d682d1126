// The body of a request: the first byte chooses the API, the rest is the JSON. It is read or refused with a status
// below 500 and one line, and what was read keeps to the ranges that the engine holds.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "server/anthropic_fields.h"
#include "server/completion_fields.h"
#include "server/http_message.h"
#include "server/ollama_fields.h"
#include "server/openai_fields.h"
#include "server/responses_fields.h"

namespace {

using sluice::server::ChatRequest;
using sluice::server::Fields;
using sluice::server::Json;
using sluice::server::RequestDefaults;

constexpr size_t kVocabulary = 1000;

void check(const sluice::SamplingOptions& sampling) {
    const bool fine = sampling.temperature >= 0 && sampling.temperature <= 2 && sampling.top_p > 0 &&
                      sampling.top_p <= 1 && sampling.top_k >= 0 && sampling.min_p >= 0 && sampling.min_p <= 1 &&
                      sampling.repetition_penalty > 0;
    if (!fine) std::abort();
    for (const auto& [id, bias] : sampling.logit_bias) {
        if (id < 0 || static_cast<size_t>(id) >= kVocabulary || bias < -100 || bias > 100) std::abort();
    }
}

// What templates and parsers rely on.
void check(const ChatRequest& request) {
    check(request.options.sampling);
    for (const Json& message : request.conversation.messages) {
        if (!message.at("role").is_string()) std::abort();
        if (message.contains("content") && !message["content"].is_string()) std::abort();
        if (!message.contains("tool_calls")) continue;
        for (const Json& call : message["tool_calls"]) {
            if (!call.at("function").at("name").is_string()) std::abort();
            if (!call["function"].at("arguments").is_string()) std::abort();
        }
    }
    for (const Json& tool : request.conversation.tools) {
        if (!tool.at("function").at("name").is_string()) std::abort();
        if (!tool["function"].at("parameters").is_object()) std::abort();
    }
}

void read_completion(const RequestDefaults& defaults, const Fields& fields) {
    const sluice::server::CompletionRequest request = read_completion_request(defaults, fields);
    check(request.options.sampling);
    if (request.prompts.empty() || request.choices == 0) std::abort();
}

template <ChatRequest (*kRead)(const RequestDefaults&, const Fields&)>
void read_chat(const RequestDefaults& defaults, const Fields& fields) {
    check(kRead(defaults, fields));
}

constexpr std::array kReaders = {
    &read_completion,
    &read_chat<sluice::server::read_chat_request>,
    &read_chat<sluice::server::read_messages_request>,
    &read_chat<sluice::server::read_responses_request>,
    &read_chat<sluice::server::read_ollama_chat>,
    &read_chat<sluice::server::read_ollama_generate>,
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0) return 0;
    const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
    sluice::server::path_of_target(text);
    try {
        const Json body = sluice::server::parse_body(text);
        kReaders[data[0] % kReaders.size()]({.sampling = {}, .vocabulary = kVocabulary}, Fields(body));
    } catch (const sluice::server::ApiError& error) {
        const std::string_view why = error.what();
        if (error.status >= 500 || why.empty() || why.find('\n') != std::string_view::npos) std::abort();
    }
    return 0;
}
