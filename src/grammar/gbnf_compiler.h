#pragma once

#include <optional>
#include <vector>

#include "grammar/gbnf_parser.h"
#include "grammar/lexicon.h"

namespace sluice::grammar {

// Turns the rules of a grammar into rules of a program. What needs no stack becomes a lexeme, as much at a time as
// possible, so that whole tokens are decided at once.
class GbnfCompiler {
  public:
    // `declared`: the program's rules, by the grammar's numbers; those without a body are defined elsewhere.
    GbnfCompiler(const GbnfGrammar& grammar, std::vector<RuleId> declared, ProgramBuilder& builder, Lexicon& lexicon);

    void compile();

  private:
    // Characters of the expression once its rules are put in; nothing where it is no regular expression, or too large.
    std::optional<uint64_t> regular_size(const Expression& expression);
    std::optional<uint64_t> rule_size(uint32_t rule);
    ExpressionPointer inlined(const ExpressionPointer& expression);

    NodeId build(const ExpressionPointer& expression, NodeId next);
    std::optional<NodeId> build_lexeme(const ExpressionPointer& expression, NodeId next);
    NodeId build_sequence(const Expression& expression, NodeId next);
    NodeId build_alternatives(const Expression& expression, NodeId next);

    const GbnfGrammar& grammar_;
    std::vector<RuleId> declared_;
    ProgramBuilder& builder_;
    Lexicon& lexicon_;
    enum class Known : uint8_t { kNo, kBusy, kYes };
    std::vector<Known> known_;
    std::vector<std::optional<uint64_t>> sizes_;
};

}  // namespace sluice::grammar
