#include <cmath>
#include <limits>

#include "jinja/failure.h"
#include "jinja/format.h"
#include "jinja/operations.h"
#include "jinja/render.h"

namespace sluice::jinja {

namespace {

const char* symbol(Arithmetic operation) {
    switch (operation) {
        case Arithmetic::kAdd:
            return "+";
        case Arithmetic::kSubtract:
            return "-";
        case Arithmetic::kMultiply:
            return "*";
        case Arithmetic::kDivide:
            return "/";
        case Arithmetic::kFloorDivide:
            return "//";
        case Arithmetic::kModulo:
            return "%";
        case Arithmetic::kPower:
            return "**";
    }
    return "?";
}

[[noreturn]] void overflow() {
    raise("an integer result does not fit 64 bits");
}

int64_t floor_divide(int64_t left, int64_t right) {
    if (right == 0) raise("integer division or modulo by zero");
    if (right == -1) {
        if (left == std::numeric_limits<int64_t>::min()) overflow();
        return -left;
    }
    const int64_t quotient = left / right;
    return quotient - ((left % right != 0) && ((left < 0) != (right < 0)) ? 1 : 0);
}

int64_t floor_modulo(int64_t left, int64_t right) {
    if (right == 0) raise("integer division or modulo by zero");
    if (right == -1) return 0;
    const int64_t rest = left % right;
    return rest != 0 && ((rest < 0) != (right < 0)) ? rest + right : rest;
}

int64_t power(int64_t base, int64_t exponent) {
    int64_t result = 1;
    while (exponent > 0) {
        if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) overflow();
        exponent >>= 1;
        if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) overflow();
    }
    return result;
}

double float_modulo(double left, double right) {
    if (right == 0) raise("float modulo");
    double rest = std::fmod(left, right);
    if (rest != 0) {
        if ((right < 0) != (rest < 0)) rest += right;
    } else {
        rest = std::copysign(0.0, right);
    }
    return rest;
}

double float_floor_divide(double left, double right) {
    if (right == 0) raise("float floor division by zero");
    const double rest = float_modulo(left, right);
    const double quotient = (left - rest) / right;
    if (quotient == 0) return std::copysign(0.0, left / right);
    const double floored = std::floor(quotient);
    return quotient - floored > 0.5 ? floored + 1 : floored;
}

Value float_power(double base, double exponent) {
    if (base == 0 && exponent < 0) raise("0.0 cannot be raised to a negative power");
    if (base < 0 && std::floor(exponent) != exponent && std::isfinite(exponent)) {
        raise("a negative number raised to a fraction is not a real number");
    }
    const double result = std::pow(base, exponent);
    if (std::isinf(result) && std::isfinite(base) && std::isfinite(exponent)) {
        raise("(34, 'Numerical result out of range')");
    }
    return Value::real(result);
}

Value integers(Arithmetic operation, int64_t left, int64_t right) {
    int64_t result = 0;
    switch (operation) {
        case Arithmetic::kAdd:
            if (__builtin_add_overflow(left, right, &result)) overflow();
            return Value::integer(result);
        case Arithmetic::kSubtract:
            if (__builtin_sub_overflow(left, right, &result)) overflow();
            return Value::integer(result);
        case Arithmetic::kMultiply:
            if (__builtin_mul_overflow(left, right, &result)) overflow();
            return Value::integer(result);
        case Arithmetic::kDivide:
            if (right == 0) raise("division by zero");
            return Value::real(static_cast<double>(left) / static_cast<double>(right));
        case Arithmetic::kFloorDivide:
            return Value::integer(floor_divide(left, right));
        case Arithmetic::kModulo:
            return Value::integer(floor_modulo(left, right));
        case Arithmetic::kPower:
            if (right < 0) return float_power(static_cast<double>(left), static_cast<double>(right));
            return Value::integer(power(left, right));
    }
    return {};
}

Value floats(Arithmetic operation, double left, double right) {
    switch (operation) {
        case Arithmetic::kAdd:
            return Value::real(left + right);
        case Arithmetic::kSubtract:
            return Value::real(left - right);
        case Arithmetic::kMultiply:
            return Value::real(left * right);
        case Arithmetic::kDivide:
            if (right == 0) raise("float division by zero");
            return Value::real(left / right);
        case Arithmetic::kFloorDivide:
            return Value::real(float_floor_divide(left, right));
        case Arithmetic::kModulo:
            return Value::real(float_modulo(left, right));
        case Arithmetic::kPower:
            return float_power(left, right);
    }
    return {};
}

Value join_strings(const StringObject& left, const StringObject& right) {
    require_room(left.text.size() + right.text.size());
    if (!left.markup && !right.markup) return Value::string(left.text + right.text);
    return Value::string(
        (left.markup ? left.text : escape_html(left.text)) + (right.markup ? right.text : escape_html(right.text)),
        true);
}

Value join_items(const Value& left, const Value& right) {
    require_room((left.items().size() + right.items().size()) * sizeof(Value));
    Value::Items items = left.items();
    items.insert(items.end(), right.items().begin(), right.items().end());
    return left.is(Kind::kList) ? Value::list(std::move(items)) : Value::tuple(std::move(items));
}

// A string, list or tuple, `count` times; checked against the limits before anything is built.
Value repeat(const Value& value, int64_t count) {
    const auto times = static_cast<size_t>(count > 0 ? count : 0);
    const size_t unit = value.is_string() ? value.text().size() : value.items().size() * sizeof(Value);
    size_t bytes = 0;
    if (__builtin_mul_overflow(unit, times, &bytes)) raise("a repetition of {} times is too large", count);
    charge_copy(bytes);
    require_room(bytes);
    if (value.is_string()) {
        std::string text;
        text.reserve(bytes);
        for (size_t i = 0; unit > 0 && i < times; ++i) text += value.text();
        return Value::string(std::move(text), value.as_string().markup);
    }
    Value::Items items;
    items.reserve(bytes / sizeof(Value));
    for (size_t i = 0; unit > 0 && i < times; ++i) {
        items.insert(items.end(), value.items().begin(), value.items().end());
    }
    return value.is(Kind::kList) ? Value::list(std::move(items)) : Value::tuple(std::move(items));
}

bool repeatable(const Value& value) {
    return value.is_string() || value.is(Kind::kList) || value.is(Kind::kTuple);
}

}  // namespace

Value calculate(Arithmetic operation, const Value& left, const Value& right) {
    if (left.is_integral() && right.is_integral()) return integers(operation, left.as_int(), right.as_int());
    if (left.is_number() && right.is_number()) return floats(operation, left.as_real(), right.as_real());
    if (operation == Arithmetic::kModulo && left.is_string()) {
        return Value::string(percent_format(left.text(), right), left.as_string().markup);
    }
    if (left.is_undefined()) raise("{}", left.reason());
    if (right.is_undefined()) raise("{}", right.reason());
    if (operation == Arithmetic::kAdd) {
        if (left.is_string() && right.is_string()) return join_strings(left.as_string(), right.as_string());
        const bool lists = left.is(Kind::kList) && right.is(Kind::kList);
        const bool tuples = left.is(Kind::kTuple) && right.is(Kind::kTuple);
        if (lists || tuples) return join_items(left, right);
        if (left.is_string()) {
            raise("can only concatenate str (not \"{}\") to str", type_name(right));
        }
    }
    if (operation == Arithmetic::kMultiply) {
        if (repeatable(left) && right.is_integral()) return repeat(left, right.as_int());
        if (repeatable(right) && left.is_integral()) return repeat(right, left.as_int());
    }
    raise("unsupported operand type(s) for {}: '{}' and '{}'", symbol(operation), type_name(left), type_name(right));
}

Value negate(const Value& value) {
    if (value.is(Kind::kFloat)) return Value::real(-value.as_real());
    if (value.is_integral()) return integers(Arithmetic::kSubtract, 0, value.as_int());
    if (value.is_undefined()) raise("{}", value.reason());
    raise("bad operand type for unary -: '{}'", type_name(value));
}

Value positive(const Value& value) {
    if (value.is(Kind::kFloat)) return value;
    if (value.is_integral()) return Value::integer(value.as_int());
    if (value.is_undefined()) raise("{}", value.reason());
    raise("bad operand type for unary +: '{}'", type_name(value));
}

}  // namespace sluice::jinja
