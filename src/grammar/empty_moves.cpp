#include "grammar/empty_moves.h"

#include <algorithm>

#include "grammar/fixpoint.h"

namespace sluice::grammar {

EmptyMoves::EmptyMoves(const Program& program) : program_(program) {
    nullable_ = least_fixpoint(program, [&](const Node& node, const std::vector<bool>& known) {
        switch (node.kind) {
            case Node::Kind::kReturn:
            case Node::Kind::kAgain:
                return true;
            case Node::Kind::kToken:
                return false;
            case Node::Kind::kLexeme:
                return known[node.next] && program.lexemes[node.value].lexeme.accepts_nothing_read();
            case Node::Kind::kCall:
                return known[node.next] && known[program.entries[node.value]];
            case Node::Kind::kRepeat:
                return known[node.next] && (node.min == 0 || known[node.value]);
            case Node::Kind::kChoice:
                return std::ranges::any_of(node.choices, [&](NodeId choice) { return known[choice]; });
        }
        return false;
    });
}

// The nodes that one leads to without reading; a rule that is called is not entered.
template <typename Visit>
void EmptyMoves::for_each_target(NodeId id, const Visit& visit) const {
    const Node& node = program_.nodes[id];
    switch (node.kind) {
        case Node::Kind::kReturn:
        case Node::Kind::kToken:
            return;
        case Node::Kind::kLexeme:
            if (program_.lexemes[node.value].lexeme.accepts_nothing_read()) visit(node.next);
            return;
        case Node::Kind::kCall:
            if (nullable_[program_.entries[node.value]]) visit(node.next);
            return;
        case Node::Kind::kRepeat:
            if (node.max > 0) visit(node.value);
            if (node.min == 0 || nullable_[node.value]) visit(node.next);
            return;
        case Node::Kind::kAgain:
            visit(node.value), visit(program_.nodes[node.value].next);
            return;
        case Node::Kind::kChoice:
            for (const NodeId choice : node.choices) visit(choice);
            return;
    }
}

std::optional<RuleId> EmptyMoves::find_left_recursion() const {
    // The rules that each calls before anything was read, and then a cycle among them.
    const size_t rules = program_.entries.size();
    std::vector<std::vector<RuleId>> first(rules);
    std::vector<size_t> incoming(rules);
    std::vector<RuleId> seen(program_.nodes.size(), static_cast<RuleId>(rules));
    for (RuleId rule = 0; rule < rules; ++rule) {
        std::vector<NodeId> pending{program_.entries[rule]};
        while (!pending.empty()) {
            const NodeId id = pending.back();
            pending.pop_back();
            if (seen[id] == rule) continue;
            seen[id] = rule;
            const Node& node = program_.nodes[id];
            if (node.kind == Node::Kind::kCall) first[rule].push_back(node.value), ++incoming[node.value];
            for_each_target(id, [&](NodeId target) { pending.push_back(target); });
        }
    }
    std::vector<RuleId> done;
    for (RuleId rule = 0; rule < rules; ++rule) {
        if (incoming[rule] == 0) done.push_back(rule);
    }
    for (size_t i = 0; i < done.size(); ++i) {
        for (const RuleId called : first[done[i]]) {
            if (--incoming[called] == 0) done.push_back(called);
        }
    }
    if (done.size() == rules) return std::nullopt;
    // What is left is on a cycle or comes after one: going back from callee to caller ends on the cycle.
    std::vector<RuleId> caller(rules);
    RuleId rule = 0;
    for (RuleId i = 0; i < rules; ++i) {
        if (incoming[i] == 0) continue;
        rule = i;
        for (const RuleId called : first[i]) caller[called] = i;
    }
    for (size_t i = 0; i < rules; ++i) rule = caller[rule];
    return rule;
}

void EmptyMoves::make_progress(Program& program) const {
    for (Node& node : program.nodes) {
        if (node.kind == Node::Kind::kRepeat && nullable_[node.value]) node.min = 0;
    }
}

}  // namespace sluice::grammar
