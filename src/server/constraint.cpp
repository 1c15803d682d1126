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

std::vector<ForcedFrame> frames_of(const ToolChoice& choice, const Json& tools) {
    std::vector<ForcedFrame> frames;
    for (const Json& tool : tools) {
        const std::string name = tool["function"]["name"];
        if (!choice.name.empty() && name != choice.name) continue;
        frames.push_back({.name = name,
                          .before = fmt::format("<tool_call>\n{{\"name\": {}, \"arguments\": ", to_text(Json(name))),
                          .after = "}\n</tool_call>"});
    }
    return frames;
}

// One call of one of the tools: a rule for each.
std::shared_ptr<const Grammar> calls_grammar(const GrammarCompiler& compiler, const std::vector<ForcedFrame>& frames,
                                             const Json& tools) {
    std::string root = "root ::=", rules;
    std::map<std::string, std::string> schemas;
    for (size_t i = 0; i < frames.size(); ++i) {
        root += fmt::format("{} call-{}", i == 0 ? "" : " |", i);
        rules += fmt::format("call-{0} ::= {1} arguments-{0} {2}\n", i, gbnf_literal(frames[i].before),
                             gbnf_literal(frames[i].after));
        for (const Json& tool : tools) {
            if (tool["function"]["name"] != frames[i].name) continue;
            schemas[fmt::format("arguments-{}", i)] = arguments_schema(tool["function"]);
        }
    }
    return compiler.gbnf(root + "\n" + rules, schemas);
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
        if (forced) constraint.frames = frames_of(choice, tools);
        grammar = forced ? calls_grammar(service.grammars(), constraint.frames, tools)
                         : rule_grammar(service.grammars(), rule);
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
