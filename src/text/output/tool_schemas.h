#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::output {

// Which types of JSON values a parameter may have.
struct ValueTypes {
    bool string = false, number = false, boolean = false, null = false, object = false, array = false;
    bool known = false;  // the schema says anything at all

    bool only_string() const { return string && !number && !boolean && !null && !object && !array; }
    bool allows(const nlohmann::ordered_json& value) const;
};

// The tools that a request offers.
class ToolSchemas {
  public:
    // A JSON list, or empty. Throws Error kUsage.
    explicit ToolSchemas(std::string_view json);

    bool has(std::string_view function) const { return find(function) != nullptr; }
    const std::vector<std::string>& names() const { return names_; }
    ValueTypes types_of(std::string_view function, std::string_view parameter) const;

  private:
    const nlohmann::ordered_json* find(std::string_view function) const;

    std::vector<std::string> names_;
    std::vector<nlohmann::ordered_json> parameters_;  // the schema of each
};

// A parameter's text as a JSON value: of a type that the schema allows where it can be read as one, else as the
// string that it is.
std::string json_value(std::string_view text, const ValueTypes& types);

// The inside of a JSON string.
std::string json_escaped(std::string_view text);

}  // namespace sluice::output
