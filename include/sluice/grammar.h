#pragma once

// Constrained output: which tokens may come next so that a text keeps to a JSON Schema or a grammar.

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sluice/sampling.h"
#include "sluice/tokenizer.h"

namespace sluice {

// A language over the tokens of one vocabulary: what GrammarCompiler makes and GrammarState follows. It keeps the masks
// that were computed, so share one among all sequences with the same schema. Any number of threads.
class Grammar;

struct GrammarCompilerOptions {
    size_t cached = 64;  // grammars kept for the next request with the same text, least recently used first out
    std::vector<TokenId> end_tokens = {};  // what ends an answer: allowed where the text is complete, and only there
};

// Compiles grammars for a tokenizer, which may go afterwards. Any number of threads.
//
// All of these throw kUsage in one line for a text that is ill-formed, that no answer could satisfy, or that asks for
// what cannot be kept at every token; the line names the keyword with its JSON pointer, or the rule with its line.
// Nothing is ever served looser than it was asked for.
class GrammarCompiler {
  public:
    GrammarCompiler(const Tokenizer& tokenizer, GrammarCompilerOptions options);
    GrammarCompiler(GrammarCompiler&&) noexcept;
    GrammarCompiler& operator=(GrammarCompiler&&) noexcept;
    ~GrammarCompiler();

    // JSON text that a schema (draft 2020-12, or 7) holds valid, its properties in the schema's order. Served: type,
    // enum, const, properties, required, additionalProperties, propertyNames, maxProperties (where no property is
    // declared), minProperties (up to 1), items, prefixItems, minItems, maxItems, minimum, maximum, exclusiveMinimum,
    // exclusiveMaximum, multipleOf (of whole numbers), minLength, maxLength, pattern, format (date, time, date-time,
    // uuid, email, ipv4, uri; others are no rule), anyOf, allOf, oneOf (where branches overlap, what is left of them
    // once a tag is required or a property forbidden; else refused), $ref inside the document. Other keywords that are
    // rules are refused by name. Between tokens there is one space or one line break with its indent at most.
    std::shared_ptr<const Grammar> json_schema(std::string_view schema) const;
    // Any JSON object.
    std::shared_ptr<const Grammar> json_object() const;
    // A grammar in llama.cpp's GBNF; the rule `root` is the whole text. `schemas`: rules that are JSON Schemas, by
    // name. A literal in which an added token of the tokenizer stands ("<tool_call>") may be written with that token.
    std::shared_ptr<const Grammar> gbnf(std::string_view text,
                                        const std::map<std::string, std::string>& schemas = {}) const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

// The text as a literal of GBNF, quotes included.
std::string gbnf_literal(std::string_view text);

// Where a grammar begins to hold in what is generated.
struct GrammarBegin {
    // Every token but those that end an answer is free until this text has come ("</think>"); then, past white space,
    // the grammar holds. Empty: it holds from the first token.
    std::string after = {};
    bool optional = false;  // the answer may also end before
};

// Where one sequence stands in its grammar. A copy goes on by itself. One thread at a time.
class GrammarState {
  public:
    explicit GrammarState(std::shared_ptr<const Grammar> grammar, const GrammarBegin& begin = {});
    GrammarState(const GrammarState&);
    GrammarState(GrammarState&&) noexcept;
    GrammarState& operator=(const GrammarState&);
    GrammarState& operator=(GrammarState&&) noexcept;
    ~GrammarState();

    // Adds the tokens that may come next to a mask of at least the vocabulary's size. There is at least one as long as
    // is_finished() is false. It and accept() throw kUsage where a grammar can read one text in tens of thousands of
    // ways.
    void allow(TokenMask& mask) const;
    // Goes on by a token. False, and nothing changes, where it may not come. An end token may come once.
    bool accept(TokenId token);
    // The same by text, as if ordinary tokens had spelled it.
    bool accept(std::string_view text);

    bool has_begun() const;    // past GrammarBegin::after
    bool is_complete() const;  // the text so far is one of the language, or needs to be none
    bool is_finished() const;  // and nothing but an end token may follow, or one came: stop here

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

// `state` as GenerationOptions::mask: it follows the generated tokens by itself, from the one it saw last. Give each
// generation its own. Where the grammar is finished and has no end token, the mask is left empty: set end tokens.
std::function<void(std::span<const TokenId> generated, TokenMask& mask)> grammar_mask(GrammarState state);

}  // namespace sluice
