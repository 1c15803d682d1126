#include "server/anthropic_fields.h"

#include <fmt/core.h>

#include "server/generation_fields.h"
#include "server/openai_fields.h"

namespace sluice::server {

namespace {

// Claude Code's first system block, different in every request: it would spoil every kept prefix.
constexpr std::string_view kBillingHeader = "x-anthropic-billing-header:";

// A text, or blocks of text, of which those that are dropped are left out.
std::string blocks_text(const Json* content, const std::string& path) {
    if (content == nullptr) return {};
    if (content->is_string()) return content->get<std::string>();
    if (!content->is_array()) throw bad_field(path, "must be a string or an array of blocks");
    std::string text;
    for (size_t i = 0; i < content->size(); ++i) {
        const Fields block = Fields::of((*content)[i], fmt::format("{}.{}", path, i));
        const std::string& type = block.needed_text("type");
        if (type != "text") block.fail("type", fmt::format("'{}' is not supported here; text is", type.substr(0, 40)));
        const std::string& piece = block.needed_text("text");
        if (!piece.starts_with(kBillingHeader)) text += piece;
    }
    return text;
}

// The messages that one message comes to: results of tools are messages of their own.
class MessageReader {
  public:
    MessageReader(Json& messages, const Json& message, std::string path)
        : messages_(messages), fields_(Fields::of(message, path)), path_(std::move(path)) {}

    void read() {
        const std::string& role = fields_.needed_text("role");
        if (role != "user" && role != "assistant" && role != "system") {
            fields_.fail("role", fmt::format("'{}' is none of user, assistant, system", role.substr(0, 40)));
        }
        const Json* content = fields_.find("content");
        if (content == nullptr) fields_.fail("content", "is missing; a string or an array of blocks is needed");
        if (role == "system") {
            messages_.push_back({{"role", role}, {"content", blocks_text(content, fields_.path("content"))}});
            return;
        }
        begin(role);
        if (content->is_string()) {
            text_ = content->get<std::string>();
            return flush(true);
        }
        if (!content->is_array()) fields_.fail("content", "must be a string or an array of blocks");
        for (size_t i = 0; i < content->size(); ++i) block((*content)[i], fmt::format("{}.content.{}", path_, i));
        flush(messages_.size() == before_);
    }

  private:
    void begin(const std::string& role) {
        assistant_ = role == "assistant";
        before_ = messages_.size();
    }

    void block(const Json& value, const std::string& path) {
        const Fields block = Fields::of(value, path);
        const std::string& type = block.needed_text("type");
        if (type == "text") {
            text_ += block.needed_text("text");
        } else if (type == "thinking" && assistant_) {
            reasoning_ += block.needed_text("thinking");
        } else if (type == "redacted_thinking" && assistant_) {
            return;  // nobody here can read it
        } else if (type == "tool_use" && assistant_) {
            const Json* input = block.object("input");
            calls_.push_back(
                {{"id", block.needed_text("id")},
                 {"type", "function"},
                 {"function",
                  {{"name", block.needed_text("name")}, {"arguments", input ? to_text(*input) : std::string("{}")}}}});
        } else if (type == "tool_result" && !assistant_) {
            flush(false);
            messages_.push_back({{"role", "tool"},
                                 {"content", blocks_text(block.find("content"), block.path("content"))},
                                 {"tool_call_id", block.needed_text("tool_use_id")}});
        } else {
            block.fail("type", fmt::format("'{}' is not supported here", type.substr(0, 40)));
        }
    }

    // What was gathered since the last message; `always`: also where that is nothing.
    void flush(bool always) {
        if (!always && text_.empty() && reasoning_.empty() && calls_.empty()) return;
        Json message = {{"role", assistant_ ? "assistant" : "user"}, {"content", text_}};
        if (!reasoning_.empty()) message["reasoning_content"] = reasoning_;
        if (!calls_.empty()) message["tool_calls"] = calls_;
        messages_.push_back(std::move(message));
        text_.clear();
    }

    Json& messages_;
    Fields fields_;
    std::string path_;
    bool assistant_ = false;
    size_t before_ = 0;
    std::string text_, reasoning_;
    Json calls_ = Json::array();
};

void read_message_tools(const Fields& fields, ChatRequest& request) {
    Json& tools = request.conversation.tools;
    if (const Json* given = fields.array("tools")) {
        for (size_t i = 0; i < given->size(); ++i) {
            const Fields tool = Fields::of((*given)[i], fmt::format("tools.{}", i));
            // Tools that a server would run are left out.
            if (const std::string* type = tool.text("type"); type != nullptr && *type != "custom") continue;
            Json function = {{"name", tool.needed_text("name")}};
            if (const std::string* description = tool.text("description")) function["description"] = *description;
            if (const Json* schema = tool.object("input_schema")) function["parameters"] = *schema;
            tools.push_back(function_tool(function, fmt::format("tools.{}", i)));
        }
    }
    const Json* choice = fields.object("tool_choice");
    if (choice == nullptr) return;
    const Fields wanted(*choice, "tool_choice");
    const std::string& type = wanted.needed_text("type");
    request.parallel_calls = !wanted.boolean("disable_parallel_tool_use").value_or(false);
    if (type == "none") {
        request.tool_choice.use = ToolUse::kNone;
    } else if (type == "any") {
        if (tools.empty()) fields.fail("tool_choice", "'any' needs tools");
        request.tool_choice.use = ToolUse::kRequired;
    } else if (type == "tool") {
        request.tool_choice = {.use = ToolUse::kRequired, .name = wanted.needed_text("name")};
        check_tool_named(tools, request.tool_choice.name, "tool_choice");
    } else if (type != "auto") {
        fields.fail("tool_choice", "its type must be auto, any, tool or none");
    }
}

void read_message_output(const Fields& fields, ChatRequest& request) {
    if (const Json* config = fields.object("output_config")) {
        const Fields output(*config, "output_config");
        if (const Json* format = output.find("format")) request.rule = read_format(*format, "output_config.format");
        if (const std::string* effort = output.text("effort")) {
            request.conversation.template_variables["reasoning_effort"] = *effort;
        }
    }
    if (const Json* thinking = fields.object("thinking")) {
        const std::string* type = Fields(*thinking, "thinking").text("type");
        if (type != nullptr && *type != "adaptive") {
            request.conversation.template_variables["enable_thinking"] = *type != "disabled";
        }
    }
    request.stop = fields.texts("stop_sequences", kMostStops, false);
}

}  // namespace

ChatRequest read_messages_request(const RequestDefaults& defaults, const Fields& fields) {
    ChatRequest request;
    request.call_prefix = "toolu_";
    request.options = read_sampling(fields, defaults, 1);
    Json& messages = request.conversation.messages;
    if (const std::string system = blocks_text(fields.find("system"), "system"); !system.empty()) {
        messages.push_back({{"role", "system"}, {"content", system}});
    }
    const Json* given = fields.array("messages");
    if (given == nullptr) fields.fail("messages", "is missing; an array of messages is needed");
    if (given->empty()) fields.fail("messages", "must not be empty");
    for (size_t i = 0; i < given->size(); ++i) {
        MessageReader(messages, (*given)[i], fmt::format("messages.{}", i)).read();
    }
    read_message_tools(fields, request);
    read_message_output(fields, request);
    return request;
}

}  // namespace sluice::server
