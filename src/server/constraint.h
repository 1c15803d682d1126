#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "server/answer_text.h"
#include "server/json.h"
#include "server/prompt.h"

namespace sluice::server {

struct ChatRequest;
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

// What an answer is held to, ready to be followed by any number of sequences.
struct Constraint {
    enum class Of { kNothing, kText, kForcedCalls, kBegunCalls };
    Of of = Of::kNothing;
    // Makes the mask of one sequence; empty with kNothing.
    std::function<decltype(GenerationOptions::mask)()> make_mask = {};
};

// Compiles what the rule and the tools ask for. Throws a 400 that names the field and what of it cannot be kept:
// nothing is ever served unconstrained. Calls that the model may make but need not are held to their form once one has
// begun, as far as that can be done: a tool whose schema cannot be kept takes any object.
Constraint constraint_of(Service& service, const ChatRequest& request, const Prompt& prompt);

}  // namespace sluice::server
