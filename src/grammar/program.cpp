#include "grammar/program.h"

#include <algorithm>

#include "base/error.h"
#include "grammar/empty_moves.h"
#include "grammar/fixpoint.h"

namespace sluice::grammar {

namespace {

// Bounds what a schema or a grammar may take.
constexpr size_t kMaxNodes = 1'000'000;

}  // namespace

ProgramBuilder::ProgramBuilder() {
    program_.nodes.push_back({.kind = Node::Kind::kReturn});
}

NodeId ProgramBuilder::add(Node node) {
    if (program_.nodes.size() >= kMaxNodes) {
        fail(ErrorCode::kUsage, "needs more than {} places of a grammar", kMaxNodes);
    }
    program_.nodes.push_back(std::move(node));
    return static_cast<NodeId>(program_.nodes.size() - 1);
}

RuleId ProgramBuilder::declare(std::string name) {
    names_.push_back(std::move(name));
    program_.entries.push_back(return_node());
    return static_cast<RuleId>(program_.entries.size() - 1);
}

NodeId ProgramBuilder::lexeme(uint32_t lexeme, NodeId next) {
    return add({.kind = Node::Kind::kLexeme, .value = lexeme, .next = next});
}

NodeId ProgramBuilder::token(TokenId token, NodeId next) {
    return add({.kind = Node::Kind::kToken, .value = static_cast<uint32_t>(token), .next = next});
}

NodeId ProgramBuilder::choice(std::vector<NodeId> choices) {
    return add({.kind = Node::Kind::kChoice, .choices = std::move(choices)});
}

NodeId ProgramBuilder::call(RuleId rule, NodeId next) {
    return add({.kind = Node::Kind::kCall, .value = rule, .next = next});
}

uint32_t ProgramBuilder::add_lexeme(Lexeme lexeme, std::shared_ptr<const LexemeProfiles> profiles) {
    program_.lexemes.push_back({std::move(lexeme), std::move(profiles)});
    return static_cast<uint32_t>(program_.lexemes.size() - 1);
}

std::vector<bool> ProgramBuilder::productive_nodes() const {
    return least_fixpoint(program_, [&](const Node& node, const std::vector<bool>& productive) {
        switch (node.kind) {
            case Node::Kind::kReturn:
            case Node::Kind::kAgain:
                return true;
            case Node::Kind::kToken:
                return bool{productive[node.next]};
            case Node::Kind::kLexeme:
                return productive[node.next] && !program_.lexemes[node.value].lexeme.empty();
            case Node::Kind::kCall:
                return productive[node.next] && productive[program_.entries[node.value]];
            case Node::Kind::kRepeat:
                return productive[node.next] && (node.min == 0 || productive[node.value]);
            case Node::Kind::kChoice:
                return std::ranges::any_of(node.choices, [&](NodeId choice) { return productive[choice]; });
        }
        return false;
    });
}

std::vector<bool> ProgramBuilder::find_productive() const {
    const std::vector<bool> nodes = productive_nodes();
    std::vector<bool> rules(program_.entries.size());
    for (RuleId i = 0; i < rules.size(); ++i) rules[i] = nodes[program_.entries[i]];
    return rules;
}

void ProgramBuilder::prune() {
    const std::vector<bool> productive = productive_nodes();
    for (Node& node : program_.nodes) {
        std::erase_if(node.choices, [&](NodeId choice) { return !productive[choice]; });
        if (node.kind == Node::Kind::kRepeat && !productive[node.value]) node.max = 0;
    }
}

Program ProgramBuilder::finish(RuleId root, uint32_t leading_space) {
    program_.start = call(root, return_node());
    program_.spaced_start = lexeme(leading_space, program_.start);
    if (!find_productive()[root]) fail(ErrorCode::kUsage, "no text is possible: {} allows nothing", names_[root]);
    prune();
    const EmptyMoves moves(program_);
    if (const std::optional<RuleId> rule = moves.find_left_recursion()) {
        fail(ErrorCode::kUsage, "{} begins with itself", names_[*rule]);
    }
    moves.make_progress(program_);
    return std::move(program_);
}

}  // namespace sluice::grammar
