#pragma once

// What plain rules ask of a value, put together kind by kind.

#include <optional>
#include <string>
#include <vector>

#include "grammar/lexeme.h"
#include "grammar/number_automaton.h"
#include "grammar/schema_alternatives.h"

namespace sluice::grammar {

struct TypeSet {
    bool null = true;
    bool boolean = true;
    bool number = true;
    bool integer_only = false;  // of numbers
    bool string = true;
    bool array = true;
    bool object = true;
};

struct StringRules {
    AutomatonPointer automaton = nullptr;  // null: any text
    LengthBounds length = {};
};

struct CountRules {
    uint32_t min = 0;
    uint32_t max = kUnbounded;
};

// Reads plain rules. All throw kUsage naming keyword and place.
class SchemaRules {
  public:
    SchemaRules(const SchemaDocument& document, const PlainRules& rules) : document_(document), rules_(rules) {}

    TypeSet types() const;
    NumberRules number() const;
    StringRules string() const;

    CountRules items() const;
    // How many of the first items have rules of their own.
    size_t prefix_items() const;
    Requirements item(size_t index) const;

    CountRules properties() const;
    // Declared ones in the order of the document, then others that are required.
    std::vector<std::string> property_names() const;
    bool required(const std::string& name) const;
    Requirements property(const std::string& name) const;
    Requirements additional_property() const;
    // What the names must be, if anything.
    Requirements property_name() const;

    // The values that `enum` and `const` leave, where they are given: of all but the first list only that the others
    // have them too.
    std::optional<std::vector<const Json*>> values() const;

    // Of the first of the rules that has the keyword.
    [[noreturn]] void refuse(const char* keyword, std::string_view problem) const;

  private:
    template <typename Visit>
    void for_each(const char* keyword, const Visit& visit) const {
        for (const SchemaId id : rules_) {
            const Json& schema = document_.schema(id);
            if (const auto at = schema.find(keyword); at != schema.end()) visit(id, *at);
        }
    }
    CountRules counts(const char* min, const char* max) const;
    Requirements require(const Json& schema) const;
    void add_bound(std::optional<NumberRules::Bound>& bound, const char* keyword, bool exclusive, bool lower) const;

    const SchemaDocument& document_;
    const PlainRules& rules_;
};

// Equality of JSON values: of numbers by value, of objects in any order.
bool equal_values(const Json& a, const Json& b);

}  // namespace sluice::grammar
