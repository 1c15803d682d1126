#pragma once

#include <string_view>

#include "grammar/expression.h"

namespace sluice::grammar {

// A regular expression of ECMAScript in valid UTF-8: classes, groups, alternatives, quantifiers, anchors. Throws kUsage
// in words that go on after the name of what held the pattern ("has no end of its group at character 4"), for an
// ill-formed one and for what no automaton does: look-around, back references, word boundaries.
ExpressionPointer parse_pattern(std::string_view pattern);

}  // namespace sluice::grammar
