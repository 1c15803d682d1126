#include "server/constraint.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "base/clock.h"
#include "server/chat_request.h"
#include "server/service.h"
#include "sluice/answer_begin.h"
#include "sluice/error.h"
#include "sluice/grammar.h"

namespace sluice::server {

namespace {

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

// A rule for a call of every tool that may be called, as the model would write it, and their alternatives, `call`.
// `written`: what of the text before the arguments is there already, up to this.
struct CallRules {
    std::string rules;
    std::map<std::string, std::string> schemas;
};

CallRules call_rules(const OutputFormat& format, const ChatRequest& request, std::string_view written) {
    CallRules made;
    std::string call = "call ::=";
    const Json& tools = request.conversation.tools;
    for (size_t i = 0; i < tools.size(); ++i) {
        const Json& function = tools[i]["function"];
        const std::string name = function["name"];
        if (!request.tool_choice.name.empty() && name != request.tool_choice.name) continue;
        const CallFrame frame = call_frame(format, name, 0);
        std::string_view before = frame.before;
        if (!written.empty()) {
            before.remove_prefix(before.find(written) + written.size());
            before.remove_prefix(std::min(before.find_first_not_of(" \n"), before.size()));
        }
        call += fmt::format("{} call-{}", made.schemas.empty() ? "" : " |", i);
        made.rules +=
            fmt::format("call-{0} ::= {1} arguments-{0} {2}\n", i, gbnf_literal(before), gbnf_literal(frame.after));
        made.schemas[fmt::format("arguments-{}", i)] = arguments_schema(function);
    }
    made.rules += call + "\n";
    return made;
}

std::shared_ptr<const Grammar> forced_call(const GrammarCompiler& compiler, const OutputFormat& format,
                                           const ChatRequest& request) {
    const CallRules calls = call_rules(format, request, {});
    return compiler.gbnf("root ::= call\n" + calls.rules, calls.schemas);
}

// The rest of a call that has begun, and further ones.
std::shared_ptr<const Grammar> begun_calls(const GrammarCompiler& compiler, const OutputFormat& format,
                                           const ChatRequest& request) {
    const std::string_view begin = calls_begin_with(format);
    CallRules calls = call_rules(format, request, begin);
    const std::string text =
        fmt::format("root ::= call (space {} space call)*\nspace ::= \"\\n\"?\n{}", gbnf_literal(begin), calls.rules);
    try {
        return compiler.gbnf(text, calls.schemas);
    } catch (const Error&) {
    }
    for (auto& [rule, schema] : calls.schemas) {
        try {
            compiler.json_schema(schema);
        } catch (const Error&) {
            schema = R"({"type":"object"})";
        }
    }
    return compiler.gbnf(text, calls.schemas);
}

std::shared_ptr<const Grammar> rule_grammar(const GrammarCompiler& compiler, const OutputRule& rule) {
    if (rule.kind == RuleKind::kJsonObject) return compiler.json_object();
    if (rule.kind == RuleKind::kJsonSchema) return compiler.json_schema(rule.text);
    return compiler.gbnf(rule.text);
}

Constraint::Of constrained(const OutputFormat& format, const ChatRequest& request) {
    if (request.tool_choice.use == ToolUse::kRequired) return Constraint::Of::kForcedCalls;
    if (request.rule.kind != RuleKind::kFree) return Constraint::Of::kText;
    const bool offered = request.tool_choice.use == ToolUse::kAuto && !request.conversation.tools.empty();
    // An answer that goes on past its end is none.
    const bool begun = offered && !calls_begin_with(format).empty() && !request.options.ignore_eos;
    return begun ? Constraint::Of::kBegunCalls : Constraint::Of::kNothing;
}

std::shared_ptr<const Grammar> compiled(Service& service, const ChatRequest& request, Constraint::Of of) {
    const OutputFormat& format = service.engine().chat_template()->output_format();
    const GrammarCompiler& compiler = service.grammars();
    if (of == Constraint::Of::kBegunCalls) return begun_calls(compiler, format, request);
    const bool forced = of == Constraint::Of::kForcedCalls;
    try {
        return forced ? forced_call(compiler, format, request) : rule_grammar(compiler, request.rule);
    } catch (const Error& error) {
        throw bad_field(forced ? "tools" : request.rule.field, error.what());
    }
}

// Leaves the tokens that end an answer only where nothing else may come.
void go_on(const std::vector<TokenId>& ends, TokenMask& allowed) {
    std::vector<TokenId> ending;
    for (const TokenId id : ends) {
        if (!allowed.allows(id)) continue;
        ending.push_back(id);
        allowed.forbid(id);
    }
    if (std::ranges::any_of(allowed.words(), [](uint64_t word) { return word != 0; })) return;
    for (const TokenId id : ending) allowed.allow(id);
}

}  // namespace

Constraint constraint_of(Service& service, const ChatRequest& request, const Prompt& prompt) {
    const OutputFormat& format = service.engine().chat_template()->output_format();
    Constraint constraint{.of = constrained(format, request)};
    if (constraint.of == Constraint::Of::kNothing) return constraint;
    const AnswerBegin answer = answer_begin(format, prompt.reasoning_open);
    const bool optional = constraint.of == Constraint::Of::kBegunCalls;
    const GrammarBegin begin{.after = std::string(optional                                 ? calls_begin_with(format)
                                                  : constraint.of == Constraint::Of::kText ? answer.text
                                                                                           : answer.calls),
                             .optional = optional};
    // Past the end of its text an answer cannot go on, but it can make the text as long as it may be.
    std::vector<TokenId> ends;
    if (request.options.ignore_eos) ends = service.engine().defaults().eos_ids;
    constraint.make_mask = [grammar = compiled(service, request, constraint.of), begin, ends = std::move(ends),
                            &metrics = service.metrics()] {
        return [mask = grammar_mask(GrammarState(grammar, begin)), ends, &metrics](std::span<const TokenId> generated,
                                                                                   TokenMask& allowed) {
            const Stopwatch watch;
            mask(generated, allowed);
            if (!ends.empty()) go_on(ends, allowed);
            metrics.masked(watch.seconds());
        };
    };
    return constraint;
}

}  // namespace sluice::server
