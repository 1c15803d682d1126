#include "grammar/gbnf_compiler.h"

#include <algorithm>

#include "base/error.h"
#include "grammar/determinize.h"

namespace sluice::grammar {

namespace {

// What is larger is left to the stack.
constexpr uint64_t kMaxRegular = 1000;

bool is_counted_characters(const Expression& e) {
    return e.kind == Expression::Kind::kRepeat && e.parts.front()->kind == Expression::Kind::kChars;
}

}  // namespace

GbnfCompiler::GbnfCompiler(const GbnfGrammar& grammar, std::vector<RuleId> declared, ProgramBuilder& builder,
                           Lexicon& lexicon)
    : grammar_(grammar),
      declared_(std::move(declared)),
      builder_(builder),
      lexicon_(lexicon),
      known_(grammar.rules.size()),
      sizes_(grammar.rules.size()) {}

void GbnfCompiler::compile() {
    for (size_t i = 0; i < grammar_.rules.size(); ++i) {
        if (grammar_.rules[i].body == nullptr) continue;
        builder_.define(declared_[i], build(grammar_.rules[i].body, builder_.return_node()));
    }
}

std::optional<uint64_t> GbnfCompiler::rule_size(uint32_t rule) {
    if (known_[rule] == Known::kBusy || grammar_.rules[rule].body == nullptr) return std::nullopt;
    if (known_[rule] == Known::kNo) {
        known_[rule] = Known::kBusy;
        sizes_[rule] = regular_size(*grammar_.rules[rule].body);
        known_[rule] = Known::kYes;
    }
    return sizes_[rule];
}

std::optional<uint64_t> GbnfCompiler::regular_size(const Expression& e) {
    const auto limited = [](std::optional<uint64_t> size) {
        return size && *size <= kMaxRegular ? size : std::nullopt;
    };
    switch (e.kind) {
        case Expression::Kind::kChars:
            return 1;
        case Expression::Kind::kRule:
            return rule_size(e.value);
        case Expression::Kind::kRepeat: {
            const std::optional<uint64_t> size = regular_size(*e.parts.front());
            const uint64_t times = e.max == kUnbounded ? uint64_t{e.min} + 1 : e.max;
            return size ? limited(*size * std::max<uint64_t>(times, 1)) : std::nullopt;
        }
        case Expression::Kind::kSequence:
        case Expression::Kind::kAlternatives: {
            uint64_t sum = 1;
            for (const ExpressionPointer& part : e.parts) {
                const std::optional<uint64_t> size = regular_size(*part);
                if (!size) return std::nullopt;
                sum += *size;
            }
            return limited(sum);
        }
        case Expression::Kind::kBegin:
        case Expression::Kind::kEnd:
        case Expression::Kind::kToken:
            break;
    }
    return std::nullopt;
}

ExpressionPointer GbnfCompiler::inlined(const ExpressionPointer& e) {
    if (e->kind == Expression::Kind::kRule) return inlined(grammar_.rules[e->value].body);
    if (e->parts.empty()) return e;
    Expression copy = *e;
    for (ExpressionPointer& part : copy.parts) part = inlined(part);
    return std::make_shared<const Expression>(std::move(copy));
}

std::optional<NodeId> GbnfCompiler::build_lexeme(const ExpressionPointer& e, NodeId next) {
    const bool counted = is_counted_characters(*e);
    if (!counted && !regular_size(*e)) return std::nullopt;
    try {
        LengthBounds length;
        ExpressionPointer whole = e;
        if (counted && e->max != kUnbounded) {
            length = {e->min, e->max};
            whole = repeat_of(e->parts.front(), 0, kUnbounded);
        }
        const auto automaton = std::make_shared<const CharAutomaton>(determinize(*inlined(whole), Match::kWhole));
        return builder_.lexeme(lexicon_.plain(automaton, length), next);
    } catch (const Error&) {
        return std::nullopt;  // too many states
    }
}

NodeId GbnfCompiler::build(const ExpressionPointer& e, NodeId next) {
    if (e->kind == Expression::Kind::kSequence && e->parts.empty()) return next;
    if (const std::optional<NodeId> lexeme = build_lexeme(e, next)) return *lexeme;
    switch (e->kind) {
        case Expression::Kind::kSequence:
            return build_sequence(*e, next);
        case Expression::Kind::kAlternatives:
            return build_alternatives(*e, next);
        case Expression::Kind::kRepeat:
            return builder_.repeat(e->min, e->max, next, [&](NodeId again) { return build(e->parts.front(), again); });
        case Expression::Kind::kRule:
            return builder_.call(declared_[e->value], next);
        case Expression::Kind::kToken:
            return builder_.token(static_cast<TokenId>(e->value), next);
        default:
            break;
    }
    fail(ErrorCode::kUsage, "the grammar has a character class with too many parts");
}

// From the end: as many parts as make one lexeme, then what does not.
NodeId GbnfCompiler::build_sequence(const Expression& e, NodeId next) {
    for (size_t end = e.parts.size(); end > 0;) {
        size_t begin = end;
        uint64_t sum = 0;
        while (begin > 0) {
            const std::optional<uint64_t> size = regular_size(*e.parts[begin - 1]);
            if (!size || sum + *size > kMaxRegular) break;
            sum += *size;
            --begin;
        }
        std::optional<NodeId> run;
        if (end - begin > 1) {
            const auto at = e.parts.begin();
            run =
                build_lexeme(sequence_of({at + static_cast<ptrdiff_t>(begin), at + static_cast<ptrdiff_t>(end)}), next);
        }
        if (!run) begin = end - 1;
        next = run ? *run : build(e.parts[end - 1], next);
        end = begin;
    }
    return next;
}

NodeId GbnfCompiler::build_alternatives(const Expression& e, NodeId next) {
    std::vector<ExpressionPointer> regular, others;
    for (const ExpressionPointer& part : e.parts) (regular_size(*part) ? regular : others).push_back(part);
    std::vector<NodeId> choices;
    const auto add = [&](const ExpressionPointer& part) { choices.push_back(build(part, next)); };
    if (const std::optional<NodeId> all =
            regular.size() > 1 && !others.empty() ? build_lexeme(alternatives_of(regular), next) : std::nullopt) {
        choices.push_back(*all);
    } else {
        std::ranges::for_each(regular, add);
    }
    std::ranges::for_each(others, add);
    return builder_.choice(std::move(choices));
}

}  // namespace sluice::grammar
