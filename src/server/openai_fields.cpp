#include "server/openai_fields.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

namespace sluice::server {

namespace {

constexpr std::array<std::string_view, 3> kTextParts = {"text", "input_text", "output_text"};

}  // namespace

std::string content_text(const Json* content, const std::string& path) {
    if (content == nullptr || content->is_null()) return {};
    if (content->is_string()) return content->get<std::string>();
    if (!content->is_array()) throw bad_field(path, "must be a string or an array of parts");
    std::string text;
    for (size_t i = 0; i < content->size(); ++i) {
        const Fields part = Fields::of((*content)[i], fmt::format("{}.{}", path, i));
        const std::string& type = part.needed_text("type");
        if (type == "refusal") {
            text += part.needed_text("refusal");
            continue;
        }
        if (std::ranges::find(kTextParts, type) == kTextParts.end()) {
            part.fail("type", fmt::format("'{}' is not supported; parts of type text are", type.substr(0, 40)));
        }
        text += part.needed_text("text");
    }
    return text;
}

Json function_tool(const Json& function, const std::string& path) {
    const Fields fields = Fields::of(function, path);
    if (fields.needed_text("name").empty()) fields.fail("name", "must not be empty");
    Json out = {{"name", fields.needed_text("name")}};
    if (const std::string* description = fields.text("description")) out["description"] = *description;
    const Json* parameters = fields.object("parameters");
    out["parameters"] = parameters ? *parameters : Json{{"type", "object"}, {"properties", Json::object()}};
    return {{"type", "function"}, {"function", std::move(out)}};
}

void check_tool_named(const Json& tools, const std::string& name, const std::string& field) {
    for (const Json& tool : tools) {
        if (tool["function"]["name"] == name) return;
    }
    throw bad_field(field, fmt::format("there is no tool '{}'", name.substr(0, 100)));
}

OutputRule read_format(const Json& format, const std::string& path) {
    const Fields fields = Fields::of(format, path);
    const std::string& type = fields.needed_text("type");
    if (type == "text") return {};
    if (type == "json_object") return {.kind = RuleKind::kJsonObject, .field = path};
    if (type != "json_schema") fields.fail("type", "must be text, json_object or json_schema");
    const Json* inner = fields.object("json_schema");
    const Fields holder = inner ? Fields(*inner, fields.path("json_schema")) : fields;
    const Json* schema = holder.find("schema");
    if (schema == nullptr) throw bad_field(path, "json_schema: its schema is missing");
    return {.kind = RuleKind::kJsonSchema, .text = to_text(*schema), .field = path};
}

ToolChoice read_tool_choice(const Fields& fields, const Json& tools) {
    const Json* choice = fields.find("tool_choice");
    if (choice == nullptr || *choice == "auto") return {};
    if (*choice == "none") return {.use = ToolUse::kNone};
    if (*choice == "required") {
        if (tools.empty()) fields.fail("tool_choice", "'required' needs tools");
        return {.use = ToolUse::kRequired};
    }
    if (!choice->is_object()) fields.fail("tool_choice", "must be auto, none, required or a function");
    const Fields named(*choice, "tool_choice");
    const std::string* type = named.text("type");
    if (type != nullptr && *type != "function") {
        // Choices among kinds of tools that are left out of the prompt, and lists of what is allowed.
        if (*type == "allowed_tools" || *type == "custom" || !named.find("name")) return {};
    }
    const Json* function = named.object("function");
    const Fields holder = function ? Fields(*function, "tool_choice.function") : named;
    const std::string& name = holder.needed_text("name");
    check_tool_named(tools, name, "tool_choice");
    return {.use = ToolUse::kRequired, .name = name};
}

}  // namespace sluice::server
