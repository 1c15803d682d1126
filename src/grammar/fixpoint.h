#pragma once

#include <vector>

#include "grammar/program.h"

namespace sluice::grammar {

// The nodes that the truth about one node is drawn from: visit(node).
template <typename Visit>
void for_each_dependency(const Program& program, const Node& node, const Visit& visit) {
    switch (node.kind) {
        case Node::Kind::kReturn:
        case Node::Kind::kAgain:
            return;
        case Node::Kind::kLexeme:
        case Node::Kind::kToken:
            visit(node.next);
            return;
        case Node::Kind::kCall:
            visit(node.next), visit(program.entries[node.value]);
            return;
        case Node::Kind::kRepeat:
            visit(node.next), visit(node.value);
            return;
        case Node::Kind::kChoice:
            for (const NodeId choice : node.choices) visit(choice);
            return;
    }
}

// The nodes for which something holds, found from those for which it holds by itself: holds(node, known) is asked again
// whenever more is known of what the node depends on.
template <typename Holds>
std::vector<bool> least_fixpoint(const Program& program, const Holds& holds) {
    const size_t count = program.nodes.size();
    std::vector<uint32_t> begins(count + 1);
    for (const Node& node : program.nodes) {
        for_each_dependency(program, node, [&](NodeId on) { ++begins[on + 1]; });
    }
    for (size_t i = 0; i < count; ++i) begins[i + 1] += begins[i];
    std::vector<NodeId> dependents(begins[count]);
    std::vector<uint32_t> filled(begins.begin(), begins.end() - 1);
    for (NodeId i = 0; i < count; ++i) {
        for_each_dependency(program, program.nodes[i], [&](NodeId on) { dependents[filled[on]++] = i; });
    }
    std::vector<bool> known(count);
    std::vector<NodeId> pending;
    const auto ask = [&](NodeId id) {
        if (known[id] || !holds(program.nodes[id], known)) return;
        known[id] = true;
        pending.push_back(id);
    };
    for (NodeId i = 0; i < count; ++i) ask(i);
    while (!pending.empty()) {
        const NodeId id = pending.back();
        pending.pop_back();
        for (uint32_t i = begins[id]; i < begins[id + 1]; ++i) ask(dependents[i]);
    }
    return known;
}

}  // namespace sluice::grammar
