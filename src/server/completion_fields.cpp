#include "server/completion_fields.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>

namespace sluice::server {

namespace {

constexpr const char* kPromptForms = "must be a string, token ids, or an array of either";

bool all_are(const Json& list, bool (Json::*is)() const noexcept) {
    return std::ranges::all_of(list, [&](const Json& each) { return (each.*is)(); });
}

std::vector<TokenId> read_ids(const Fields& fields, const Json& list, size_t vocabulary) {
    std::vector<TokenId> ids;
    for (const Json& each : list) {
        const bool fits = each.is_number_integer() && each.get<int64_t>() >= 0 &&
                          each.get<int64_t>() < static_cast<int64_t>(vocabulary);
        if (!fits) fields.fail("prompt", fmt::format("token ids must be integers below {}", vocabulary));
        ids.push_back(each.get<TokenId>());
    }
    if (ids.empty()) fields.fail("prompt", "a list of token ids must not be empty");
    return ids;
}

std::vector<PlainPrompt> read_prompts(const Fields& fields, size_t vocabulary) {
    const Json* prompt = fields.find("prompt");
    if (prompt == nullptr) fields.fail("prompt", std::string("is missing; it ") + kPromptForms);
    if (prompt->is_string()) return {prompt->get<std::string>()};
    if (!prompt->is_array() || prompt->empty()) fields.fail("prompt", kPromptForms);
    if (all_are(*prompt, &Json::is_number)) return {read_ids(fields, *prompt, vocabulary)};
    std::vector<PlainPrompt> prompts;
    for (const Json& each : *prompt) {
        if (each.is_string()) {
            prompts.emplace_back(each.get<std::string>());
        } else if (each.is_array()) {
            prompts.emplace_back(read_ids(fields, each, vocabulary));
        } else {
            fields.fail("prompt", kPromptForms);
        }
    }
    return prompts;
}

}  // namespace

CompletionRequest read_completion_request(const RequestDefaults& defaults, const Fields& fields) {
    CompletionRequest request;
    request.options = read_sampling(fields, defaults);
    request.prompts = read_prompts(fields, defaults.vocabulary);
    request.choices = static_cast<size_t>(fields.integer("n", 1, kMostChoices).value_or(1));
    request.options.stop = fields.texts("stop", kMostOpenAiStops);
    if (const auto top = fields.integer("logprobs", 0, kMostLogProbabilities)) {
        request.options.log_probabilities = static_cast<size_t>(*top);
    }
    const auto most = fields.integer("max_tokens", 0, std::numeric_limits<int64_t>::max());
    request.max_tokens = most.value_or(request.max_tokens);
    request.echo = fields.boolean("echo").value_or(false);
    return request;
}

}  // namespace sluice::server
