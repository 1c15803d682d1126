#pragma once

// Python's operators over values, with Python's results and its TypeErrors as Failure.

#include <optional>
#include <string>
#include <string_view>

#include "jinja/value.h"

namespace sluice::jinja {

bool truthy(const Value& value);
bool equal(const Value& left, const Value& right);
bool less(const Value& left, const Value& right);
bool less_or_equal(const Value& left, const Value& right);
bool contains(const Value& container, const Value& item);
bool identical(const Value& left, const Value& right);  // Python's `is`

enum class Arithmetic { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower };
Value calculate(Arithmetic operation, const Value& left, const Value& right);
Value negate(const Value& value);
Value positive(const Value& value);

// obj.name and obj[key] with Jinja's fallbacks from one to the other; undefined where both fail.
Value get_attribute(const Value& object, const std::string& name);
Value get_item(const Value& object, const Value& key);
// The attribute alone, without falling back to an item.
std::optional<Value> find_attribute(const Value& object, std::string_view name);
// object[start:stop:step]; each bound an integer or none.
Value slice(const Value& object, const Value& start, const Value& stop, const Value& step);

bool has_length(const Value& value);
size_t length(const Value& value);
bool is_iterable(const Value& value);
bool is_callable(const Value& value);

// Goes through a value as Python's iter() does. An iterator is used up on the way.
class ItemSource {
  public:
    explicit ItemSource(Value value);  // throws Failure for what cannot be iterated
    std::optional<Value> next();

  private:
    Value value_;
    size_t at_ = 0;
};

Value::Items iterate(const Value& value);

std::string to_text(const Value& value);  // str(value)
std::string repr(const Value& value);
std::string float_text(double value);
std::string escape_html(std::string_view text);

// The text itself where the value is a string already.
class TextOf {
  public:
    explicit TextOf(const Value& value) : held_(value) {
        if (!value.is_string()) made_ = to_text(value);
    }
    const std::string& get() const { return held_.is_string() ? held_.text() : made_; }

  private:
    Value held_;
    std::string made_;
};

// The same with its source; what is made of other values is not trusted.
class SourceOf {
  public:
    explicit SourceOf(const Value& value) : held_(value) {
        if (!value.is_string()) made_ = SourcedText(to_text(value));
    }
    const SourcedText& get() const { return held_.is_string() ? held_.source() : made_; }

  private:
    Value held_;
    SourcedText made_;
};

// Whether all of the value is a text that the template wrote.
bool is_trusted(const Value& value);

// Byte offset of a code point index (at most the length) within a string.
size_t byte_offset(const StringObject& string, size_t index);

}  // namespace sluice::jinja
