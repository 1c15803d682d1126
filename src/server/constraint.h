#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "server/answer_text.h"
#include "server/json.h"
#include "server/prompt.h"

namespace sluice::server {

class Service;

// Which of the offered tools an answer calls.
enum class ToolUse { kAuto, kNone, kRequired };
struct ToolChoice {
    ToolUse use = ToolUse::kAuto;
    std::string name = {};  // with kRequired: this one; empty: any
};

// What the text of an answer must be.
enum class RuleKind { kFree, kJsonObject, kJsonSchema, kGrammar };
struct OutputRule {
    RuleKind kind = RuleKind::kFree;
    std::string text = {};   // the schema, as JSON, or the grammar
    std::string field = {};  // that asked for it
};

// A rule ready to be followed by any number of sequences; the same function for those without one is empty.
struct Constraint {
    std::function<decltype(GenerationOptions::mask)()> make_mask = {};
};

// Compiles what the rule and the forced calls ask for. Throws a 400 that names the field and what of it cannot be kept:
// nothing is ever served unconstrained.
Constraint constraint_of(Service& service, const OutputRule& rule, const ToolChoice& choice, const Json& tools,
                         const Prompt& prompt);

}  // namespace sluice::server
