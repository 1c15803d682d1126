#include "grammar/schema_narrowing.h"

#include <algorithm>
#include <optional>

#include "grammar/schema_rules.h"

namespace sluice::grammar {

namespace {

// The rules of a branch, where it is no choice itself.
std::optional<PlainRules> rules_of(SchemaDocument& document, SchemaId branch) {
    Alternatives alternatives = resolve_alternatives(document, {{branch, false}}, {});
    if (alternatives.choices.size() != 1) return std::nullopt;
    return std::move(alternatives.choices.front());
}

std::optional<std::vector<const Json*>> values_of(SchemaDocument& document, const Requirements& property) {
    const Alternatives alternatives = resolve_alternatives(document, simplified(document, property), {});
    if (alternatives.choices.size() != 1) return std::nullopt;
    return SchemaRules(document, alternatives.choices.front()).values();
}

bool are_disjoint(const std::vector<const Json*>& a, const std::vector<const Json*>& b) {
    return std::ranges::none_of(a, [&](const Json* one) {
        return std::ranges::any_of(b, [&](const Json* other) { return equal_values(*one, *other); });
    });
}

// A property that is declared on both sides, with values that differ.
std::optional<std::string> find_tag(SchemaDocument& document, const SchemaRules& first, const SchemaRules& second) {
    const std::vector<std::string> others = second.property_names();
    for (const std::string& name : first.property_names()) {
        if (std::ranges::find(others, name) == others.end()) continue;
        const auto values = values_of(document, first.property(name));
        if (!values) continue;
        const auto other_values = values_of(document, second.property(name));
        if (other_values && are_disjoint(*values, *other_values)) return name;
    }
    return std::nullopt;
}

std::optional<std::string> find_required_alone(const SchemaRules& rules, const SchemaRules& other) {
    for (const std::string& name : rules.property_names()) {
        if (rules.required(name) && !other.required(name)) return name;
    }
    return std::nullopt;
}

Json requiring(const std::string& name) {
    Json schema = Json::object();
    schema["required"].push_back(name);
    return schema;
}

Json forbidding(const std::string& name) {
    Json schema = Json::object();
    schema["properties"][name] = false;
    return schema;
}

}  // namespace

bool narrow(SchemaDocument& document, const Exclusion& exclusion, Narrowings& narrowings) {
    const Json& branches = document.schema(exclusion.schema).at("oneOf");
    const std::optional<PlainRules> first = rules_of(document, document.id_of(branches[exclusion.first]));
    const std::optional<PlainRules> second = rules_of(document, document.id_of(branches[exclusion.second]));
    if (!first || !second) return false;
    const SchemaRules first_rules(document, *first), second_rules(document, *second);
    const auto add = [&](size_t branch, Json schema) {
        narrowings[{exclusion.schema, branch}].push_back(document.add(std::move(schema)));
    };
    if (const std::optional<std::string> tag = find_tag(document, first_rules, second_rules)) {
        add(exclusion.first, requiring(*tag));
        add(exclusion.second, requiring(*tag));
        return true;
    }
    const std::optional<std::string> of_first = find_required_alone(first_rules, second_rules);
    const std::optional<std::string> of_second = find_required_alone(second_rules, first_rules);
    if (!of_first || !of_second) return false;
    add(exclusion.first, forbidding(*of_second));
    add(exclusion.second, forbidding(*of_first));
    return true;
}

}  // namespace sluice::grammar
