#include "text/output/tool_schemas.h"

#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "text/output/match.h"

namespace sluice::output {

namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr int kDeepestReference = 16;  // of schemas in schemas, references that lead in a circle included

void add_type(ValueTypes& types, std::string_view name) {
    types.known = true;
    if (name == "string") types.string = true;
    if (name == "number" || name == "integer") types.number = true;
    if (name == "boolean") types.boolean = true;
    if (name == "null") types.null = true;
    if (name == "object") types.object = true;
    if (name == "array") types.array = true;
}

void add_type_of(ValueTypes& types, const OrderedJson& value) {
    add_type(types, value.is_number() ? "number" : value.type_name());
}

void add_types(ValueTypes& types, const OrderedJson& schema, const OrderedJson& root, int depth) {
    if (!schema.is_object() || depth > kDeepestReference) return;
    if (const auto type = schema.find("type"); type != schema.end()) {
        if (type->is_string()) add_type(types, type->get_ref<const std::string&>());
        if (type->is_array()) {
            for (const OrderedJson& entry : *type) {
                if (entry.is_string()) add_type(types, entry.get_ref<const std::string&>());
            }
        }
        return;
    }
    if (const auto values = schema.find("enum"); values != schema.end() && values->is_array()) {
        for (const OrderedJson& value : *values) add_type_of(types, value);
    }
    if (const auto value = schema.find("const"); value != schema.end()) add_type_of(types, *value);
    for (const char* key : {"anyOf", "oneOf", "allOf"}) {
        const auto branches = schema.find(key);
        if (branches == schema.end() || !branches->is_array()) continue;
        for (const OrderedJson& branch : *branches) add_types(types, branch, root, depth + 1);
    }
    const auto reference = schema.find("$ref");
    if (reference == schema.end() || !reference->is_string()) return;
    const std::string& target = reference->get_ref<const std::string&>();
    if (!target.starts_with("#/")) return;
    try {
        const OrderedJson::json_pointer pointer(target.substr(1));
        if (root.contains(pointer)) add_types(types, root.at(pointer), root, depth + 1);
    } catch (const nlohmann::json::exception&) {
        return;  // no pointer: nothing is known of the type
    }
}

// What Python's writers of JSON-like text write.
std::string_view constant_of(std::string_view text, const ValueTypes& types) {
    if (types.boolean && (text == "True" || text == "TRUE")) return "true";
    if (types.boolean && (text == "False" || text == "FALSE")) return "false";
    if (types.null && (text == "None" || text == "Null" || text == "NULL")) return "null";
    return {};
}

constexpr JsonLimits kLimits = {.depth = 500, .bytes_per_value = 1};

// Discarded where the text is no JSON.
OrderedJson read_value(std::string_view text) {
    try {
        return parse_ordered_json(text, "value", kLimits);
    } catch (const Error&) {
        return OrderedJson(OrderedJson::value_t::discarded);
    }
}

}  // namespace

bool ValueTypes::allows(const nlohmann::ordered_json& value) const {
    return (value.is_number() && number) || (value.is_boolean() && boolean) || (value.is_null() && null) ||
           (value.is_object() && object) || (value.is_array() && array);
}

ToolSchemas::ToolSchemas(std::string_view json) {
    if (json.empty()) return;
    const OrderedJson tools = read_value(json);
    if (tools.is_null()) return;
    if (!tools.is_array()) fail(ErrorCode::kUsage, "`tools` must be a list");
    for (size_t i = 0; i < tools.size(); ++i) {
        const OrderedJson& tool = tools[i];
        const OrderedJson& function = tool.is_object() && tool.contains("function") ? tool["function"] : tool;
        const bool named = function.is_object() && function.contains("name") && function["name"].is_string();
        if (!named) fail(ErrorCode::kUsage, "`tools.{}` must have a name", i);
        names_.push_back(function["name"].get<std::string>());
        parameters_.push_back(function.value("parameters", OrderedJson::object()));
    }
}

const OrderedJson* ToolSchemas::find(std::string_view function) const {
    const auto found = std::ranges::find(names_, function);
    return found == names_.end() ? nullptr : &parameters_[static_cast<size_t>(found - names_.begin())];
}

ValueTypes ToolSchemas::types_of(std::string_view function, std::string_view parameter) const {
    ValueTypes types;
    const OrderedJson* schema = find(function);
    if (schema == nullptr || !schema->is_object() || !schema->contains("properties")) return types;
    const OrderedJson& properties = (*schema)["properties"];
    const auto property = properties.is_object() ? properties.find(parameter) : properties.end();
    if (properties.is_object() && property != properties.end()) add_types(types, *property, *schema, 0);
    return types;
}

std::string json_value(std::string_view text, const ValueTypes& types) {
    const std::string_view bare = trimmed(text);
    if (!types.only_string()) {
        if (const std::string_view constant = constant_of(bare, types); !constant.empty()) return std::string(constant);
        const OrderedJson value = read_value(bare);
        const bool fits = !types.string || types.allows(value);
        if (fits && !value.is_discarded()) return std::string(bare);
    }
    return '"' + json_escaped(text) + '"';
}

std::string json_escaped(std::string_view text) {
    std::string quoted = nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    return quoted.substr(1, quoted.size() - 2);
}

}  // namespace sluice::output
