#pragma once

// Expressions to automata.

#include "grammar/char_automaton.h"
#include "grammar/expression.h"

namespace sluice::grammar {

enum class Match {
    kWhole,     // the whole text is one of the expression
    kAnywhere,  // some part of the text is: how JSON Schema and ECMAScript match a pattern
};

// The expression must hold neither rules nor tokens. Throws kUsage where the automaton has too many states.
CharAutomaton determinize(const Expression& expression, Match match);

}  // namespace sluice::grammar
