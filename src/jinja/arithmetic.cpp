#include <cmath>
#include <limits>

#include "jinja/big_integer.h"
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

// Both divisions round down; 64 bits hold the result of all but one pair.
int64_t floor_divide(int64_t left, int64_t right) {
    const int64_t quotient = left / right;
    return quotient - ((left % right != 0) && ((left < 0) != (right < 0)) ? 1 : 0);
}

int64_t floor_modulo(int64_t left, int64_t right) {
    const int64_t rest = left % right;
    return rest != 0 && ((rest < 0) != (right < 0)) ? rest + right : rest;
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

Value big_integers(Arithmetic operation, const BigInteger& left, const BigInteger& right) {
    switch (operation) {
        case Arithmetic::kAdd:
            return (left + right).value();
        case Arithmetic::kSubtract:
            return (left - right).value();
        case Arithmetic::kMultiply:
            return (left * right).value();
        case Arithmetic::kDivide:
            return Value::real(left.divide_real(right));
        case Arithmetic::kFloorDivide:
            return left.divide(right).quotient.value();
        case Arithmetic::kModulo:
            return left.divide(right).remainder.value();
        case Arithmetic::kPower:
            if (right.negative()) return float_power(left.real(), right.real());
            const Value exponent = right.value();
            if (!exponent.is(Kind::kInt)) raise("an exponent of {} is too large", right.text());
            return left.power(exponent.as_int()).value();
    }
    return {};
}

// Nothing where the result does not fit 64 bits.
std::optional<Value> small_integers(Arithmetic operation, int64_t left, int64_t right) {
    int64_t result = 0;
    bool fits = false;
    const bool divides = right != 0 && !(right == -1 && left == std::numeric_limits<int64_t>::min());
    constexpr int64_t kExact = int64_t{1} << 53;  // up to here a double is exact
    switch (operation) {
        case Arithmetic::kAdd:
            fits = !__builtin_add_overflow(left, right, &result);
            break;
        case Arithmetic::kSubtract:
            fits = !__builtin_sub_overflow(left, right, &result);
            break;
        case Arithmetic::kMultiply:
            fits = !__builtin_mul_overflow(left, right, &result);
            break;
        case Arithmetic::kDivide:
            if (right == 0 || left > kExact || left < -kExact || right > kExact || right < -kExact) break;
            return Value::real(static_cast<double>(left) / static_cast<double>(right));
        case Arithmetic::kFloorDivide:
            fits = divides;
            if (fits) result = floor_divide(left, right);
            break;
        case Arithmetic::kModulo:
            fits = divides;
            if (fits) result = floor_modulo(left, right);
            break;
        case Arithmetic::kPower:
            break;
    }
    return fits ? std::optional(Value::integer(result)) : std::nullopt;
}

bool is_whole(const Value& value) {
    return value.is_integral() || value.is(Kind::kBigInt);
}

double real_of(const Value& value) {
    return value.is(Kind::kBigInt) ? BigInteger::of(value).real() : value.as_real();
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
    require_room(left.source.bytes() + right.source.bytes());
    const bool markup = left.markup || right.markup;
    SourcedText joined;
    for (const StringObject* side : {&left, &right}) {
        if (markup && !side->markup) {
            joined.append(escape_html(side->text), side->source.trusted());
        } else {
            joined.append(side->source);
        }
    }
    return Value::string(std::move(joined), markup);
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
    const size_t unit = value.is_string() ? value.source().bytes() : value.items().size() * sizeof(Value);
    size_t bytes = 0;
    if (__builtin_mul_overflow(unit, times, &bytes)) raise("a repetition of {} times is too large", count);
    charge_copy(bytes);
    require_room(bytes);
    if (value.is_string()) {
        SourcedText text;
        for (size_t i = 0; unit > 0 && i < times; ++i) text.append(value.source());
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
    if (left.is_integral() && right.is_integral()) {
        if (std::optional<Value> result = small_integers(operation, left.as_int(), right.as_int())) return *result;
    }
    if (is_whole(left) && is_whole(right)) return big_integers(operation, BigInteger::of(left), BigInteger::of(right));
    const bool numbers = (left.is_number() || is_whole(left)) && (right.is_number() || is_whole(right));
    if (numbers) return floats(operation, real_of(left), real_of(right));
    if (operation == Arithmetic::kModulo && left.is_string()) {
        return Value::string(percent_format(left.source(), right), left.as_string().markup);
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
    if (is_whole(value)) return (-BigInteger::of(value)).value();
    if (value.is_undefined()) raise("{}", value.reason());
    raise("bad operand type for unary -: '{}'", type_name(value));
}

Value positive(const Value& value) {
    if (value.is(Kind::kFloat) || value.is(Kind::kBigInt)) return value;
    if (value.is_integral()) return Value::integer(value.as_int());
    if (value.is_undefined()) raise("{}", value.reason());
    raise("bad operand type for unary +: '{}'", type_name(value));
}

}  // namespace sluice::jinja
