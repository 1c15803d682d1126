#include <array>

#include "jinja/failure.h"
#include "jinja/filters.h"
#include "jinja/operations.h"

namespace sluice::jinja {

namespace {

// The arguments after the first `skip` of a `*` parameter, to hand on to the filter or test that they name.
CallArguments handed_on(const Bound& arguments, size_t skip) {
    CallArguments rest;
    rest.positional.assign(arguments.rest().begin() + static_cast<std::ptrdiff_t>(skip), arguments.rest().end());
    rest.keywords = arguments.keywords();
    return rest;
}

std::string name_at(const Bound& arguments, size_t index) {
    const Value& name = arguments.rest()[index];
    if (!name.is_string()) raise("the name of a filter or test must be a string, not '{}'", type_name(name));
    return name.text();
}

Value map_attribute(const Bound& arguments) {
    Value attribute = Value::none();
    Value fallback = Value::none();
    for (const auto& [name, value] : arguments.keywords()) {
        if (name == "attribute") {
            attribute = value;
        } else if (name == "default") {
            fallback = value;
        } else {
            raise("Unexpected keyword argument '{}'", name);
        }
    }
    Value::Items mapped;
    for (const Value& item : iterate(arguments[0])) mapped.push_back(attribute_path(item, attribute, fallback));
    return Value::iterator("sync_do_map", std::move(mapped));
}

Value map(const Bound& arguments) {
    if (!truthy(arguments[0])) return Value::iterator("sync_do_map", {});
    if (arguments.rest().empty()) {
        for (const auto& [name, value] : arguments.keywords()) {
            if (name == "attribute") return map_attribute(arguments);
        }
        raise("map requires a filter argument");
    }
    const std::string name = name_at(arguments, 0);
    const Builtin* filter = find_filter(name);
    if (filter == nullptr) raise("No filter named '{}'.", name);
    const CallArguments rest = handed_on(arguments, 1);
    Value::Items mapped;
    for (const Value& item : iterate(arguments[0])) mapped.push_back(call_builtin(*filter, item, rest));
    return Value::iterator("sync_do_map", std::move(mapped));
}

template <bool kKeep, bool kByAttribute>
Value choose(const Bound& arguments) {
    constexpr const char* kName = "select_or_reject";
    if (!truthy(arguments[0])) return Value::iterator(kName, {});
    constexpr size_t kTest = kByAttribute ? 1 : 0;
    if (kByAttribute && arguments.rest().empty()) raise("Missing parameter for attribute name");
    const Builtin* test = nullptr;
    CallArguments rest;
    if (arguments.rest().size() > kTest) {
        const std::string name = name_at(arguments, kTest);
        test = find_test(name);
        if (test == nullptr) raise("No test named '{}'.", name);
        rest = handed_on(arguments, kTest + 1);
    }
    Value::Items chosen;
    for (Value& item : iterate(arguments[0])) {
        const Value tested = kByAttribute ? attribute_path(item, arguments.rest()[0], Value::none()) : item;
        const bool passes = truthy(test != nullptr ? call_builtin(*test, tested, rest) : tested);
        if (passes == kKeep) chosen.push_back(std::move(item));
    }
    return Value::iterator(kName, std::move(chosen));
}

constexpr std::array kChoiceFilters = std::to_array<Builtin>({
    {"map", "value * **", map},
    {"reject", "value * **", choose<false, false>},
    {"rejectattr", "value * **", choose<false, true>},
    {"select", "value * **", choose<true, false>},
    {"selectattr", "value * **", choose<true, true>},
});

}  // namespace

std::span<const Builtin> choice_filters() {
    return kChoiceFilters;
}

const Builtin* find_filter(std::string_view name) {
    for (const auto table : {text_filters(), item_filters(), choice_filters(), number_filters(), html_filters(),
                             wrap_filters(), print_filters(), link_filters()}) {
        if (const Builtin* filter = find_in(table, name)) return filter;
    }
    return nullptr;
}

}  // namespace sluice::jinja
