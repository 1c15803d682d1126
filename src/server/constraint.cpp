#include "server/constraint.h"

#include "server/service.h"

namespace sluice::server {

Constraint constraint_of(Service&, const OutputRule& rule, const ToolChoice& choice, const Json&, const Prompt&) {
    if (choice.use == ToolUse::kRequired) throw bad_field("tool_choice", "forced calls are not served");
    if (rule.kind != RuleKind::kFree) throw bad_field(rule.field, "constrained output is not served");
    return {};
}

}  // namespace sluice::server
