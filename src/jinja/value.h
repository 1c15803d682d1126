#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "jinja/sourced_text.h"

namespace sluice::jinja {

class Value;

constexpr int kMaxNesting = 400;  // of lists in lists and so on

// Everything a value holds by reference. Counts in the current rendering. Objects nest to a bounded depth, which is
// what makes walking and destroying them by recursion safe.
class Object {
  public:
    Object(size_t bytes, int nesting);
    virtual ~Object();
    Object(const Object&) = delete;
    Object& operator=(const Object&) = delete;

    int nesting() const { return nesting_; }
    virtual void drop_references() {}

  protected:
    void grow(size_t bytes);

  private:
    class Render* render_;
    size_t bytes_;
    int nesting_;
};

enum class Kind : uint8_t {
    kUndefined,
    kNone,
    kBool,
    kInt,
    kBigInt,  // an integer that does not fit 64 bits, kept as its digits
    kFloat,
    kString,
    kList,
    kTuple,
    kView,  // what dict.items(), keys() and values() return
    kDict,
    kRange,
    kIterator,
    kNamespace,
    kNative,
};

struct RangeBounds {
    int64_t start;
    int64_t stop;
    int64_t step;
};

class StringObject;
class DictObject;
class RangeObject;
class IteratorObject;
class NamespaceObject;
class SequenceObject;
class Native;

// A Python value as templates see it. Strings, lists, tuples, dicts never change once made.
class Value {
  public:
    using Items = std::vector<Value>;
    using Entries = std::vector<std::pair<Value, Value>>;

    Value() = default;  // undefined, without a reason
    static Value undefined(std::string reason);
    static Value none();
    static Value boolean(bool value);
    static Value integer(int64_t value);
    static Value big_integer(std::string digits);
    static Value real(double value);
    // `markup`: already escaped for HTML (the `safe` and `escape` filters); joining it with `+` escapes the other side.
    // A text alone is not trusted; see SourcedText.
    static Value string(std::string text, bool markup = false);
    static Value string(SourcedText text, bool markup = false);
    static Value list(Items items);
    static Value tuple(Items items);
    static Value group(Value grouper, Value members);  // a pair with names, of the groupby filter
    static Value view(const char* type, Items items);
    static Value dict(Entries entries);  // later entries replace earlier ones with an equal key
    static Value range(const RangeBounds& bounds, int64_t count);
    static Value iterator(const char* function, Items items);
    static Value new_namespace(Entries entries);
    static Value native(std::shared_ptr<Native> object);

    Kind kind() const { return kind_; }
    bool is(Kind kind) const { return kind_ == kind; }
    bool is_undefined() const { return kind_ == Kind::kUndefined; }
    bool is_none() const { return kind_ == Kind::kNone; }
    bool is_string() const { return kind_ == Kind::kString; }
    bool is_integral() const { return kind_ == Kind::kInt || kind_ == Kind::kBool; }
    bool is_number() const { return is_integral() || kind_ == Kind::kFloat; }

    bool as_bool() const { return integer_ != 0; }
    int64_t as_int() const { return integer_; }  // of a bool too
    double as_real() const { return kind_ == Kind::kFloat ? real_ : static_cast<double>(integer_); }
    const StringObject& as_string() const;
    const std::string& text() const;    // of a string
    const SourcedText& source() const;  // of a string
    const std::string& reason() const;  // of an undefined
    const std::string& digits() const;  // of a big integer
    const Items& items() const;         // of a list, a tuple or a view
    const SequenceObject& sequence() const;
    const DictObject& as_dict() const;
    const RangeObject& as_range() const;
    IteratorObject& as_iterator() const;
    NamespaceObject& as_namespace() const;
    Native& as_native() const;

    int nesting() const { return object_ ? object_->nesting() : 0; }
    bool same_object(const Value& other) const { return object_ && object_ == other.object_; }

  private:
    Value(Kind kind, std::shared_ptr<Object> object) : kind_(kind), object_(std::move(object)) {}

    Kind kind_ = Kind::kUndefined;
    union {
        int64_t integer_ = 0;
        double real_;
    };
    std::shared_ptr<Object> object_;
};

class StringObject : public Object {
  public:
    StringObject(SourcedText text, bool markup);
    const SourcedText source;
    const std::string& text;
    const size_t length;  // code points
    const bool markup;
    bool ascii() const { return length == text.size(); }
};

class SequenceObject : public Object {
  public:
    SequenceObject(Value::Items items, const char* type);
    const Value::Items items;
    const char* const type;  // of a view, "dict_items"; of a pair of groupby, "group"; else null
};

class DictObject : public Object {
  public:
    explicit DictObject(Value::Entries given);
    const Value::Entries& entries() const { return entries_; }
    const Value* find(const Value& key) const;  // throws Failure for a key that cannot be hashed
    const Value* find(std::string_view key) const;

  private:
    std::optional<size_t> place(const Value& key) const;
    Value::Entries entries_;
    std::unordered_map<std::string_view, size_t> strings_;  // of the keys that are strings
};

class RangeObject : public Object {
  public:
    RangeObject(const RangeBounds& bounds, int64_t length);
    const int64_t start;
    const int64_t stop;
    const int64_t step;
    const int64_t count;
    Value at(int64_t index) const { return Value::integer(start + index * step); }
};

// What Python's generators are to a template: items that can be gone through once.
class IteratorObject : public Object {
  public:
    IteratorObject(Value::Items items, const char* function);
    const char* const function;
    std::optional<Value> next();

  private:
    Value::Items items_;
    size_t at_ = 0;
};

class NamespaceObject : public Object {
  public:
    explicit NamespaceObject(Value::Entries entries);
    const Value::Entries& entries() const { return entries_; }
    const Value* find(std::string_view name) const;
    void set(std::string_view name, Value value);
    void drop_references() override { entries_.clear(); }

  private:
    Value::Entries entries_;
};

struct CallArguments {
    Value::Items positional;
    std::vector<std::pair<std::string, Value>> keywords;
};

// Objects with behaviour: functions, methods, macros, `loop`.
class Native : public Object {
  public:
    using Object::Object;
    virtual std::string type() const = 0;
    virtual std::string repr() const = 0;
    virtual bool callable() const { return true; }
    virtual Value call(const CallArguments& arguments);
    virtual std::optional<Value> attribute(std::string_view name);
    virtual std::optional<size_t> length() { return std::nullopt; }
};

// The name of the Python type, as its error messages write it.
std::string type_name(const Value& value);

}  // namespace sluice::jinja
