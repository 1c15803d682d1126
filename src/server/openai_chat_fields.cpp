// What a body of /v1/chat/completions says.

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>

#include "server/generation_fields.h"
#include "server/openai_fields.h"

namespace sluice::server {

namespace {

constexpr std::array<std::string_view, 5> kChatRoles = {"system", "developer", "user", "assistant", "tool"};

Json read_chat_calls(const Json& calls, const std::string& path) {
    Json out = Json::array();
    for (size_t i = 0; i < calls.size(); ++i) {
        const Fields call = Fields::of(calls[i], fmt::format("{}.{}", path, i));
        const Json* function = call.object("function");
        if (function == nullptr) call.fail("function", "is missing");
        const Fields named(*function, call.path("function"));
        const Json* arguments = named.find("arguments");
        const std::string* id = call.text("id");
        out.push_back({{"id", id ? *id : std::string()},
                       {"type", "function"},
                       {"function",
                        {{"name", named.needed_text("name")},
                         {"arguments", arguments == nullptr     ? std::string()
                                       : arguments->is_string() ? arguments->get<std::string>()
                                                                : to_text(*arguments)}}}});
    }
    return out;
}

Json read_chat_message(const Json& message, const std::string& path) {
    const Fields fields = Fields::of(message, path);
    const std::string& role = fields.needed_text("role");
    if (std::ranges::find(kChatRoles, role) == kChatRoles.end()) {
        fields.fail("role", fmt::format("'{}' is none of {}", role.substr(0, 40), fmt::join(kChatRoles, ", ")));
    }
    Json out = {{"role", role}, {"content", content_text(fields.find("content"), fields.path("content"))}};
    if (const std::string* name = fields.text("name")) out["name"] = *name;
    if (role == "tool") out["tool_call_id"] = fields.needed_text("tool_call_id");
    if (role != "assistant") return out;
    for (const std::string_view name : {"reasoning_content", "reasoning"}) {
        const Json* reasoning = fields.find(name);
        if (reasoning != nullptr && reasoning->is_string()) out["reasoning_content"] = *reasoning;
    }
    if (const Json* calls = fields.array("tool_calls"); calls != nullptr && !calls->empty()) {
        out["tool_calls"] = read_chat_calls(*calls, fields.path("tool_calls"));
    }
    return out;
}

void read_chat_messages(const Fields& fields, ChatRequest& request) {
    const Json* messages = fields.array("messages");
    if (messages == nullptr) fields.fail("messages", "is missing; an array of messages is needed");
    if (messages->empty()) fields.fail("messages", "must not be empty");
    for (size_t i = 0; i < messages->size(); ++i) {
        request.conversation.messages.push_back(read_chat_message((*messages)[i], fmt::format("messages.{}", i)));
    }
}

void read_chat_tools(const Fields& fields, ChatRequest& request) {
    Json& tools = request.conversation.tools;
    if (const Json* given = fields.array("tools")) {
        for (size_t i = 0; i < given->size(); ++i) {
            const Fields tool = Fields::of((*given)[i], fmt::format("tools.{}", i));
            if (tool.needed_text("type") != "function") continue;
            const Json* function = tool.find("function");
            if (function == nullptr) tool.fail("function", "is missing");
            tools.push_back(function_tool(*function, tool.path("function")));
        }
    }
    request.tool_choice = read_tool_choice(fields, tools);
    request.parallel_calls = fields.boolean("parallel_tool_calls").value_or(true);
}

void read_chat_output(const Fields& fields, ChatRequest& request) {
    if (const Json* format = fields.find("response_format")) request.rule = read_format(*format, "response_format");
    if (const std::string* grammar = fields.text("grammar")) {
        if (request.rule.kind != RuleKind::kFree) fields.fail("grammar", "excludes response_format");
        request.rule = {.kind = RuleKind::kGrammar, .text = *grammar, .field = "grammar"};
    }
    constexpr int64_t kAny = std::numeric_limits<int64_t>::max();
    const auto most = fields.integer("max_tokens", 1, kAny);
    const auto most_completion = fields.integer("max_completion_tokens", 1, kAny);
    request.max_tokens = most_completion ? most_completion : most;
    request.stop = fields.texts("stop", kMostOpenAiStops);
    request.choices = static_cast<size_t>(fields.integer("n", 1, kMostChoices).value_or(1));
    const bool wanted = fields.boolean("logprobs").value_or(false);
    const auto top = fields.integer("top_logprobs", 0, kMostLogProbabilities);
    if (top.value_or(0) > 0 && !wanted) fields.fail("top_logprobs", "needs logprobs: true");
    if (wanted) request.options.log_probabilities = static_cast<size_t>(top.value_or(0));
}

void read_template_variables(const Fields& fields, ChatRequest& request) {
    if (const Json* given = fields.object("chat_template_kwargs")) request.conversation.template_variables = *given;
    if (const std::string* effort = fields.text("reasoning_effort")) {
        request.conversation.template_variables["reasoning_effort"] = *effort;
        if (*effort == "none") request.conversation.template_variables["enable_thinking"] = false;
    }
}

}  // namespace

ChatRequest read_chat_request(const RequestDefaults& defaults, const Fields& fields) {
    ChatRequest request;
    request.options = read_sampling(fields, defaults);
    read_chat_messages(fields, request);
    read_chat_tools(fields, request);
    read_chat_output(fields, request);
    read_template_variables(fields, request);
    return request;
}

}  // namespace sluice::server
