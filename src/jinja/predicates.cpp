// What Jinja calls tests: `x is defined`.

#include <array>

#include "jinja/builtin.h"
#include "jinja/failure.h"
#include "jinja/methods.h"
#include "jinja/operations.h"

namespace sluice::jinja {

namespace {

Value remainder_is(const Value& value, int64_t divisor, int64_t wanted) {
    return Value::boolean(
        equal(calculate(Arithmetic::kModulo, value, Value::integer(divisor)), Value::integer(wanted)));
}

bool is_integer(const Value& value) {
    return value.is(Kind::kInt) || value.is(Kind::kBigInt);
}

bool is_sequence(const Value& value) {
    return has_length(value) && !value.is(Kind::kView) && !value.is(Kind::kNative);
}

template <bool (*kTest)(const Value&)>
Value check(const Bound& arguments) {
    return Value::boolean(kTest(arguments[0]));
}

template <Kind kKind>
Value of_kind(const Bound& arguments) {
    return Value::boolean(arguments[0].is(kKind));
}

template <bool kWanted>
Value is_constant(const Bound& arguments) {
    return Value::boolean(arguments[0].is(Kind::kBool) && arguments[0].as_bool() == kWanted);
}

Value eq(const Bound& arguments) {
    return Value::boolean(equal(arguments[0], arguments[1]));
}
Value ne(const Bound& arguments) {
    return Value::boolean(!equal(arguments[0], arguments[1]));
}
Value lt(const Bound& arguments) {
    return Value::boolean(less(arguments[0], arguments[1]));
}
Value gt(const Bound& arguments) {
    return Value::boolean(less(arguments[1], arguments[0]));
}
Value le(const Bound& arguments) {
    return Value::boolean(less_or_equal(arguments[0], arguments[1]));
}
Value ge(const Bound& arguments) {
    return Value::boolean(less_or_equal(arguments[1], arguments[0]));
}

Value all_of_case(const Bound& arguments, std::string_view method) {
    return call_builtin(*find_in(string_methods(), method), Value::string(to_text(arguments[0])), {});
}

constexpr std::array kTests = std::to_array<Builtin>({
    {"!=", "a b", ne},
    {"<", "a b", lt},
    {"<=", "a b", le},
    {"==", "a b", eq},
    {">", "a b", gt},
    {">=", "a b", ge},
    {"boolean", "value", of_kind<Kind::kBool>},
    {"callable", "obj", check<is_callable>},
    {"defined", "value", [](const Bound& a) { return Value::boolean(!a[0].is_undefined()); }},
    {"divisibleby", "value num",
     [](const Bound& a) {
         return Value::boolean(equal(calculate(Arithmetic::kModulo, a[0], a[1]), Value::integer(0)));
     }},
    {"eq", "a b", eq},
    {"equalto", "a b", eq},
    {"escaped", "value", [](const Bound& a) { return Value::boolean(a[0].is_string() && a[0].as_string().markup); }},
    {"even", "value", [](const Bound& a) { return remainder_is(a[0], 2, 0); }},
    {"false", "value", is_constant<false>},
    {"filter", "value",
     [](const Bound& a) { return Value::boolean(a[0].is_string() && find_filter(a[0].text()) != nullptr); }},
    {"float", "value", of_kind<Kind::kFloat>},
    {"ge", "a b", ge},
    {"greaterthan", "a b", gt},
    {"gt", "a b", gt},
    {"in", "value seq", [](const Bound& a) { return Value::boolean(contains(a[1], a[0])); }},
    {"integer", "value", check<is_integer>},
    {"iterable", "value", check<is_iterable>},
    {"le", "a b", le},
    {"lessthan", "a b", lt},
    {"lower", "value", [](const Bound& a) { return all_of_case(a, "islower"); }},
    {"lt", "a b", lt},
    {"mapping", "value", of_kind<Kind::kDict>},
    {"ne", "a b", ne},
    {"none", "value", of_kind<Kind::kNone>},
    {"number", "value", [](const Bound& a) { return Value::boolean(a[0].is_number() || a[0].is(Kind::kBigInt)); }},
    {"odd", "value", [](const Bound& a) { return remainder_is(a[0], 2, 1); }},
    {"sameas", "value other", [](const Bound& a) { return Value::boolean(identical(a[0], a[1])); }},
    {"sequence", "value", check<is_sequence>},
    {"string", "value", of_kind<Kind::kString>},
    {"test", "value",
     [](const Bound& a) { return Value::boolean(a[0].is_string() && find_test(a[0].text()) != nullptr); }},
    {"true", "value", is_constant<true>},
    {"undefined", "value", of_kind<Kind::kUndefined>},
    {"upper", "value", [](const Bound& a) { return all_of_case(a, "isupper"); }},
});

}  // namespace

const Builtin* find_test(std::string_view name) {
    return find_in(kTests, name);
}

}  // namespace sluice::jinja
