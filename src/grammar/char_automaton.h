#pragma once

// Deterministic finite automata over characters.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "grammar/char_set.h"

namespace sluice::grammar {

// State 0 is the start. From every state some text leads to an accepting one, so that whoever follows the automaton
// never stands where nothing can come. Immutable.
class CharAutomaton {
  public:
    static constexpr uint32_t kDead = UINT32_MAX;

    struct Transition {
        char32_t low = 0;
        char32_t high = 0;
        uint32_t target = 0;
    };
    struct State {
        std::vector<Transition> transitions = {};  // ascending, disjoint
        bool accepting = false;
    };

    CharAutomaton() = default;  // accepts nothing
    // What leads nowhere is dropped.
    explicit CharAutomaton(const std::vector<State>& states);

    bool empty() const { return accepting_.empty(); }
    size_t states() const { return accepting_.size(); }
    bool accepting(uint32_t state) const { return accepting_[state]; }
    std::span<const Transition> transitions(uint32_t state) const {
        return {transitions_.data() + begins_[state], transitions_.data() + begins_[state + 1]};
    }
    // kDead where no text that begins so is accepted.
    uint32_t next(uint32_t state, char32_t character) const;
    bool accepts(std::u32string_view text) const;

  private:
    std::vector<Transition> transitions_;
    std::vector<uint32_t> begins_;
    std::vector<bool> accepting_;
};

using AutomatonPointer = std::shared_ptr<const CharAutomaton>;

// What may not grow further: from here on an expression is refused.
inline constexpr size_t kAutomatonStates = 20'000;

// Texts of both; texts of `a` that are none of `b`. Throw kUsage where the result has too many states.
CharAutomaton intersection(const CharAutomaton& a, const CharAutomaton& b);
CharAutomaton difference(const CharAutomaton& a, const CharAutomaton& b);
// Exactly these texts.
CharAutomaton literals(const std::vector<std::u32string>& texts);

std::u32string to_characters(std::string_view utf8);

}  // namespace sluice::grammar
