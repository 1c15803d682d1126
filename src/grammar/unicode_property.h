#pragma once

#include <optional>
#include <string_view>

#include "grammar/char_set.h"

namespace sluice::grammar {

// The characters of a general category as patterns name it in \p{...}: "L", "Lu", "Letter", "gc=Nd". Nothing for a name
// that is none of these.
std::optional<CharSet> general_category(std::string_view name);

}  // namespace sluice::grammar
