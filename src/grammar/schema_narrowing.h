#pragma once

#include <map>
#include <utility>
#include <vector>

#include "grammar/schema_alternatives.h"

namespace sluice::grammar {

// Makes branches of a oneOf exclude each other that both may hold: where each has a property whose listed values
// differ, it becomes required; where each requires a property that the other does not, the other forbids it. What is
// left is part of what the oneOf allows, never more. Returns false where neither is the case.
bool narrow(SchemaDocument& document, const Exclusion& exclusion, Narrowings& narrowings);

}  // namespace sluice::grammar
