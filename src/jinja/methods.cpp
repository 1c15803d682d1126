#include "jinja/methods.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "jinja/failure.h"
#include "jinja/format.h"
#include "jinja/operations.h"
#include "jinja/render.h"

namespace sluice::jinja {

namespace {

class BoundMethod : public Native {
  public:
    BoundMethod(Value self, const Builtin& method)
        : Native(sizeof(BoundMethod), self.nesting() + 1), self_(std::move(self)), method_(method) {}
    std::string type() const override { return "builtin_function_or_method"; }
    std::string repr() const override {
        return fmt::format("<built-in method {} of {} object>", method_.name, type_name(self_));
    }
    Value call(const CallArguments& arguments) override {
        // Python's own format cannot express a template's limits, so it takes its arguments unbound.
        if (self_.is_string() && method_.name == "format") {
            return Value::string(brace_format(self_.source(), arguments), self_.as_string().markup);
        }
        return call_builtin(method_, self_, arguments);
    }

  private:
    Value self_;
    const Builtin& method_;
};

size_t find_equal(const Value::Items& items, const Value& wanted, size_t from, size_t to) {
    for (size_t i = from; i < to && i < items.size(); ++i) {
        if (equal(items[i], wanted)) return i;
    }
    return items.size();
}

size_t clamp_bound(int64_t at, size_t size) {
    const auto limit = static_cast<int64_t>(size);
    return static_cast<size_t>(std::clamp<int64_t>(at < 0 ? at + limit : at, 0, limit));
}

Value sequence_count(const Bound& arguments) {
    const Value::Items& items = arguments[0].items();
    return Value::integer(
        std::count_if(items.begin(), items.end(), [&](const Value& item) { return equal(item, arguments[1]); }));
}

Value sequence_index(const Bound& arguments) {
    const Value::Items& items = arguments[0].items();
    const size_t from = clamp_bound(arguments.integer(2, 0), items.size());
    const size_t to = clamp_bound(arguments.integer(3, INT64_MAX), items.size());
    const size_t at = find_equal(items, arguments[1], from, to);
    if (at == items.size()) raise("{} is not in {}", repr(arguments[1]), type_name(arguments[0]));
    return Value::integer(static_cast<int64_t>(at));
}

Value copy(const Bound& arguments) {
    return arguments[0];
}

Value dict_get(const Bound& arguments) {
    if (const Value* found = arguments[0].as_dict().find(arguments[1])) return *found;
    return arguments.given(2) ? arguments[2] : Value::none();
}

Value dict_keys(const Bound& arguments) {
    Value::Items keys;
    for (const auto& [key, value] : arguments[0].as_dict().entries()) keys.push_back(key);
    return Value::view("dict_keys", std::move(keys));
}

Value dict_values(const Bound& arguments) {
    Value::Items values;
    for (const auto& [key, value] : arguments[0].as_dict().entries()) values.push_back(value);
    return Value::view("dict_values", std::move(values));
}

Value dict_items(const Bound& arguments) {
    Value::Items pairs;
    for (const auto& [key, value] : arguments[0].as_dict().entries()) pairs.push_back(Value::tuple({key, value}));
    return Value::view("dict_items", std::move(pairs));
}

Value dict_from_keys(const Bound& arguments) {
    Value::Entries entries;
    for (Value& key : iterate(arguments[1])) {
        entries.emplace_back(std::move(key), arguments.given(2) ? arguments[2] : Value::none());
    }
    return Value::dict(std::move(entries));
}

Value float_is_integer(const Bound& arguments) {
    const double value = arguments[0].as_real();
    return Value::boolean(std::isfinite(value) && std::floor(value) == value);
}

constexpr std::array kTupleMethods = std::to_array<Builtin>({
    {"count", "self value", sequence_count},
    {"index", "self value start? stop?", sequence_index},
});

constexpr std::array kListMethods = std::to_array<Builtin>({
    {"copy", "self", copy},
    {"count", "self value", sequence_count},
    {"index", "self value start? stop?", sequence_index},
});

constexpr std::array kDictMethods = std::to_array<Builtin>({
    {"copy", "self", copy},
    {"fromkeys", "self iterable value?", dict_from_keys},
    {"get", "self key default?", dict_get},
    {"items", "self", dict_items},
    {"keys", "self", dict_keys},
    {"values", "self", dict_values},
});

constexpr std::array kFloatMethods = std::to_array<Builtin>({
    {"is_integer", "self", float_is_integer},
});

constexpr std::array<std::string_view, 8> kListMutators{"append", "clear",  "extend",  "insert",
                                                        "pop",    "remove", "reverse", "sort"};
constexpr std::array<std::string_view, 5> kDictMutators{"clear", "pop", "popitem", "setdefault", "update"};

std::span<const Builtin> methods_of(const Value& object) {
    switch (object.kind()) {
        case Kind::kString:
            return string_methods();
        case Kind::kList:
            return kListMethods;
        case Kind::kTuple:
            return kTupleMethods;
        case Kind::kDict:
            return kDictMethods;
        case Kind::kFloat:
            return kFloatMethods;
        default:
            return {};
    }
}

bool modifies(const Value& object, std::string_view name) {
    auto among = [&](const auto& names) { return std::find(names.begin(), names.end(), name) != names.end(); };
    return (object.is(Kind::kList) && among(kListMutators)) || (object.is(Kind::kDict) && among(kDictMutators));
}

}  // namespace

std::optional<Value> find_method(const Value& object, std::string_view name) {
    if (const Builtin* method = find_in(methods_of(object), name)) {
        return Value::native(std::make_shared<BoundMethod>(object, *method));
    }
    if (modifies(object, name)) {
        return Value::undefined(
            fmt::format("access to attribute '{}' of '{}' object is unsafe.", name, type_name(object)));
    }
    return std::nullopt;
}

}  // namespace sluice::jinja
