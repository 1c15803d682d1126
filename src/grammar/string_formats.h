#pragma once

#include <string_view>

#include "grammar/char_automaton.h"

namespace sluice::grammar {

// The texts of a format of JSON Schema; null for a format that is no rule here.
AutomatonPointer find_string_format(std::string_view name);

}  // namespace sluice::grammar
