// Values that a schema lists: which of them its other rules leave, and how they are written.

#include <algorithm>

#include "grammar/schema_compiler.h"

namespace sluice::grammar {

NodeId SchemaCompiler::compile_listed(const std::vector<const Json*>& values, const PlainRules& rules) {
    std::vector<std::u32string> strings;
    std::vector<NodeId> choices;
    for (const Json* value : values) {
        if (!satisfies_plain(*value, rules)) continue;
        if (value->is_string()) {
            strings.push_back(to_characters(value->get_ref<const std::string&>()));
        } else {
            choices.push_back(literal(*value, builder_.return_node()));
        }
    }
    if (!strings.empty()) choices.push_back(builder_.lexeme(lexicon_.strings(strings), builder_.return_node()));
    return builder_.choice(std::move(choices));
}

NodeId SchemaCompiler::literal(const Json& value, NodeId next) {
    switch (value.type()) {
        case Json::value_t::null:
            return word(Word::kNull, next);
        case Json::value_t::boolean:
            return word(value.get<bool>() ? Word::kTrue : Word::kFalse, next);
        case Json::value_t::string:
            return builder_.lexeme(lexicon_.strings({to_characters(value.get_ref<const std::string&>())}), next);
        case Json::value_t::array: {
            if (value.empty()) return word(Word::kOpenArray, word(Word::kEndArray, next));
            NodeId after = word(Word::kCloseArray, next);
            for (size_t i = value.size(); i-- > 0;) {
                after = literal(value[i], after);
                if (i > 0) after = word(Word::kComma, after);
            }
            return word(Word::kOpenArray, after);
        }
        case Json::value_t::object: {
            if (value.empty()) return word(Word::kOpenObject, word(Word::kEndObject, next));
            NodeId after = word(Word::kCloseObject, next);
            for (auto at = value.end(); at != value.begin();) {
                --at;
                after = word(Word::kColon, literal(at.value(), after));
                after = builder_.lexeme(lexicon_.strings({to_characters(at.key())}), after);
                if (at != value.begin()) after = word(Word::kComma, after);
            }
            return word(Word::kOpenObject, after);
        }
        default:
            return literal_number(value, next);
    }
}

// In digits, and as the document has it where that is with an exponent.
NodeId SchemaCompiler::literal_number(const Json& value, NodeId next) {
    const std::string text = value.dump();
    const Decimal number = parse_decimal(text);
    const NumberRules::Bound bound{number, false};
    const NodeId digits =
        builder_.lexeme(lexicon_.number({.min = bound, .max = bound, .integer = number.integral()}), next);
    if (text.find('e') == std::string::npos) return digits;
    const auto exact = std::make_shared<const CharAutomaton>(literals({to_characters(text)}));
    return builder_.choice({digits, builder_.lexeme(lexicon_.plain(exact), next)});
}

bool SchemaCompiler::satisfies(const Json& value, const Requirements& requirements) {
    const Alternatives& alternatives = alternatives_of(simplified(document_, requirements));
    return std::ranges::any_of(alternatives.choices,
                               [&](const PlainRules& rules) { return satisfies_plain(value, rules); }) &&
           std::ranges::none_of(alternatives.exclusions,
                                [&](const Exclusion& exclusion) { return satisfies(value, exclusion.both); });
}

bool SchemaCompiler::satisfies_plain(const Json& value, const PlainRules& plain) {
    const SchemaRules rules(document_, plain);
    if (const std::optional<std::vector<const Json*>> values = rules.values()) {
        if (std::ranges::none_of(*values, [&](const Json* v) { return equal_values(*v, value); })) return false;
    }
    const TypeSet types = rules.types();
    switch (value.type()) {
        case Json::value_t::null:
            return types.null;
        case Json::value_t::boolean:
            return types.boolean;
        case Json::value_t::string: {
            if (!types.string) return false;
            const StringRules string = rules.string();
            const std::u32string text = to_characters(value.get_ref<const std::string&>());
            return string.length.contains(static_cast<uint32_t>(text.size())) &&
                   (string.automaton == nullptr || string.automaton->accepts(text));
        }
        case Json::value_t::array:
            return types.array && satisfies_array(value, rules);
        case Json::value_t::object:
            return types.object && satisfies_object(value, rules);
        default:
            break;
    }
    if (!types.number) return false;
    const Decimal number = parse_decimal(value.dump());
    NumberRules with = rules.number();
    if (with.integer && !number.integral()) return false;
    if (with.min && (number < with.min->value || (with.min->exclusive && number == with.min->value))) return false;
    if (with.max && (number > with.max->value || (with.max->exclusive && number == with.max->value))) return false;
    uint64_t remainder = 0;
    for (const char digit : number.whole) {
        remainder = (remainder * 10 + static_cast<uint64_t>(digit - '0')) % with.multiple_of;
    }
    return remainder == 0;
}

bool SchemaCompiler::satisfies_array(const Json& value, const SchemaRules& rules) {
    const CountRules counts = rules.items();
    if (value.size() < counts.min || value.size() > counts.max) return false;
    for (size_t i = 0; i < value.size(); ++i) {
        if (!satisfies(value[i], rules.item(i))) return false;
    }
    return true;
}

bool SchemaCompiler::satisfies_object(const Json& value, const SchemaRules& rules) {
    const CountRules counts = rules.properties();
    if (value.size() < counts.min || value.size() > counts.max) return false;
    for (const std::string& name : rules.property_names()) {
        if (rules.required(name) && !value.contains(name)) return false;
    }
    return std::ranges::all_of(value.items(), [&](const auto& member) {
        return satisfies(Json(member.key()), rules.property_name()) &&
               satisfies(member.value(), rules.property(member.key()));
    });
}

}  // namespace sluice::grammar
