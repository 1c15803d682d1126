#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sluice/grammar.h"
#include "sluice/tokenizer.h"

namespace sluice::test {

// A byte-level tokenizer with every byte, some hundred tokens that JSON is often written with, "<think>", "</think>"
// and
// "<call>" as added tokens, and "<end>" as a special one.
const Tokenizer& json_tokenizer();
TokenId end_token();
// Over json_tokenizer(), with its end token.
const GrammarCompiler& json_compiler();

std::shared_ptr<const Grammar> schema_grammar(std::string_view schema);
std::shared_ptr<const Grammar> gbnf_grammar(std::string_view text);

// Whether the grammar takes the text byte by byte, as a whole; and in tokens that the mask allows, cut at random.
bool takes_bytes(const std::shared_ptr<const Grammar>& grammar, std::string_view text);
bool takes_tokens(const std::shared_ptr<const Grammar>& grammar, std::string_view text, uint64_t seed);
// Both, which must agree.
bool takes(const std::shared_ptr<const Grammar>& grammar, std::string_view text);

std::vector<TokenId> allowed_tokens(const GrammarState& state);

// What compiling the schema says; empty where it compiles.
std::string schema_error(std::string_view schema);
std::string gbnf_error(std::string_view text);

// A text drawn under the mask, each allowed token alike: up to `tokens`, then the shortest way out is not sought.
// Whether it is whole.
bool draw(const std::shared_ptr<const Grammar>& grammar, uint64_t seed, size_t tokens, std::string& text);

}  // namespace sluice::test
