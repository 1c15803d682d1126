#include "server/responses_fields.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <limits>

#include "server/generation_fields.h"
#include "server/openai_fields.h"

namespace sluice::server {

namespace {

constexpr std::array<std::string_view, 4> kItemRoles = {"system", "developer", "user", "assistant"};
// Items of tools that are left out of the prompt; so are they.
constexpr std::array<std::string_view, 8> kLeftOut = {
    "web_search_call",  "file_search_call",        "computer_call",         "computer_call_output",
    "local_shell_call", "local_shell_call_output", "code_interpreter_call", "image_generation_call"};

// Items to messages: reasoning, text and calls of one turn are one message.
class ItemReader {
  public:
    explicit ItemReader(Json& messages) : messages_(messages) {}

    void read(const Json& value, const std::string& path) {
        const Fields item = Fields::of(value, path);
        const std::string* given = item.text("type");
        const std::string type = given ? *given : "message";
        if (type == "message") {
            message(item);
        } else if (type == "reasoning") {
            reasoning(item);
        } else if (type == "function_call" || type == "custom_tool_call") {
            call(item, type == "function_call");
        } else if (type == "function_call_output" || type == "custom_tool_call_output") {
            messages_.push_back({{"role", "tool"},
                                 {"content", content_text(item.find("output"), item.path("output"))},
                                 {"tool_call_id", item.needed_text("call_id")}});
        } else if (std::ranges::find(kLeftOut, type) == kLeftOut.end()) {
            item.fail("type", fmt::format("'{}' is not supported", type.substr(0, 40)));
        }
    }

  private:
    void message(const Fields& item) {
        const std::string& role = item.needed_text("role");
        if (std::ranges::find(kItemRoles, role) == kItemRoles.end()) {
            item.fail("role", fmt::format("'{}' is none of system, developer, user, assistant", role.substr(0, 40)));
        }
        const std::string text = content_text(item.find("content"), item.path("content"));
        if (role != "assistant") {
            messages_.push_back({{"role", role}, {"content", text}});
            return;
        }
        Json& turn = assistant_turn("content");
        turn["content"] = text;
    }

    void reasoning(const Fields& item) {
        std::string text;
        if (const Json* content = item.array("content")) {
            for (const Json& part : *content) {
                if (part.is_object() && part.contains("text") && part["text"].is_string()) {
                    text += part["text"].get<std::string>();
                }
            }
        }
        if (!text.empty()) assistant_turn("reasoning_content")["reasoning_content"] = text;
    }

    void call(const Fields& item, bool function) {
        Json& turn = assistant_turn({});
        const std::string arguments =
            function ? item.needed_text("arguments") : to_text({{"input", item.needed_text("input")}});
        turn["tool_calls"].push_back({{"id", item.needed_text("call_id")},
                                      {"type", "function"},
                                      {"function", {{"name", item.needed_text("name")}, {"arguments", arguments}}}});
    }

    // The message of the turn that is going on; a new one where it has that member already, or calls, after which only
    // further calls belong to it.
    Json& assistant_turn(std::string_view member) {
        const bool going = !messages_.empty() && messages_.back()["role"] == "assistant";
        const Json* last = going ? &messages_.back() : nullptr;
        const bool taken =
            last != nullptr && !member.empty() &&
            (last->contains("tool_calls") || (member == "content" && !(*last)["content"].get<std::string>().empty()) ||
             (member == "reasoning_content" &&
              (last->contains("reasoning_content") || !(*last)["content"].get<std::string>().empty())));
        if (!going || taken) messages_.push_back({{"role", "assistant"}, {"content", ""}});
        return messages_.back();
    }

    Json& messages_;
};

void read_input(const Fields& fields, ChatRequest& request) {
    Json& messages = request.conversation.messages;
    if (const std::string* instructions = fields.text("instructions"); instructions && !instructions->empty()) {
        messages.push_back({{"role", "system"}, {"content", *instructions}});
    }
    const Json* input = fields.find("input");
    if (input == nullptr) fields.fail("input", "is missing; a string or an array of items is needed");
    if (input->is_string()) {
        messages.push_back({{"role", "user"}, {"content", input->get<std::string>()}});
        return;
    }
    if (!input->is_array()) fields.fail("input", "must be a string or an array of items");
    if (input->empty()) fields.fail("input", "must not be empty");
    ItemReader reader(messages);
    for (size_t i = 0; i < input->size(); ++i) reader.read((*input)[i], fmt::format("input.{}", i));
}

void read_response_tools(const Fields& fields, ChatRequest& request) {
    Json& tools = request.conversation.tools;
    if (const Json* given = fields.array("tools")) {
        for (size_t i = 0; i < given->size(); ++i) {
            const std::string path = fmt::format("tools.{}", i);
            // Other kinds are left out of the prompt.
            if (Fields::of((*given)[i], path).needed_text("type") == "function") {
                tools.push_back(function_tool((*given)[i], path));
            }
        }
    }
    request.tool_choice = read_tool_choice(fields, tools);
    request.parallel_calls = fields.boolean("parallel_tool_calls").value_or(true);
}

}  // namespace

ChatRequest read_responses_request(const RequestDefaults& defaults, const Fields& fields) {
    for (const std::string_view name : {"previous_response_id", "conversation", "prompt"}) {
        if (fields.find(name)) fields.fail(name, "nothing is stored here; send the whole conversation as input");
    }
    ChatRequest request;
    request.conversation.field = "input";
    request.options = read_sampling(fields, defaults);
    read_input(fields, request);
    read_response_tools(fields, request);
    if (const Json* text = fields.object("text")) {
        const Json* format = Fields(*text, "text").find("format");
        if (format != nullptr) request.rule = read_format(*format, "text.format");
    }
    if (const Json* reasoning = fields.object("reasoning")) {
        if (const std::string* effort = Fields(*reasoning, "reasoning").text("effort")) {
            request.conversation.template_variables["reasoning_effort"] = *effort;
            if (*effort == "none") request.conversation.template_variables["enable_thinking"] = false;
        }
    }
    request.max_tokens = fields.integer("max_output_tokens", 1, std::numeric_limits<int64_t>::max());
    return request;
}

}  // namespace sluice::server
