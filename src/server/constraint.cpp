#include "server/constraint.h"

#include <fmt/core.h>

#include <map>

#include "base/clock.h"
#include "server/service.h"
#include "sluice/error.h"
#include "sluice/grammar.h"

namespace sluice::server {

namespace {

// What an open reasoning block ends with: until then nothing is constrained.
constexpr std::string_view kReasoningEnd = "</think>";

// Arguments are an object in any case, and one of no member where the tool names none.
std::string arguments_schema(const Json& function) {
    Json schema = function["parameters"];
    if (!schema.contains("type")) schema["type"] = "object";
    const bool names_none = !schema.contains("properties") || schema["properties"].empty();
    if (names_none && !schema.contains("additionalProperties") && !schema.contains("$ref")) {
        schema["additionalProperties"] = false;
    }
    return to_text(schema);
}

// One call of one of the tools as the model would write it: a rule for each.
std::shared_ptr<const Grammar> calls_grammar(const Service& service, const ToolChoice& choice, const Json& tools) {
    const OutputFormat& format = service.engine().chat_template()->output_format();
    std::string root = "root ::=", rules;
    std::map<std::string, std::string> schemas;
    for (size_t i = 0; i < tools.size(); ++i) {
        const Json& function = tools[i]["function"];
        const std::string name = function["name"];
        if (!choice.name.empty() && name != choice.name) continue;
        const CallFrame frame = call_frame(format, name, 0);
        root += fmt::format("{} call-{}", rules.empty() ? "" : " |", i);
        rules += fmt::format("call-{0} ::= {1} arguments-{0} {2}\n", i, gbnf_literal(frame.before),
                             gbnf_literal(frame.after));
        schemas[fmt::format("arguments-{}", i)] = arguments_schema(function);
    }
    return service.grammars().gbnf(root + "\n" + rules, schemas);
}

std::shared_ptr<const Grammar> rule_grammar(const GrammarCompiler& compiler, const OutputRule& rule) {
    if (rule.kind == RuleKind::kJsonObject) return compiler.json_object();
    if (rule.kind == RuleKind::kJsonSchema) return compiler.json_schema(rule.text);
    return compiler.gbnf(rule.text);
}

}  // namespace

Constraint constraint_of(Service& service, const OutputRule& rule, const ToolChoice& choice, const Json& tools,
                         const Prompt& prompt) {
    Constraint constraint;
    const bool forced = choice.use == ToolUse::kRequired;
    if (!forced && rule.kind == RuleKind::kFree) return constraint;
    std::shared_ptr<const Grammar> grammar;
    try {
        grammar = forced ? calls_grammar(service, choice, tools) : rule_grammar(service.grammars(), rule);
    } catch (const Error& error) {
        throw bad_field(forced ? "tools" : rule.field, error.what());
    }
    constraint.make_mask = [grammar, &metrics = service.metrics(),
                            after = std::string(prompt.reasoning_open ? kReasoningEnd : "")] {
        return [mask = grammar_mask(GrammarState(grammar, after)), &metrics](std::span<const TokenId> generated,
                                                                             TokenMask& allowed) {
            const Stopwatch watch;
            mask(generated, allowed);
            metrics.masked(watch.seconds());
        };
    };
    return constraint;
}

}  // namespace sluice::server
