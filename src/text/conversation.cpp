#include "text/conversation.h"

#include <map>
#include <utility>

#include "base/error.h"
#include "jinja/json.h"

namespace sluice {

namespace {

using OrderedJson = nlohmann::ordered_json;

std::string dump(const OrderedJson& value) {
    return value.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

std::string python_json(const OrderedJson& value) {
    return jinja::python_json(dump(value));
}

std::string text_at(const OrderedJson& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// A content as one text.
std::string content_text(const OrderedJson& content, const std::string& path) {
    if (content.is_null()) return {};
    if (content.is_string()) return content.get<std::string>();
    if (!content.is_array()) fail(ErrorCode::kUsage, "`{}` must be a text, null, or a list of text parts", path);
    std::string text;
    for (size_t i = 0; i < content.size(); ++i) {
        const OrderedJson& part = content[i];
        const bool is_text =
            part.is_string() || (part.is_object() && part.contains("text") && part["text"].is_string());
        if (!is_text) fail(ErrorCode::kUsage, "`{}.{}` is no text, and this model reads text alone", path, i);
        if (i > 0) text += '\n';
        text += part.is_string() ? part.get<std::string>() : part["text"].get<std::string>();
    }
    return text;
}

void append_paragraph(std::string& text, const std::string& more) {
    if (!text.empty() && !more.empty()) text += "\n\n";
    text += more;
}

std::string content_of(const OrderedJson& message) {
    return message["content"].get<std::string>();
}

void append_content(OrderedJson& message, const std::string& more) {
    std::string text = content_of(message);
    append_paragraph(text, more);
    message["content"] = std::move(text);
}

class Preparation {
  public:
    Preparation(const TemplateTraits& traits, const OutputFormat& format, Rewriting rewriting)
        : traits_(traits), format_(format) {
        if (rewriting == Rewriting::kByTraits) return;
        traits_.tools = traits_.calls = traits_.several_systems = traits_.late_system = traits_.developer = false;
        traits_.repeated_roles = traits_.assistant_first = false;
    }

    OrderedJson run(OrderedJson variables, Rewriting rewriting) {
        const OrderedJson given = std::exchange(variables["messages"], OrderedJson::array());
        if (!given.is_array()) fail(ErrorCode::kUsage, "`messages` must be a list");
        for (size_t i = 0; i < given.size(); ++i) add(given[i], "messages." + std::to_string(i));
        prepare_tools(variables);
        arrange();
        if (rewriting == Rewriting::kOneTurn) one_turn();
        if (traits_.content_parts) {
            for (OrderedJson& message : messages_) {
                message["content"] = OrderedJson::array({{{"type", "text"}, {"text", content_of(message)}}});
            }
        }
        variables["messages"] = std::move(messages_);
        return variables;
    }

  private:
    void add(const OrderedJson& given, const std::string& path) {
        if (!given.is_object() || text_at(given, "role").empty()) {
            fail(ErrorCode::kUsage, "`{}` must be an object with a role", path);
        }
        OrderedJson message = given;
        std::string role = text_at(given, "role");
        message["content"] = content_text(given.value("content", OrderedJson()), path + ".content");
        if (role == "developer" && !traits_.developer) role = "system";
        if (role == "function") role = "tool";
        const bool known =
            role == "system" || role == "developer" || role == "user" || role == "assistant" || role == "tool";
        message["role"] = known ? role : "user";
        if (role == "assistant") prepare_calls(message, path);
        if (role == "tool") prepare_result(message);
        messages_.push_back(std::move(message));
    }

    void prepare_calls(OrderedJson& message, const std::string& path) {
        if (message.contains("reasoning") && !message.contains("reasoning_content")) {
            message["reasoning_content"] = message["reasoning"];
        }
        if (message.value("reasoning_content", OrderedJson()).is_null()) message.erase("reasoning_content");
        OrderedJson calls = message.value("tool_calls", OrderedJson());
        message.erase("tool_calls");
        if (calls.is_null() || (calls.is_array() && calls.empty())) return;
        if (!calls.is_array()) fail(ErrorCode::kUsage, "`{}.tool_calls` must be a list", path);
        for (size_t i = 0; i < calls.size(); ++i) prepare_call(calls[i], path + ".tool_calls." + std::to_string(i));
        if (!traits_.calls) {
            std::string text = content_of(message);
            for (size_t i = 0; i < calls.size(); ++i) {
                const OrderedJson& function = calls[i]["function"];
                const CallFrame frame = call_frame(format_, function["name"].get<std::string>(), i);
                append_paragraph(text, frame.before + python_json(function["arguments"]) + frame.after);
            }
            message["content"] = std::move(text);
            return;
        }
        if (traits_.thinking && content_of(message).empty() && message.contains("reasoning_content")) {
            message["thinking"] = message["reasoning_content"];
        }
        if (!traits_.argument_objects) {
            for (OrderedJson& call : calls) call["function"]["arguments"] = python_json(call["function"]["arguments"]);
        }
        message["tool_calls"] = std::move(calls);
    }

    // Its arguments become an object, its id what the family's models were trained on.
    void prepare_call(OrderedJson& call, const std::string& path) {
        if (call.is_object() && !call.contains("function") && call.contains("name")) call = {{"function", call}};
        const bool named = call.is_object() && call.contains("function") && call["function"].is_object() &&
                           !text_at(call["function"], "name").empty();
        if (!named) fail(ErrorCode::kUsage, "`{}` must have a function with a name", path);
        call["type"] = "function";
        OrderedJson& function = call["function"];
        OrderedJson arguments = function.value("arguments", OrderedJson::object());
        if (arguments.is_string()) arguments = OrderedJson::parse(arguments.get<std::string>(), nullptr, false);
        function["arguments"] = arguments.is_object() ? std::move(arguments) : OrderedJson::object();
        const std::string name = function["name"].get<std::string>();
        std::string id = text_at(call, "id");
        if (format_.call_id != nullptr) {
            std::string canonical = format_.call_id(name, calls_);
            call["id"] = canonical;
            called_[id] = {name, std::move(canonical)};
        } else {
            if (id.empty()) call["id"] = "call_" + std::to_string(calls_);
            called_[id] = {name, call["id"].get<std::string>()};
        }
        ++calls_;
    }

    void prepare_result(OrderedJson& message) {
        const auto call = called_.find(text_at(message, "tool_call_id"));
        if (call != called_.end()) {
            if (text_at(message, "name").empty()) message["name"] = call->second.name;
            message["tool_call_id"] = call->second.id;
        }
        if (traits_.calls) return;
        message = {{"role", "user"}, {"content", "<tool_response>\n" + content_of(message) + "\n</tool_response>"}};
    }

    void prepare_tools(OrderedJson& variables) {
        OrderedJson tools = variables.value("tools", OrderedJson());
        variables["tools"] = nullptr;
        if (tools.is_null() || (tools.is_array() && tools.empty())) return;
        if (!tools.is_array()) fail(ErrorCode::kUsage, "`tools` must be a list");
        for (OrderedJson& tool : tools) {
            if (tool.is_object() && !tool.contains("function")) tool = {{"type", "function"}, {"function", tool}};
        }
        if (traits_.tools) {
            variables["tools"] = std::move(tools);
            return;
        }
        std::string text = "You can call these functions:\n";
        for (const OrderedJson& tool : tools) text += python_json(tool["function"]) + '\n';
        const CallFrame frame = call_frame(format_, "name", 0);
        text += "To call one, write its name and its arguments like this, and then wait for the result:\n";
        text += frame.before + "{\"argument\": \"value\"}" + frame.after;
        const bool has_system = !messages_.empty() && messages_[0]["role"] == "system";
        if (has_system) {
            append_content(messages_[0], text);
        } else {
            messages_.insert(messages_.begin(), OrderedJson{{"role", "system"}, {"content", text}});
        }
    }

    static bool is_instruction(const OrderedJson& message) {
        return message["role"] == "system" || message["role"] == "developer";
    }

    // Puts system messages where the template takes them, then joins neighbours.
    void arrange() {
        OrderedJson arranged = OrderedJson::array();
        std::string before;  // what comes before the first message of the user
        for (OrderedJson& message : messages_) {
            const bool leading = arranged.empty() || is_instruction(arranged.back());
            if (!is_instruction(message)) {
                if (!before.empty() && message["role"] == "user") {
                    std::string text = std::exchange(before, {});
                    append_paragraph(text, content_of(message));
                    message["content"] = std::move(text);
                }
            } else if (leading && !traits_.system && message["role"] == "system") {
                append_paragraph(before, content_of(message));
                continue;
            } else if (leading && !arranged.empty() && !traits_.several_systems) {
                append_content(arranged.back(), content_of(message));
                continue;
            } else if (!leading && !traits_.late_system && message["role"] == "system") {
                message = {{"role", "user"}, {"content", content_of(message)}};
            }
            push(arranged, std::move(message));
        }
        if (!before.empty()) push(arranged, {{"role", "user"}, {"content", before}});
        messages_ = std::move(arranged);
    }

    void push(OrderedJson& arranged, OrderedJson message) const {
        const bool begins = arranged.empty() || (arranged.size() == 1 && is_instruction(arranged[0]));
        if (begins && message["role"] == "assistant" && !traits_.assistant_first) {
            arranged.push_back({{"role", "user"}, {"content", ""}});
        }
        const bool repeats = !arranged.empty() && arranged.back()["role"] == message["role"];
        const bool joins = repeats && !traits_.repeated_roles && !message.contains("tool_calls") &&
                           !arranged.back().contains("tool_calls") && message["role"] != "tool";
        if (joins) {
            append_content(arranged.back(), content_of(message));
        } else {
            arranged.push_back(std::move(message));
        }
    }

    void one_turn() {
        std::string text;
        for (const OrderedJson& message : messages_) append_paragraph(text, content_of(message));
        messages_ = OrderedJson::array({{{"role", "user"}, {"content", text}}});
    }

    struct Call {
        std::string name, id;
    };

    TemplateTraits traits_;
    const OutputFormat& format_;
    OrderedJson messages_ = OrderedJson::array();
    std::map<std::string, Call> called_;  // by the ids that the conversation has for them
    size_t calls_ = 0;                    // of the conversation so far
};

}  // namespace

OrderedJson prepare_conversation(const OrderedJson& variables, const TemplateTraits& traits, const OutputFormat& format,
                                 Rewriting rewriting) {
    return Preparation(traits, format, rewriting).run(variables, rewriting);
}

}  // namespace sluice
