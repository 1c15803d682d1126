#pragma once

#include <optional>

#include "grammar/char_automaton.h"
#include "grammar/decimal.h"

namespace sluice::grammar {

struct NumberRules {
    struct Bound {
        Decimal value;
        bool exclusive = false;
    };
    std::optional<Bound> min = {};
    std::optional<Bound> max = {};
    bool integer = false;
    uint32_t multiple_of = 1;  // of integers
};

// Numbers of JSON within bounds, digit by digit: without exponent, without sign for zero. An integer may be written
// with the fraction .0, which is the same number. Where a bound is left out, numbers go on for some forty digits:
// enough for all that are written without an exponent, and never so many that a double would be infinite. Throws kUsage
// where the rules need too many states.
CharAutomaton number_automaton(const NumberRules& rules);

// Any number, in the form with an exponent.
CharAutomaton exponent_automaton();

}  // namespace sluice::grammar
