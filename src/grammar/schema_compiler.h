#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "grammar/lexicon.h"
#include "grammar/schema_alternatives.h"
#include "grammar/schema_rules.h"

namespace sluice::grammar {

// Turns schemas into rules of a program: one for each set of schemas that must hold together.
class SchemaCompiler {
  public:
    SchemaCompiler(SchemaDocument& document, const Narrowings& narrowings, ProgramBuilder& builder, Lexicon& lexicon)
        : document_(document), narrowings_(narrowings), builder_(builder), lexicon_(lexicon) {}

    // The rule of the whole document. Throws kUsage.
    RuleId compile();
    // After that: the branches of a oneOf that can hold together.
    std::vector<Exclusion> find_overlaps(const std::vector<bool>& productive) const;

  private:
    RuleId rule_of(Requirements requirements);
    const Alternatives& alternatives_of(const Requirements& requirements);
    NodeId compile_value(const PlainRules& rules);
    NodeId compile_number(const SchemaRules& rules);
    NodeId compile_array(const SchemaRules& rules);
    NodeId compile_object(const SchemaRules& rules);
    NodeId compile_listed(const std::vector<const Json*>& values, const PlainRules& rules);
    NodeId literal(const Json& value, NodeId next);
    NodeId literal_number(const Json& value, NodeId next);
    NodeId member(const std::string& name, RuleId value, NodeId next);
    std::optional<uint32_t> additional_names(const SchemaRules& rules, const std::vector<std::string>& declared);
    NodeId map(uint32_t names, RuleId value, CountRules counts);
    void check_counts(const SchemaRules& rules, size_t names, size_t required, bool more) const;

    bool satisfies(const Json& value, const Requirements& requirements);
    bool satisfies_plain(const Json& value, const PlainRules& rules);
    bool satisfies_array(const Json& value, const SchemaRules& rules);
    bool satisfies_object(const Json& value, const SchemaRules& rules);

    NodeId word(Word word, NodeId next) { return builder_.lexeme(lexicon_.word(word), next); }

    SchemaDocument& document_;
    const Narrowings& narrowings_;
    ProgramBuilder& builder_;
    Lexicon& lexicon_;
    std::map<Requirements, RuleId> rules_;
    std::map<Requirements, Alternatives> alternatives_;
    std::vector<std::pair<RuleId, Requirements>> pending_;
    std::vector<std::pair<RuleId, Exclusion>> exclusions_;
};

}  // namespace sluice::grammar
