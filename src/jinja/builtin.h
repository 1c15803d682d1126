#pragma once

// Functions that the engine provides: filters, tests, methods and globals, with Python's way of passing arguments.

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "jinja/value.h"

namespace sluice::jinja {

// The arguments of one call, in the order of the function's parameters.
class Bound {
  public:
    bool given(size_t index) const { return given_[index]; }
    const Value& operator[](size_t index) const { return values_[index]; }  // undefined where not given

    // Each throws Failure where the argument is of another type, and returns the fallback where it was not given.
    int64_t integer(size_t index, int64_t fallback) const;
    bool flag(size_t index, bool fallback) const;
    std::string text(size_t index, std::string_view fallback) const;
    // Not given or none.
    bool absent(size_t index) const { return !given_[index] || values_[index].is_none(); }

    const Value::Items& rest() const { return rest_; }                                        // of a `*` parameter
    const std::vector<std::pair<std::string, Value>>& keywords() const { return keywords_; }  // of `**`

  private:
    friend Bound bind(const struct Builtin& function, const Value* self, const CallArguments& arguments);
    std::vector<Value> values_;
    std::vector<bool> given_;
    Value::Items rest_;
    std::vector<std::pair<std::string, Value>> keywords_;
};

struct Builtin {
    std::string_view name;
    std::string_view parameters;  // names with spaces between; `name?` may be left out; `*` and `**` take the rest
    Value (*run)(const Bound& arguments);
};

// `self`, if any, is the first argument. Throws Failure as Python does where the arguments do not fit.
Bound bind(const Builtin& function, const Value* self, const CallArguments& arguments);
Value call_builtin(const Builtin& function, const Value& self, const CallArguments& arguments);

// Null where there is none of that name. The tables are sorted by name.
const Builtin* find_filter(std::string_view name);
const Builtin* find_test(std::string_view name);
const Builtin* find_in(std::span<const Builtin> table, std::string_view name);

// A global function, or undefined where there is none of that name.
Value global_function(std::string_view name);

}  // namespace sluice::jinja
