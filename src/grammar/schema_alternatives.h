#pragma once

// A schema's combinations resolved: what it asks for as a choice between lists of plain rules.

#include <compare>
#include <map>
#include <utility>
#include <vector>

#include "grammar/schema_document.h"

namespace sluice::grammar {

// A schema that must hold, or its own rules alone, without what it refers to and combines.
struct Requirement {
    SchemaId schema = 0;
    bool plain = false;

    auto operator<=>(const Requirement&) const = default;
};

// Schemas that must hold together; ascending. None: anything holds.
using Requirements = std::vector<Requirement>;

// Schemas whose own rules (type, properties, minimum and so on) must all hold.
using PlainRules = std::vector<SchemaId>;

// Two branches of a oneOf, which must not hold together.
struct Exclusion {
    SchemaId schema = 0;
    size_t first = 0;
    size_t second = 0;
    Requirements both = {};
};

struct Alternatives {
    std::vector<PlainRules> choices = {};  // none: nothing holds
    std::vector<Exclusion> exclusions = {};
};

// What a branch of a oneOf must be besides, by the oneOf's schema and the branch.
using Narrowings = std::map<std::pair<SchemaId, size_t>, std::vector<SchemaId>>;

// Throws kUsage for keywords that no mask keeps, for references that lead nowhere but to themselves, and for more
// alternatives than can be followed.
Alternatives resolve_alternatives(SchemaDocument& document, const Requirements& requirements,
                                  const Narrowings& narrowings);

// Without those that allow everything.
Requirements simplified(const SchemaDocument& document, Requirements requirements);

}  // namespace sluice::grammar
