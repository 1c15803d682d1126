#pragma once

// The words of a grammar: texts of an automaton, spelled one way, with a bound on their length.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "grammar/char_automaton.h"
#include "grammar/expression.h"
#include "grammar/spelling.h"

namespace sluice::grammar {

// Where one stands in a lexeme; the count is that of the characters so far.
struct LexemeState {
    uint32_t state = 0;
    Partial partial = {};
    uint32_t count = 0;

    bool operator==(const LexemeState&) const = default;
};

struct LengthBounds {
    uint32_t min = 0;
    uint32_t max = kUnbounded;  // in characters

    bool bounded() const { return min > 0 || max != kUnbounded; }
    bool contains(uint32_t length) const { return length >= min && length <= max; }
};

// From each state of an automaton, the lengths of the texts that end in an accepting one.
class RemainingLengths {
  public:
    // Throws kUsage where the bounds are close together, large, and the automaton large too.
    RemainingLengths(const CharAutomaton& automaton, LengthBounds bounds);

    // Whether a text of `count` characters that ends in `state` can go on to a length within the bounds.
    bool completes(uint32_t state, uint32_t count) const;

  private:
    void find_shortest(const CharAutomaton& automaton);
    void find_longest(const CharAutomaton& automaton);
    void find_exact(const CharAutomaton& automaton);

    LengthBounds bounds_;
    std::vector<uint32_t> shortest_;
    std::vector<uint32_t> longest_;         // kUnbounded: any
    std::vector<std::vector<bool>> exact_;  // [state][length], where a gap between two lengths may matter
};

// Immutable. A bound of 10,000 characters costs what one of 10 does: the automaton has no more states for it.
class Lexeme {
  public:
    Lexeme(AutomatonPointer automaton, Spelling spelling, LengthBounds bounds = {});

    const CharAutomaton& automaton() const { return *automaton_; }
    const AutomatonPointer& automaton_pointer() const { return automaton_; }
    Spelling spelling() const { return spelling_; }
    const LengthBounds& bounds() const { return bounds_; }
    // Nothing is of it.
    bool empty() const;
    bool accepts_nothing_read() const;  // the text of no bytes

    LexemeState start() const;
    // False where no word begins so; the state is then of no use.
    bool step(LexemeState& at, uint8_t byte) const;
    bool ends(const LexemeState& at) const;     // what was read is a word
    bool goes_on(const LexemeState& at) const;  // and more may follow
    bool completes(uint32_t state, uint32_t count) const { return !lengths_ || lengths_->completes(state, count); }

  private:
    bool may_complete(const LexemeState& at) const;

    AutomatonPointer automaton_;
    Spelling spelling_;
    LengthBounds bounds_;
    std::shared_ptr<const RemainingLengths> lengths_;  // null: any length
};

// The states that the character which has begun may lead to: visit(state), until it returns true.
template <typename Visit>
bool any_target(const CharAutomaton& automaton, uint32_t state, Partial partial, const Visit& visit) {
    const auto transitions = automaton.transitions(state);
    const auto possible = partial.possible();
    for (const CharRange& range : possible.list()) {
        auto at = std::ranges::lower_bound(transitions, range.low, {}, &CharAutomaton::Transition::high);
        for (; at != transitions.end() && at->low <= range.high; ++at) {
            if (visit(at->target)) return true;
        }
    }
    return false;
}

}  // namespace sluice::grammar
