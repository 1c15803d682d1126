#pragma once

// A grammar as a graph: rules that call each other over lexemes and tokens.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "grammar/lexeme.h"
#include "grammar/lexeme_profile.h"

namespace sluice::grammar {

using NodeId = uint32_t;
using RuleId = uint32_t;

// What a text may go on with at a place; `next` is the place after it.
struct Node {
    enum class Kind : uint8_t {
        kLexeme,  // the lexeme `value`
        kToken,   // the one token of id `value`
        kChoice,  // any of `choices`
        kCall,    // the rule `value`
        kReturn,  // the end of a rule
        kRepeat,  // `min` to `max` times what begins at `value` and ends in the kAgain of this node
        kAgain,   // the end of what the node `value` repeats
    };

    Kind kind = Kind::kReturn;
    uint32_t value = 0;
    NodeId next = 0;
    std::vector<NodeId> choices = {};
    uint32_t min = 0;
    uint32_t max = 0;
};

struct ProgramLexeme {
    Lexeme lexeme;
    std::shared_ptr<const LexemeProfiles> profiles;
};

// Immutable once ProgramBuilder gives it out. From every place of it some text leads to the end.
struct Program {
    std::vector<Node> nodes;
    std::vector<ProgramLexeme> lexemes;
    std::vector<NodeId> entries;  // of the rules
    NodeId start = 0;
    NodeId spaced_start = 0;  // the same past white space
};

// Puts a program together from the end to the begin: what adds a node is told the node after it.
class ProgramBuilder {
  public:
    ProgramBuilder();

    // A rule that is given its entry later. `name` is for messages.
    RuleId declare(std::string name);
    void define(RuleId rule, NodeId entry) { program_.entries[rule] = entry; }

    NodeId return_node() const { return 0; }
    // Nothing leads on from it.
    NodeId nothing() { return choice({}); }
    NodeId lexeme(uint32_t lexeme, NodeId next);
    NodeId token(TokenId token, NodeId next);
    NodeId choice(std::vector<NodeId> choices);
    // A choice that is given more of them later.
    void add_choice(NodeId choice, NodeId more) { program_.nodes[choice].choices.push_back(more); }
    NodeId call(RuleId rule, NodeId next);
    // `min` to `max` times `body`, which makes its nodes before the one that it is told.
    template <typename Body>
    NodeId repeat(uint32_t min, uint32_t max, NodeId next, const Body& body) {
        if (max == kUnbounded && min <= 1) return loop(min, next, body);
        const NodeId node = add({.kind = Node::Kind::kRepeat, .next = next, .min = min, .max = max});
        const NodeId entry = body(add({.kind = Node::Kind::kAgain, .value = node}));
        program_.nodes[node].value = entry;
        return node;
    }

    uint32_t add_lexeme(Lexeme lexeme, std::shared_ptr<const LexemeProfiles> profiles);
    const Lexeme& lexeme_at(uint32_t index) const { return program_.lexemes[index].lexeme; }
    size_t rules() const { return program_.entries.size(); }

    // After the last define(): of each rule, whether any text is of it.
    std::vector<bool> find_productive() const;
    // The program of the text `root`, with white space of the lexeme before it at its second start. Drops what leads
    // nowhere. Throws kUsage where that is the whole, or naming a rule that begins with itself.
    Program finish(RuleId root, uint32_t leading_space);

  private:
    template <typename Body>
    NodeId loop(uint32_t min, NodeId next, const Body& body) {
        const NodeId again = choice({next});
        const NodeId entry = body(again);
        add_choice(again, entry);
        return min == 0 ? again : entry;
    }
    NodeId add(Node node);
    std::vector<bool> productive_nodes() const;
    void prune();

    Program program_;
    std::vector<std::string> names_;
};

}  // namespace sluice::grammar
