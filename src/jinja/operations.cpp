#include "jinja/operations.h"

#include <algorithm>
#include <cmath>
#include <compare>

#include "jinja/big_integer.h"
#include "jinja/failure.h"
#include "jinja/methods.h"
#include "jinja/render.h"
#include "jinja/unicode.h"
#include "unicode/utf8.h"

namespace sluice::jinja {

namespace {

bool equal_items(const Value::Items& left, const Value::Items& right) {
    if (left.size() != right.size()) return false;
    for (size_t i = 0; i < left.size(); ++i) {
        if (!equal(left[i], right[i])) return false;
    }
    return true;
}

bool equal_dicts(const DictObject& left, const DictObject& right) {
    if (left.entries().size() != right.entries().size()) return false;
    return std::all_of(left.entries().begin(), left.entries().end(), [&](const auto& entry) {
        const Value* other = right.find(entry.first);
        return other != nullptr && equal(entry.second, *other);
    });
}

bool equal_ranges(const RangeObject& left, const RangeObject& right) {
    if (left.count != right.count) return false;
    return left.count == 0 || (left.start == right.start && (left.count == 1 || left.step == right.step));
}

// Integers beyond 2^53 are not exact as doubles, so an integer and a float meet as integers where that is exact.
bool equal_int_float(int64_t integer, double real) {
    return real >= -9223372036854775808.0 && real < 9223372036854775808.0 && std::floor(real) == real &&
           static_cast<int64_t>(real) == integer;
}

bool equal_numbers(const Value& left, const Value& right) {
    if (left.is_integral() && right.is_integral()) return left.as_int() == right.as_int();
    if (left.is_integral()) return equal_int_float(left.as_int(), right.as_real());
    if (right.is_integral()) return equal_int_float(right.as_int(), left.as_real());
    return left.as_real() == right.as_real();
}

std::string describe(const Value& value) {
    if (value.is_none()) return "None";
    if (value.is(Kind::kNamespace)) return "jinja2.utils.Namespace object";
    return type_name(value) + " object";
}

Value no_such_item(const Value& object, const Value& key) {
    if (key.is_string()) {
        return Value::undefined(fmt::format("'{}' has no attribute {}", describe(object), repr(key)));
    }
    return Value::undefined(fmt::format("{} has no element {}", describe(object), repr(key)));
}

Value unwrap_index(const Value::Items& items, int64_t index, const Value& object, const Value& key) {
    const auto size = static_cast<int64_t>(items.size());
    const int64_t at = index < 0 ? index + size : index;
    return at >= 0 && at < size ? items[static_cast<size_t>(at)] : no_such_item(object, key);
}

Value character(const StringObject& string, int64_t index, const Value& object, const Value& key) {
    const auto size = static_cast<int64_t>(string.length);
    const int64_t at = index < 0 ? index + size : index;
    if (at < 0 || at >= size) return no_such_item(object, key);
    size_t offset = byte_offset(string, static_cast<size_t>(at));
    const size_t begin = offset;
    next_code_point(string.text, offset);
    return Value::string(string.source.part(begin, offset - begin), string.markup);
}

std::optional<Value> item(const Value& object, const Value& key) {
    if (object.is(Kind::kDict)) {
        const bool unhashable = key.is(Kind::kList) || key.is(Kind::kDict) || key.is(Kind::kView);
        const Value* found = unhashable ? nullptr : object.as_dict().find(key);
        if (found == nullptr) return std::nullopt;
        return *found;
    }
    if (!key.is_integral()) return std::nullopt;
    Value result;
    switch (object.kind()) {
        case Kind::kString:
            result = character(object.as_string(), key.as_int(), object, key);
            break;
        case Kind::kList:
        case Kind::kTuple:
            result = unwrap_index(object.items(), key.as_int(), object, key);
            break;
        case Kind::kRange: {
            const RangeObject& range = object.as_range();
            const int64_t at = key.as_int() < 0 ? key.as_int() + range.count : key.as_int();
            if (at >= 0 && at < range.count) result = range.at(at);
            break;
        }
        default:
            break;
    }
    if (result.is_undefined()) return std::nullopt;
    return result;
}

struct SliceBounds {
    int64_t start;
    int64_t stop;
    int64_t step;
    int64_t count;
};

int64_t bound(const Value& value, int64_t missing) {
    if (value.is_none()) return missing;
    if (value.is_undefined()) raise("{}", value.reason());
    if (!value.is_integral()) raise("slice indices must be integers or None or have an __index__ method");
    return value.as_int();
}

SliceBounds slice_bounds(int64_t length, const Value& start, const Value& stop, const Value& step) {
    const int64_t stride = bound(step, 1);
    if (stride == 0) raise("slice step cannot be zero");
    const int64_t lowest = stride > 0 ? 0 : -1;
    const int64_t highest = stride > 0 ? length : length - 1;
    auto clamp = [&](int64_t at) { return std::clamp(at < 0 ? at + length : at, lowest, highest); };
    const int64_t first = start.is_none() ? (stride > 0 ? lowest : highest) : clamp(bound(start, 0));
    const int64_t end = stop.is_none() ? (stride > 0 ? highest : lowest) : clamp(bound(stop, 0));
    int64_t count = 0;
    if (stride > 0 && first < end) count = (end - first - 1) / stride + 1;
    // Minus the smallest integer would overflow; a stride that large takes one item either way.
    if (stride < 0 && end < first) count = (first - end - 1) / -std::max(stride, -INT64_MAX) + 1;
    return {first, end, stride, count};
}

// Of every code point, and the end.
std::vector<size_t> code_point_offsets(std::string_view text) {
    std::vector<size_t> offsets{0};
    for (size_t at = 0; at < text.size(); offsets.push_back(at)) next_code_point(text, at);
    return offsets;
}

Value slice_string(const StringObject& string, const SliceBounds& bounds) {
    charge_items(string.text.size());
    if (bounds.count == 0) return Value::string("", string.markup);
    const auto first = static_cast<size_t>(bounds.start);
    if (bounds.step == 1) {
        const size_t begin = byte_offset(string, first);
        const size_t end = byte_offset(string, first + static_cast<size_t>(bounds.count));
        return Value::string(string.source.part(begin, end - begin), string.markup);
    }
    const std::vector<size_t> offsets = code_point_offsets(string.text);
    SourcedText out;
    int64_t at = bounds.start;
    for (int64_t i = 0; i < bounds.count; ++i) {
        const size_t begin = offsets[static_cast<size_t>(at)];
        out.append(string.source, begin, offsets[static_cast<size_t>(at) + 1] - begin);
        if (i + 1 < bounds.count) at += bounds.step;
    }
    return Value::string(std::move(out), string.markup);
}

}  // namespace

bool truthy(const Value& value) {
    switch (value.kind()) {
        case Kind::kUndefined:
        case Kind::kNone:
            return false;
        case Kind::kBool:
        case Kind::kInt:
            return value.as_int() != 0;
        case Kind::kFloat:
            return value.as_real() != 0;
        case Kind::kString:
            return !value.text().empty();
        case Kind::kList:
        case Kind::kTuple:
        case Kind::kView:
            return !value.items().empty();
        case Kind::kDict:
            return !value.as_dict().entries().empty();
        case Kind::kRange:
            return value.as_range().count > 0;
        case Kind::kNative:
            return value.as_native().length().value_or(1) != 0;
        case Kind::kBigInt:
        case Kind::kIterator:
        case Kind::kNamespace:
            return true;
    }
    return true;
}

namespace {

// Of two numbers, one or both of them beyond 64 bits.
std::partial_ordering big_order(const Value& left, const Value& right) {
    const auto real = [](const Value& value) {
        if (!value.is(Kind::kBigInt)) return value.as_real();
        const BigInteger number = BigInteger::of(value);
        constexpr size_t kDigits = 310;  // more than any double has
        if (value.digits().size() > kDigits) return number.negative() ? -HUGE_VAL : HUGE_VAL;
        return number.real();
    };
    if (left.is(Kind::kFloat) || right.is(Kind::kFloat)) return real(left) <=> real(right);
    return BigInteger::of(left) <=> BigInteger::of(right);
}

}  // namespace

bool equal(const Value& left, const Value& right) {
    const Nested nested;
    if (left.is_number() && right.is_number()) return equal_numbers(left, right);
    const bool with_big = left.is(Kind::kBigInt) || right.is(Kind::kBigInt);
    if (with_big && (left.is(Kind::kFloat) || right.is(Kind::kFloat))) return big_order(left, right) == 0;
    if (left.kind() != right.kind()) return false;
    if (left.same_object(right)) return true;
    switch (left.kind()) {
        case Kind::kUndefined:
        case Kind::kNone:
            return true;
        case Kind::kBigInt:
            return left.digits() == right.digits();
        case Kind::kString:
            return left.text() == right.text();
        case Kind::kList:
        case Kind::kTuple:
        case Kind::kView:
            charge_items(left.items().size());
            return equal_items(left.items(), right.items());
        case Kind::kDict:
            return equal_dicts(left.as_dict(), right.as_dict());
        case Kind::kRange:
            return equal_ranges(left.as_range(), right.as_range());
        default:
            return false;
    }
}

bool identical(const Value& left, const Value& right) {
    if (left.kind() != right.kind()) return false;
    switch (left.kind()) {
        case Kind::kNone:
            return true;
        case Kind::kBool:
        case Kind::kInt:
            return left.as_int() == right.as_int();
        case Kind::kString:
            return left.text() == right.text();
        default:
            return left.same_object(right);
    }
}

bool less(const Value& left, const Value& right) {
    const Nested nested;
    if (left.is_integral() && right.is_integral()) return left.as_int() < right.as_int();
    if (left.is_number() && right.is_number()) return left.as_real() < right.as_real();
    const bool with_big = left.is(Kind::kBigInt) || right.is(Kind::kBigInt);
    if (with_big && (left.is_number() || right.is_number() || left.kind() == right.kind())) {
        return big_order(left, right) < 0;
    }
    if (left.is_string() && right.is_string()) return left.text() < right.text();
    const bool sequences = left.kind() == right.kind() && (left.is(Kind::kList) || left.is(Kind::kTuple));
    if (sequences) {
        const size_t common = std::min(left.items().size(), right.items().size());
        for (size_t i = 0; i < common; ++i) {
            if (!equal(left.items()[i], right.items()[i])) return less(left.items()[i], right.items()[i]);
        }
        return left.items().size() < right.items().size();
    }
    if (left.is_undefined()) raise("{}", left.reason());
    if (right.is_undefined()) raise("{}", right.reason());
    raise("'<' not supported between instances of '{}' and '{}'", type_name(left), type_name(right));
}

bool less_or_equal(const Value& left, const Value& right) {
    // Not "not greater": a NaN is neither.
    return less(left, right) || equal(left, right);
}

bool contains(const Value& container, const Value& searched) {
    if (container.is_string()) {
        if (!searched.is_string()) {
            raise("'in <string>' requires string as left operand, not {}", type_name(searched));
        }
        charge_copy(container.text().size());
        return container.text().find(searched.text()) != std::string::npos;
    }
    if (container.is(Kind::kDict)) return container.as_dict().find(searched) != nullptr;
    if (container.is(Kind::kRange) && !searched.is_number()) return false;
    if (!is_iterable(container)) raise("argument of type '{}' is not iterable", type_name(container));
    ItemSource source(container);
    while (const std::optional<Value> next = source.next()) {
        charge_items(1);
        if (equal(*next, searched)) return true;
    }
    return false;
}

Value get_attribute(const Value& object, const std::string& name) {
    if (object.is_undefined()) raise("{}", object.reason());
    if (std::optional<Value> found = find_attribute(object, name)) return *std::move(found);
    if (object.is(Kind::kDict)) {
        if (const Value* found = object.as_dict().find(name)) return *found;
    }
    return Value::undefined(fmt::format("'{}' has no attribute '{}'", describe(object), name));
}

Value get_item(const Value& object, const Value& key) {
    if (object.is_undefined()) raise("{}", object.reason());
    if (std::optional<Value> found = item(object, key)) return *std::move(found);
    if (key.is_string()) {
        if (std::optional<Value> found = find_attribute(object, key.text())) return *std::move(found);
    }
    return no_such_item(object, key);
}

std::optional<Value> find_attribute(const Value& object, std::string_view name) {
    if (object.is(Kind::kNamespace)) {
        const Value* found = object.as_namespace().find(name);
        if (found == nullptr) return std::nullopt;
        return *found;
    }
    if (object.is(Kind::kNative)) return object.as_native().attribute(name);
    if (object.is(Kind::kTuple) && object.sequence().type != nullptr) {
        if (name == "grouper") return object.items()[0];
        if (name == "list") return object.items()[1];
    }
    return find_method(object, name);
}

Value slice(const Value& object, const Value& start, const Value& stop, const Value& step) {
    if (object.is_undefined()) raise("{}", object.reason());
    if (object.is_string()) {
        const StringObject& string = object.as_string();
        return slice_string(string, slice_bounds(static_cast<int64_t>(string.length), start, stop, step));
    }
    if (object.is(Kind::kRange)) {
        const RangeObject& range = object.as_range();
        const SliceBounds bounds = slice_bounds(range.count, start, stop, step);
        auto item_at = [&](int64_t index) {
            int64_t value = 0;
            const bool fits = !__builtin_mul_overflow(index, range.step, &value) &&
                              !__builtin_add_overflow(value, range.start, &value);
            if (!fits) raise("the slice of a range does not fit 64 bits");
            return value;
        };
        int64_t stride = 0;
        if (__builtin_mul_overflow(range.step, bounds.step, &stride)) {
            raise("the slice of a range does not fit 64 bits");
        }
        return Value::range({item_at(bounds.start), item_at(bounds.stop), stride}, bounds.count);
    }
    if (object.is(Kind::kList) || object.is(Kind::kTuple)) {
        const Value::Items& items = object.items();
        const SliceBounds bounds = slice_bounds(static_cast<int64_t>(items.size()), start, stop, step);
        Value::Items taken;
        taken.reserve(static_cast<size_t>(bounds.count));
        int64_t at = bounds.start;
        for (int64_t i = 0; i < bounds.count; ++i) {
            taken.push_back(items[static_cast<size_t>(at)]);
            if (i + 1 < bounds.count) at += bounds.step;
        }
        return object.is(Kind::kList) ? Value::list(std::move(taken)) : Value::tuple(std::move(taken));
    }
    if (object.is(Kind::kDict)) raise("unhashable type: 'slice'");
    raise("'{}' object is not subscriptable", type_name(object));
}

bool has_length(const Value& value) {
    switch (value.kind()) {
        case Kind::kUndefined:
        case Kind::kString:
        case Kind::kList:
        case Kind::kTuple:
        case Kind::kView:
        case Kind::kDict:
        case Kind::kRange:
            return true;
        case Kind::kNative:
            return value.as_native().length().has_value();
        default:
            return false;
    }
}

size_t length(const Value& value) {
    switch (value.kind()) {
        case Kind::kUndefined:
            return 0;
        case Kind::kString:
            return value.as_string().length;
        case Kind::kList:
        case Kind::kTuple:
        case Kind::kView:
            return value.items().size();
        case Kind::kDict:
            return value.as_dict().entries().size();
        case Kind::kRange:
            return static_cast<size_t>(value.as_range().count);
        case Kind::kNative:
            if (const std::optional<size_t> count = value.as_native().length()) return *count;
            break;
        default:
            break;
    }
    raise("object of type '{}' has no len()", type_name(value));
}

bool is_iterable(const Value& value) {
    return value.is(Kind::kIterator) || (has_length(value) && !value.is(Kind::kNative));
}

bool is_callable(const Value& value) {
    return value.is_undefined() || (value.is(Kind::kNative) && value.as_native().callable());
}

ItemSource::ItemSource(Value value) : value_(std::move(value)) {
    if (!is_iterable(value_)) raise("'{}' object is not iterable", type_name(value_));
}

std::optional<Value> ItemSource::next() {
    if (value_.is(Kind::kIterator)) return value_.as_iterator().next();
    if (value_.is_string()) {
        const std::string& text = value_.text();
        if (at_ >= text.size()) return std::nullopt;
        const size_t begin = at_;
        next_code_point(text, at_);
        return Value::string(value_.source().part(begin, at_ - begin));
    }
    if (at_ >= jinja::length(value_)) return std::nullopt;
    const size_t at = at_++;
    if (value_.is(Kind::kDict)) return value_.as_dict().entries()[at].first;
    if (value_.is(Kind::kRange)) return value_.as_range().at(static_cast<int64_t>(at));
    return value_.items()[at];
}

Value::Items iterate(const Value& value) {
    ItemSource source(value);
    Value::Items items;
    if (has_length(value)) items.reserve(jinja::length(value));
    charge_items(items.capacity());
    while (std::optional<Value> next = source.next()) items.push_back(*std::move(next));
    return items;
}

bool is_trusted(const Value& value) {
    return value.is_string() && value.source().trusted();
}

size_t byte_offset(const StringObject& string, size_t index) {
    if (string.ascii()) return index;
    charge_items(string.text.size());
    size_t at = 0;
    for (size_t i = 0; i < index; ++i) next_code_point(string.text, at);
    return at;
}

}  // namespace sluice::jinja
