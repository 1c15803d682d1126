#include "grammar/schema_rules.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "base/error.h"
#include "grammar/determinize.h"
#include "grammar/pattern_parser.h"
#include "grammar/string_formats.h"

namespace sluice::grammar {

namespace {

constexpr uint32_t kMaxMultiple = 10'000;
// A bounded repetition from here on is counted by the length of the text instead, where it comes to the same.
constexpr uint32_t kCountedRepeat = 32;

uint32_t to_count(const Json& value) {
    const double number = value.get<double>();
    return number >= static_cast<double>(kUnbounded) ? kUnbounded : static_cast<uint32_t>(number);
}

TypeSet types_of(const Json& value) {
    const auto names = [&](std::string_view type) {
        const auto is = [&](const Json& v) { return v.get_ref<const std::string&>() == type; };
        return value.is_string() ? is(value) : std::ranges::any_of(value, is);
    };
    const bool number = names("number");
    return {.null = names("null"),
            .boolean = names("boolean"),
            .number = number || names("integer"),
            .integer_only = !number,
            .string = names("string"),
            .array = names("array"),
            .object = names("object")};
}

// Where all but one repetition of a whole text has a fixed length, the bounds of that repetition are bounds on the
// length of the text: a{1,10000} is then no automaton of 10,000 states.
ExpressionPointer lift_bounds(const ExpressionPointer& pattern, LengthBounds& length) {
    if (pattern->kind != Expression::Kind::kSequence || pattern->parts.size() < 3) return pattern;
    if (pattern->parts.front()->kind != Expression::Kind::kBegin) return pattern;
    if (pattern->parts.back()->kind != Expression::Kind::kEnd) return pattern;
    uint64_t fixed = 0;
    std::optional<size_t> counted;
    for (size_t i = 0; i < pattern->parts.size(); ++i) {
        const Expression& part = *pattern->parts[i];
        if (const std::optional<uint64_t> width = fixed_width(part)) {
            fixed += *width;
        } else if (part.kind == Expression::Kind::kRepeat && fixed_width(*part.parts.front()) == 1 && !counted &&
                   (part.min >= kCountedRepeat || (part.max != kUnbounded && part.max >= kCountedRepeat))) {
            counted = i;
        } else {
            return pattern;
        }
    }
    if (!counted) return pattern;
    const Expression& repeat = *pattern->parts[*counted];
    const auto plus = [&](uint32_t count) {
        return count == kUnbounded ? kUnbounded
                                   : static_cast<uint32_t>(std::min<uint64_t>(count + fixed, kUnbounded - 1));
    };
    length = {plus(repeat.min), plus(repeat.max)};
    std::vector<ExpressionPointer> parts = pattern->parts;
    parts[*counted] = repeat_of(repeat.parts.front(), 0, kUnbounded);
    return sequence_of(std::move(parts));
}

void narrow(LengthBounds& length, const LengthBounds& by) {
    length.min = std::max(length.min, by.min);
    length.max = std::min(length.max, by.max);
}

}  // namespace

TypeSet SchemaRules::types() const {
    TypeSet types;
    for_each("type", [&](SchemaId, const Json& value) {
        const TypeSet more = types_of(value);
        types = {.null = types.null && more.null,
                 .boolean = types.boolean && more.boolean,
                 .number = types.number && more.number,
                 .integer_only = types.integer_only || (more.number && more.integer_only),
                 .string = types.string && more.string,
                 .array = types.array && more.array,
                 .object = types.object && more.object};
    });
    return types;
}

void SchemaRules::add_bound(std::optional<NumberRules::Bound>& bound, const char* keyword, bool exclusive,
                            bool lower) const {
    for_each(keyword, [&](SchemaId, const Json& value) {
        const Decimal limit = parse_decimal(value.dump());
        const bool narrower =
            !bound || (lower ? limit > bound->value : limit < bound->value) || (limit == bound->value && exclusive);
        if (narrower) bound = NumberRules::Bound{limit, exclusive};
    });
}

NumberRules SchemaRules::number() const {
    NumberRules rules{.integer = types().integer_only};
    add_bound(rules.min, "minimum", false, true);
    add_bound(rules.min, "exclusiveMinimum", true, true);
    add_bound(rules.max, "maximum", false, false);
    add_bound(rules.max, "exclusiveMaximum", true, false);
    for_each("multipleOf", [&](SchemaId id, const Json& value) {
        const double step = value.get<double>();
        const double whole = std::floor(step);
        if (step != whole || step > kMaxMultiple) {
            document_.refuse(id, "multipleOf", "is supported for whole numbers up to 10000");
        }
        rules.integer = true;
        const uint64_t common = std::lcm(uint64_t{rules.multiple_of}, static_cast<uint64_t>(step));
        if (common > kMaxMultiple) document_.refuse(id, "multipleOf", "has too large a common multiple with another");
        rules.multiple_of = static_cast<uint32_t>(common);
    });
    return rules;
}

StringRules SchemaRules::string() const {
    StringRules rules;
    const auto add = [&](SchemaId id, const char* keyword, const auto& make) {
        try {
            AutomatonPointer automaton = make();
            if (automaton == nullptr) return;
            rules.automaton = rules.automaton == nullptr
                                  ? std::move(automaton)
                                  : std::make_shared<const CharAutomaton>(intersection(*rules.automaton, *automaton));
        } catch (const Error& error) {
            document_.refuse(id, keyword, error.what());
        }
    };
    for_each("pattern", [&](SchemaId id, const Json& value) {
        add(id, "pattern", [&] {
            LengthBounds length;
            const ExpressionPointer pattern = lift_bounds(parse_pattern(value.get_ref<const std::string&>()), length);
            narrow(rules.length, length);
            return std::make_shared<const CharAutomaton>(determinize(*pattern, Match::kAnywhere));
        });
    });
    for_each("format", [&](SchemaId id, const Json& value) {
        add(id, "format", [&] { return find_string_format(value.get_ref<const std::string&>()); });
    });
    const CountRules length = counts("minLength", "maxLength");
    narrow(rules.length, {length.min, length.max});
    return rules;
}

CountRules SchemaRules::counts(const char* min, const char* max) const {
    CountRules rules;
    for_each(min, [&](SchemaId id, const Json& value) {
        if (to_count(value) == kUnbounded) document_.refuse(id, min, "is too large");
        rules.min = std::max(rules.min, to_count(value));
    });
    for_each(max, [&](SchemaId, const Json& value) { rules.max = std::min(rules.max, to_count(value)); });
    return rules;
}

CountRules SchemaRules::items() const {
    const CountRules rules = counts("minItems", "maxItems");
    for_each("uniqueItems", [&](SchemaId id, const Json& value) {
        if (value.get<bool>() && rules.max > 1) {
            document_.refuse(id, "uniqueItems", "is not supported for lists of two and more");
        }
    });
    return rules;
}

size_t SchemaRules::prefix_items() const {
    size_t most = 0;
    for_each("prefixItems", [&](SchemaId, const Json& value) { most = std::max(most, value.size()); });
    for_each("items", [&](SchemaId, const Json& value) {
        if (value.is_array()) most = std::max(most, value.size());
    });
    return most;
}

Requirements SchemaRules::require(const Json& schema) const {
    return {{document_.id_of(schema), false}};
}

Requirements SchemaRules::item(size_t index) const {
    Requirements all;
    for (const SchemaId id : rules_) {
        const Json& schema = document_.schema(id);
        const bool old_form = schema.contains("items") && schema["items"].is_array();
        const char* first = old_form ? "items" : "prefixItems";
        const char* rest = old_form ? "additionalItems" : "items";
        if (schema.contains(first) && index < schema[first].size()) {
            all.push_back({document_.id_of(schema[first][index]), false});
        } else if (schema.contains(rest)) {
            all.push_back({document_.id_of(schema[rest]), false});
        }
    }
    return all;
}

CountRules SchemaRules::properties() const {
    return counts("minProperties", "maxProperties");
}

std::vector<std::string> SchemaRules::property_names() const {
    std::vector<std::string> names;
    std::set<std::string> known;
    const auto add = [&](const std::string& name) {
        if (known.insert(name).second) names.push_back(name);
    };
    for_each("properties", [&](SchemaId, const Json& value) {
        for (const auto& [name, schema] : value.items()) add(name);
    });
    for_each("required", [&](SchemaId, const Json& value) {
        for (const Json& name : value) add(name.get<std::string>());
    });
    return names;
}

bool SchemaRules::required(const std::string& name) const {
    bool found = false;
    for_each("required", [&](SchemaId, const Json& value) {
        found = found || std::ranges::any_of(value, [&](const Json& v) { return v == Json(name); });
    });
    return found;
}

Requirements SchemaRules::property(const std::string& name) const {
    Requirements all;
    for (const SchemaId id : rules_) {
        const Json& schema = document_.schema(id);
        if (schema.contains("properties") && schema["properties"].contains(name)) {
            all.push_back({document_.id_of(schema["properties"][name]), false});
        } else if (schema.contains("additionalProperties")) {
            all.push_back({document_.id_of(schema["additionalProperties"]), false});
        }
    }
    return all;
}

Requirements SchemaRules::additional_property() const {
    Requirements all;
    for_each("additionalProperties", [&](SchemaId, const Json& value) {
        all.push_back({document_.id_of(value), false});
    });
    return all;
}

Requirements SchemaRules::property_name() const {
    Requirements all;
    for_each("propertyNames", [&](SchemaId, const Json& value) { all.push_back({document_.id_of(value), false}); });
    return all;
}

std::optional<std::vector<const Json*>> SchemaRules::values() const {
    std::optional<std::vector<const Json*>> left;
    const auto narrow_to = [&](const std::vector<const Json*>& values) {
        if (!left) {
            left = values;
            return;
        }
        std::erase_if(*left, [&](const Json* kept) {
            return std::ranges::none_of(values, [&](const Json* v) { return equal_values(*v, *kept); });
        });
    };
    for_each("enum", [&](SchemaId, const Json& value) {
        std::vector<const Json*> values;
        for (const Json& v : value) values.push_back(&v);
        narrow_to(values);
    });
    for_each("const", [&](SchemaId, const Json& value) { narrow_to({&value}); });
    return left;
}

void SchemaRules::refuse(const char* keyword, std::string_view problem) const {
    for_each(keyword, [&](SchemaId id, const Json&) { document_.refuse(id, keyword, problem); });
    fail(ErrorCode::kUsage, "`{}` {}", keyword, problem);
}

bool equal_values(const Json& a, const Json& b) {
    if (a.is_number() && b.is_number()) return parse_decimal(a.dump()) == parse_decimal(b.dump());
    if (a.type() != b.type()) return false;
    if (a.is_array()) return std::ranges::equal(a, b, equal_values);
    if (!a.is_object()) return a == b;
    return a.size() == b.size() && std::ranges::all_of(a.items(), [&](const auto& member) {
               const auto at = b.find(member.key());
               return at != b.end() && equal_values(member.value(), *at);
           });
}

}  // namespace sluice::grammar
