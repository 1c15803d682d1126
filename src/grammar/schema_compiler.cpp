#include "grammar/schema_compiler.h"

#include <algorithm>

#include "base/error.h"

namespace sluice::grammar {

namespace {

constexpr size_t kMaxRules = 50'000;

CountRules minus(CountRules counts, size_t done) {
    const auto less = static_cast<uint32_t>(done);
    counts.min -= std::min(counts.min, less);
    if (counts.max != kUnbounded) counts.max -= std::min(counts.max, less);
    return counts;
}

}  // namespace

RuleId SchemaCompiler::compile() {
    const RuleId root = rule_of({{0, false}});
    while (!pending_.empty()) {
        const auto [rule, requirements] = std::move(pending_.back());
        pending_.pop_back();
        const Alternatives& alternatives = alternatives_of(requirements);
        std::vector<NodeId> choices;
        for (const PlainRules& rules : alternatives.choices) choices.push_back(compile_value(rules));
        builder_.define(rule, builder_.choice(std::move(choices)));
        for (const Exclusion& exclusion : alternatives.exclusions) {
            exclusions_.emplace_back(rule_of(exclusion.both), exclusion);
        }
    }
    return root;
}

std::vector<Exclusion> SchemaCompiler::find_overlaps(const std::vector<bool>& productive) const {
    std::vector<Exclusion> overlaps;
    for (const auto& [rule, exclusion] : exclusions_) {
        if (productive[rule]) overlaps.push_back(exclusion);
    }
    return overlaps;
}

RuleId SchemaCompiler::rule_of(Requirements requirements) {
    requirements = simplified(document_, std::move(requirements));
    const auto [at, fresh] = rules_.try_emplace(requirements);
    if (!fresh) return at->second;
    if (rules_.size() > kMaxRules) fail(ErrorCode::kUsage, "the schema needs more than {} rules", kMaxRules);
    const std::string place =
        requirements.empty() ? "any value" : "the schema at " + document_.pointer(requirements.front().schema);
    at->second = builder_.declare(place);
    pending_.emplace_back(at->second, std::move(requirements));
    return at->second;
}

const Alternatives& SchemaCompiler::alternatives_of(const Requirements& requirements) {
    const auto at = alternatives_.find(requirements);
    if (at != alternatives_.end()) return at->second;
    return alternatives_.emplace(requirements, resolve_alternatives(document_, requirements, narrowings_))
        .first->second;
}

NodeId SchemaCompiler::compile_value(const PlainRules& plain) {
    const SchemaRules rules(document_, plain);
    if (const std::optional<std::vector<const Json*>> values = rules.values()) return compile_listed(*values, plain);
    const NodeId end = builder_.return_node();
    const TypeSet types = rules.types();
    std::vector<NodeId> choices;
    if (types.null) choices.push_back(word(Word::kNull, end));
    if (types.boolean) choices.insert(choices.end(), {word(Word::kTrue, end), word(Word::kFalse, end)});
    if (types.number) choices.push_back(compile_number(rules));
    if (types.string) {
        StringRules string = rules.string();
        choices.push_back(builder_.lexeme(lexicon_.string(std::move(string.automaton), string.length), end));
    }
    if (types.array) choices.push_back(compile_array(rules));
    if (types.object) choices.push_back(compile_object(rules));
    return builder_.choice(std::move(choices));
}

NodeId SchemaCompiler::compile_number(const SchemaRules& rules) {
    const NumberRules number = rules.number();
    const NodeId end = builder_.return_node();
    const NodeId digits = builder_.lexeme(lexicon_.number(number), end);
    if (number.integer || number.min || number.max) return digits;
    return builder_.choice({digits, word(Word::kExponentNumber, end)});
}

// From the last element to the first; what is told is the element before which one stands.
NodeId SchemaCompiler::compile_array(const SchemaRules& rules) {
    const CountRules counts = rules.items();
    const NodeId close = word(Word::kCloseArray, builder_.return_node());
    // Elements up to here have places of their own: those with own rules, and the first, which has no comma.
    const size_t own = std::max<size_t>(std::min<size_t>(rules.prefix_items(), counts.max), 1);
    const RuleId rest = rule_of(rules.item(rules.prefix_items()));
    const CountRules left = minus(counts, own);
    NodeId after = counts.max >= own && counts.min <= counts.max
                       ? builder_.repeat(left.min, left.max, close,
                                         [&](NodeId again) { return word(Word::kComma, builder_.call(rest, again)); })
                       : builder_.nothing();
    for (size_t i = own; i-- > 0;) {
        const NodeId element = builder_.call(rule_of(rules.item(i)), after);
        if (i == 0) {
            std::vector<NodeId> choices{element};
            if (counts.max == 0) choices.clear();
            if (counts.min == 0) choices.push_back(word(Word::kEndArray, builder_.return_node()));
            after = builder_.choice(std::move(choices));
        } else {
            std::vector<NodeId> choices{word(Word::kComma, element)};
            if (counts.min <= i) choices.push_back(close);
            after = builder_.choice(std::move(choices));
        }
    }
    return word(Word::kOpenArray, after);
}

NodeId SchemaCompiler::member(const std::string& name, RuleId value, NodeId next) {
    const uint32_t literal = lexicon_.strings({to_characters(name)});
    return builder_.lexeme(literal, word(Word::kColon, builder_.call(value, next)));
}

// The lexeme of the names that are not declared; nothing where there are none.
std::optional<uint32_t> SchemaCompiler::additional_names(const SchemaRules& rules,
                                                         const std::vector<std::string>& declared) {
    std::vector<std::u32string> texts;
    for (const std::string& name : declared) texts.push_back(to_characters(name));
    const AutomatonPointer any = lexicon_.common()[Word::kAnyString]->automaton();
    const Alternatives& alternatives = alternatives_of(simplified(document_, rules.property_name()));
    if (alternatives.choices.size() != 1) {
        if (alternatives.choices.empty()) return std::nullopt;
        rules.refuse("propertyNames", "is supported without alternatives");
    }
    const SchemaRules names(document_, alternatives.choices.front());
    if (!names.types().string) return std::nullopt;
    StringRules string = names.string();
    if (const std::optional<std::vector<const Json*>> values = names.values()) {
        std::vector<std::u32string> listed;
        for (const Json* value : *values) {
            if (satisfies_plain(*value, alternatives.choices.front())) {
                listed.push_back(to_characters(value->get_ref<const std::string&>()));
            }
        }
        string = {std::make_shared<const CharAutomaton>(literals(listed)), {}};
    }
    if (texts.empty()) return lexicon_.string(string.automaton, string.length);
    const CharAutomaton& base = string.automaton == nullptr ? *any : *string.automaton;
    auto others = std::make_shared<const CharAutomaton>(difference(base, literals(texts)));
    return lexicon_.string(std::move(others), string.length);
}

void SchemaCompiler::check_counts(const SchemaRules& rules, size_t names, size_t required, bool more) const {
    const CountRules counts = rules.properties();
    if (counts.min > required && counts.min > 1) {
        rules.refuse("minProperties", "is supported up to 1 and up to the number of required properties");
    }
    if (more ? counts.max != kUnbounded : counts.max < names) {
        rules.refuse("maxProperties", "is supported where no property is declared");
    }
}

// An object with any names that the lexeme allows: its members are counted.
NodeId SchemaCompiler::map(uint32_t names, RuleId value, CountRules counts) {
    const NodeId close = word(Word::kCloseObject, builder_.return_node());
    const auto one = [&](NodeId next) {
        return builder_.lexeme(names, word(Word::kColon, builder_.call(value, next)));
    };
    const CountRules left = minus(counts, 1);
    std::vector<NodeId> choices;
    if (counts.max > 0) {
        choices.push_back(one(
            builder_.repeat(left.min, left.max, close, [&](NodeId again) { return word(Word::kComma, one(again)); })));
    }
    if (counts.min == 0) choices.push_back(word(Word::kEndObject, builder_.return_node()));
    return word(Word::kOpenObject, builder_.choice(std::move(choices)));
}

// Declared properties in their order, then others. From the last to the first: `member` is the place where one must
// come, `after` the one where some came already.
NodeId SchemaCompiler::compile_object(const SchemaRules& rules) {
    const std::vector<std::string> names = rules.property_names();
    const RuleId additional = rule_of(rules.additional_property());
    const std::optional<uint32_t> other_names = additional_names(rules, names);
    const bool others = other_names && !builder_.lexeme_at(*other_names).empty() &&
                        !alternatives_of(simplified(document_, rules.additional_property())).choices.empty();
    const CountRules counts = rules.properties();
    if (names.empty() && others && counts.min <= 1) return map(*other_names, additional, counts);

    const auto is_required = [&](const std::string& name) { return rules.required(name); };
    const auto required = static_cast<size_t>(std::ranges::count_if(names, is_required));
    check_counts(rules, names.size(), required, others);
    const NodeId close = word(Word::kCloseObject, builder_.return_node());
    NodeId next_member = builder_.nothing(), after = builder_.choice({close});
    if (others) {
        next_member = builder_.lexeme(*other_names, word(Word::kColon, builder_.call(additional, after)));
        builder_.add_choice(after, word(Word::kComma, next_member));
    }
    bool may_end = true;  // no required one is left
    for (size_t i = names.size(); i-- > 0;) {
        const bool needed = is_required(names[i]);
        const bool named = satisfies(Json(names[i]), simplified(document_, rules.property_name()));
        const NodeId own = named ? member(names[i], rule_of(rules.property(names[i])), after) : builder_.nothing();
        next_member = needed ? own : builder_.choice({own, next_member});
        may_end = may_end && !needed;
        after = builder_.choice({word(Word::kComma, next_member)});
        if (may_end) builder_.add_choice(after, close);
    }
    std::vector<NodeId> choices{next_member};
    if (may_end && counts.min == 0) choices.push_back(word(Word::kEndObject, builder_.return_node()));
    return word(Word::kOpenObject, builder_.choice(std::move(choices)));
}

}  // namespace sluice::grammar
