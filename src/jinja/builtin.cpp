#include "jinja/builtin.h"

#include <algorithm>

#include "jinja/failure.h"
#include "jinja/operations.h"

namespace sluice::jinja {

namespace {

struct Parameter {
    std::string_view name;
    bool optional;
};

std::vector<Parameter> split_parameters(std::string_view text) {
    std::vector<Parameter> parameters;
    while (!text.empty()) {
        const size_t space = std::min(text.find(' '), text.size());
        std::string_view name = text.substr(0, space);
        text.remove_prefix(std::min(space + 1, text.size()));
        const bool optional = name.ends_with('?');
        if (optional) name.remove_suffix(1);
        parameters.push_back({name, optional});
    }
    return parameters;
}

}  // namespace

int64_t Bound::integer(size_t index, int64_t fallback) const {
    if (!given_[index]) return fallback;
    const Value& value = values_[index];
    if (value.is_undefined()) raise("{}", value.reason());
    if (!value.is_integral()) raise("'{}' object cannot be interpreted as an integer", type_name(value));
    return value.as_int();
}

bool Bound::flag(size_t index, bool fallback) const {
    return given_[index] ? truthy(values_[index]) : fallback;
}

std::string Bound::text(size_t index, std::string_view fallback) const {
    if (!given_[index]) return std::string(fallback);
    const Value& value = values_[index];
    if (!value.is_string()) raise("expected a string, not '{}'", type_name(value));
    return value.text();
}

Bound bind(const Builtin& function, const Value* self, const CallArguments& arguments) {
    std::vector<Parameter> parameters = split_parameters(function.parameters);
    auto take = [&](std::string_view name) {
        const bool found = !parameters.empty() && parameters.back().name == name;
        if (found) parameters.pop_back();
        return found;
    };
    const bool any_keywords = take("**");
    const bool any_more = take("*");

    Bound bound;
    bound.values_.resize(parameters.size());
    bound.given_.resize(parameters.size());
    size_t next = 0;
    auto pass = [&](const Value& value) {
        if (next < parameters.size()) {
            bound.values_[next] = value;
            bound.given_[next++] = true;
        } else if (any_more) {
            bound.rest_.push_back(value);
        } else {
            raise("{}() takes at most {} arguments", function.name, parameters.size());
        }
    };
    if (self != nullptr) pass(*self);
    for (const Value& value : arguments.positional) pass(value);
    for (const auto& [name, value] : arguments.keywords) {
        const auto place =
            std::find_if(parameters.begin(), parameters.end(),
                         [&wanted = name](const Parameter& parameter) { return parameter.name == wanted; });
        if (place == parameters.end()) {
            if (!any_keywords) raise("{}() got an unexpected keyword argument '{}'", function.name, name);
            bound.keywords_.emplace_back(name, value);
            continue;
        }
        const auto index = static_cast<size_t>(place - parameters.begin());
        if (bound.given_[index]) raise("{}() got multiple values for argument '{}'", function.name, name);
        bound.values_[index] = value;
        bound.given_[index] = true;
    }
    for (size_t i = 0; i < parameters.size(); ++i) {
        if (!bound.given_[i] && !parameters[i].optional) {
            raise("{}() missing a required argument: '{}'", function.name, parameters[i].name);
        }
    }
    return bound;
}

Value call_builtin(const Builtin& function, const Value& self, const CallArguments& arguments) {
    return function.run(bind(function, &self, arguments));
}

const Builtin* find_in(std::span<const Builtin> table, std::string_view name) {
    const auto place =
        std::lower_bound(table.begin(), table.end(), name,
                         [](const Builtin& function, std::string_view searched) { return function.name < searched; });
    return place != table.end() && place->name == name ? &*place : nullptr;
}

}  // namespace sluice::jinja
