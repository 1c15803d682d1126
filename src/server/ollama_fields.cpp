#include "server/ollama_fields.h"

#include <fmt/core.h>

#include "server/openai_fields.h"

namespace sluice::server {

namespace {

// `options` hold what the other APIs have beside the messages, under names of their own.
// "json", a schema, or nothing at all, which some clients write as an empty text.
OutputRule read_ollama_format(const Fields& fields) {
    const Json* format = fields.find("format");
    if (format == nullptr || *format == "") return {};
    if (*format == "json") return {.kind = RuleKind::kJsonObject, .field = "format"};
    if (!format->is_object()) fields.fail("format", "must be json or a JSON schema");
    return {.kind = RuleKind::kJsonSchema, .text = to_text(*format), .field = "format"};
}

void read_ollama_options(const RequestDefaults& defaults, const Fields& fields, ChatRequest& request) {
    static const Json kNone = Json::object();
    const Json* given = fields.object("options");
    Json options = given ? *given : kNone;
    if (options.contains("repeat_penalty")) options["repetition_penalty"] = options["repeat_penalty"];
    const Fields read(options, "options");
    request.options = read_sampling(read, defaults);
    if (const auto most = read.integer("num_predict", -2, int64_t{1} << 40); most && *most > 0) {
        request.max_tokens = *most;
    }
    request.stop = read.texts("stop", kMostStops);
    request.rule = read_ollama_format(fields);
    const Json* think = fields.find("think");
    if (think != nullptr && think->is_boolean()) request.conversation.template_variables["enable_thinking"] = *think;
    if (think != nullptr && think->is_string()) request.conversation.template_variables["reasoning_effort"] = *think;
}

Json read_ollama_message(const Json& message, const std::string& path, std::string& last_call) {
    const Fields fields = Fields::of(message, path);
    const std::string& role = fields.needed_text("role");
    if (role != "system" && role != "user" && role != "assistant" && role != "tool") {
        fields.fail("role", fmt::format("'{}' is none of system, user, assistant, tool", role.substr(0, 40)));
    }
    if (const Json* images = fields.array("images"); images && !images->empty()) {
        fields.fail("images", "are not supported");
    }
    Json out = {{"role", role}, {"content", content_text(fields.find("content"), fields.path("content"))}};
    if (role == "tool") out["tool_call_id"] = last_call;
    if (const std::string* thinking = fields.text("thinking")) out["reasoning_content"] = *thinking;
    const Json* calls = fields.array("tool_calls");
    for (size_t i = 0; calls != nullptr && i < calls->size(); ++i) {
        const Fields call = Fields::of((*calls)[i], fmt::format("{}.{}", fields.path("tool_calls"), i));
        const Json* function = call.object("function");
        if (function == nullptr) call.fail("function", "is missing");
        const Fields named(*function, call.path("function"));
        const Json* arguments = named.find("arguments");
        last_call = fmt::format("call_{}", i);
        out["tool_calls"].push_back({{"id", last_call},
                                     {"type", "function"},
                                     {"function",
                                      {{"name", named.needed_text("name")},
                                       {"arguments", arguments ? to_text(*arguments) : std::string("{}")}}}});
    }
    return out;
}

void read_ollama_tools(const Fields& fields, ChatRequest& request) {
    const Json* tools = fields.array("tools");
    for (size_t i = 0; tools != nullptr && i < tools->size(); ++i) {
        const Fields tool = Fields::of((*tools)[i], fmt::format("tools.{}", i));
        const Json* function = tool.object("function");
        if (function == nullptr) tool.fail("function", "is missing");
        request.conversation.tools.push_back(function_tool(*function, tool.path("function")));
    }
}

}  // namespace

ChatRequest read_ollama_chat(const RequestDefaults& defaults, const Fields& fields) {
    ChatRequest request;
    read_ollama_options(defaults, fields, request);
    const Json* messages = fields.array("messages");
    std::string last_call;
    for (size_t i = 0; messages != nullptr && i < messages->size(); ++i) {
        request.conversation.messages.push_back(
            read_ollama_message((*messages)[i], fmt::format("messages.{}", i), last_call));
    }
    read_ollama_tools(fields, request);
    return request;
}

ChatRequest read_ollama_generate(const RequestDefaults& defaults, const Fields& fields) {
    ChatRequest request;
    read_ollama_options(defaults, fields, request);
    request.conversation.field = "prompt";
    const std::string* prompt = fields.text("prompt");
    if (prompt == nullptr || prompt->empty()) return request;
    if (const std::string* system = fields.text("system"); system && !system->empty()) {
        request.conversation.messages.push_back({{"role", "system"}, {"content", *system}});
    }
    request.conversation.messages.push_back({{"role", "user"}, {"content", *prompt}});
    return request;
}

}  // namespace sluice::server
