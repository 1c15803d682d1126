#include <algorithm>
#include <list>
#include <mutex>
#include <set>
#include <tuple>
#include <unordered_map>

#include "base/error.h"
#include "grammar/gbnf_compiler.h"
#include "grammar/grammar.h"
#include "grammar/schema_compiler.h"
#include "grammar/schema_narrowing.h"

namespace sluice {

using namespace grammar;

namespace {

// Grammars by their text, the least recently used out first.
class GrammarCache {
  public:
    explicit GrammarCache(size_t limit) : limit_(std::max<size_t>(limit, 1)) {}

    template <typename Make>
    std::shared_ptr<const Grammar> find(const std::string& key, const Make& make) {
        {
            const std::lock_guard lock(mutex_);
            if (const auto at = by_key_.find(key); at != by_key_.end()) {
                entries_.splice(entries_.begin(), entries_, at->second);
                return entries_.front().grammar;
            }
        }
        std::shared_ptr<const Grammar> made = make();
        const std::lock_guard lock(mutex_);
        if (by_key_.contains(key)) return by_key_[key]->grammar;
        entries_.push_front({key, made});
        by_key_[key] = entries_.begin();
        if (entries_.size() > limit_) {
            by_key_.erase(entries_.back().key);
            entries_.pop_back();
        }
        return made;
    }

  private:
    struct Entry {
        std::string key;
        std::shared_ptr<const Grammar> grammar;
    };
    size_t limit_;
    std::mutex mutex_;
    std::list<Entry> entries_;
    std::unordered_map<std::string, std::list<Entry>::iterator> by_key_;
};

// Where a literal holds an added token's text, that token or its text.
class VocabularyTokens final : public GbnfTokens {
  public:
    explicit VocabularyTokens(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

    ExpressionPointer literal(std::string_view text) const override {
        size_t first = text.size();
        const Vocabulary::Added* found = nullptr;
        for (const Vocabulary::Added& added : vocabulary_.added()) {
            const size_t at = text.find(added.content);
            if (at < first) first = at, found = &added;
        }
        if (found == nullptr) return literal_of(text);
        const std::string_view before = text.substr(0, first), after = text.substr(first + found->content.size());
        const ExpressionPointer token = alternatives_of(
            {leaf_of(Expression::Kind::kToken, static_cast<uint32_t>(found->id)), literal_of(found->content)});
        return sequence_of({literal_of(before), token, literal(after)});
    }

    std::optional<uint32_t> find(std::string_view content) const override {
        for (const Vocabulary::Added& added : vocabulary_.added()) {
            if (added.content == content) return static_cast<uint32_t>(added.id);
        }
        return std::nullopt;
    }

    bool has(uint64_t id) const override { return id < vocabulary_.size(); }

  private:
    const Vocabulary& vocabulary_;
};

// Compiles a schema into the builder. Whether branches of a oneOf exclude each other is found out beforehand, in a
// program of its own.
RuleId compile_into(ProgramBuilder& builder, Lexicon& lexicon, std::string_view text) {
    SchemaDocument document(text);
    Narrowings narrowings;
    std::set<std::tuple<SchemaId, size_t, size_t>> narrowed;
    while (true) {
        ProgramBuilder trial;
        Lexicon trial_lexicon(trial, lexicon.common());
        SchemaCompiler compiler(document, narrowings, trial, trial_lexicon);
        compiler.compile();
        const std::vector<Exclusion> overlaps = compiler.find_overlaps(trial.find_productive());
        if (overlaps.empty()) break;
        for (const Exclusion& overlap : overlaps) {
            if (narrowed.emplace(overlap.schema, overlap.first, overlap.second).second &&
                narrow(document, overlap, narrowings)) {
                continue;
            }
            fail(ErrorCode::kUsage,
                 "`oneOf` at {} is not supported: its branches {} and {} do not exclude each other; anyOf, or a "
                 "property "
                 "with another const in each branch, would do",
                 document.pointer(overlap.schema), overlap.first, overlap.second);
        }
    }
    return SchemaCompiler(document, narrowings, builder, lexicon).compile();
}

}  // namespace

struct GrammarCompiler::Impl {
    std::shared_ptr<const Vocabulary> vocabulary;
    CommonWords words;
    GrammarCache cache;

    Impl(const Tokenizer& tokenizer, GrammarCompilerOptions options)
        : vocabulary(std::make_shared<const Vocabulary>(tokenizer, std::move(options.end_tokens))),
          cache(options.cached) {
        // What nearly every schema comes to: found before the first request waits for it.
        const LexemeProfiles& strings = *words[Word::kAnyString];
        for (const bool counted : {false, true}) {
            strings.find(*vocabulary, {.partial = Partial::unopened()}, counted);
            strings.find(*vocabulary, {}, counted);
        }
    }

    std::shared_ptr<const Grammar> compile_schema(std::string_view text) const;
    std::shared_ptr<const Grammar> compile_gbnf(std::string_view text,
                                                const std::map<std::string, std::string>& schemas) const;
};

std::shared_ptr<const Grammar> GrammarCompiler::Impl::compile_schema(std::string_view text) const {
    ProgramBuilder builder;
    Lexicon lexicon(builder, words);
    const RuleId root = compile_into(builder, lexicon, text);
    return std::make_shared<const Grammar>(builder.finish(root, lexicon.word(Word::kLeadingSpace)), vocabulary);
}

std::shared_ptr<const Grammar> GrammarCompiler::Impl::compile_gbnf(
    std::string_view text, const std::map<std::string, std::string>& schemas) const {
    ProgramBuilder builder;
    Lexicon lexicon(builder, words);
    std::vector<std::string> names;
    std::vector<RuleId> declared;
    for (const auto& [name, schema] : schemas) {
        names.push_back(name);
        try {
            declared.push_back(compile_into(builder, lexicon, schema));
        } catch (const Error& error) {
            fail(ErrorCode::kUsage, "rule `{}`: {}", name, error.what());
        }
    }
    const GbnfGrammar grammar = parse_gbnf(text, VocabularyTokens(*vocabulary), names);
    const std::optional<uint32_t> root = grammar.find("root");
    if (!root) fail(ErrorCode::kUsage, "the grammar defines no rule `root`");
    for (size_t i = declared.size(); i < grammar.rules.size(); ++i) {
        declared.push_back(builder.declare(fmt::format("the rule `{}`", grammar.rules[i].name)));
    }
    GbnfCompiler(grammar, declared, builder, lexicon).compile();
    return std::make_shared<const Grammar>(builder.finish(declared[*root], lexicon.word(Word::kLeadingSpace)),
                                           vocabulary);
}

GrammarCompiler::GrammarCompiler(const Tokenizer& tokenizer, GrammarCompilerOptions options)
    : impl_(std::make_unique<Impl>(tokenizer, std::move(options))) {}
GrammarCompiler::GrammarCompiler(GrammarCompiler&&) noexcept = default;
GrammarCompiler& GrammarCompiler::operator=(GrammarCompiler&&) noexcept = default;
GrammarCompiler::~GrammarCompiler() = default;

std::shared_ptr<const Grammar> GrammarCompiler::json_schema(std::string_view schema) const {
    return impl_->cache.find(fmt::format("schema {}", schema), [&] { return impl_->compile_schema(schema); });
}

std::shared_ptr<const Grammar> GrammarCompiler::json_object() const {
    return json_schema(R"({"type":"object"})");
}

std::shared_ptr<const Grammar> GrammarCompiler::gbnf(std::string_view text,
                                                     const std::map<std::string, std::string>& schemas) const {
    std::string key = fmt::format("gbnf {}", text);
    for (const auto& [name, schema] : schemas) key.append(1, '\0').append(name).append(1, '\0').append(schema);
    return impl_->cache.find(key, [&] { return impl_->compile_gbnf(text, schemas); });
}

std::string gbnf_literal(std::string_view text) {
    std::string literal(1, '"');
    for (const char c : text) {
        switch (c) {
            case '"':
            case '\\':
                literal.append(1, '\\').push_back(c);
                break;
            case '\n':
                literal += "\\n";
                break;
            case '\r':
                literal += "\\r";
                break;
            case '\t':
                literal += "\\t";
                break;
            default:
                literal.push_back(c);
                break;
        }
    }
    literal.push_back('"');
    return literal;
}

}  // namespace sluice
