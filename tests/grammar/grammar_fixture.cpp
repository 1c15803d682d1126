#include "tests/grammar/grammar_fixture.h"

#include <algorithm>
#include <random>
#include <set>

#include "sluice/error.h"
#include "tests/text/tokenizer_fixture.h"
#include "text/byte_alphabet.h"
#include "unicode/utf8.h"

namespace sluice::test {

namespace {

constexpr std::string_view kWords[] = {
    "{\"",  "\":",    "\",",   " \"",   "\"}",   "\"]",  "},",   "],",       ": ",     ", ",     "\": \"", "\", \"",
    "\n  ", "\n    ", "  ",    "true",  "false", "null", "name", "foo",      "bar",    "fo",     "ba",     "ox",
    "fox",  "es",     "glove", "10",    "12",    "100",  "2024", "-0",       "-1",     ".0",     ".5",     "00",
    "e+",   "\\u",    "\\n",   "\\\"",  "\\\\",  "é",    "🦊", "\xF0\x9F", "\x8A\"", "abc",    "xyz",    "@den.",
    "org",  "http:/", "/x",    "[[",    "]]",    "[1",   "1,",   "{}",       "[]",     "[\"",    "kind",   "type",
    "Z\"",  "T12:",   "-05-",  "item-", "a\"",   "1}",   "}}",   "\"a",      "\"\"",   "\"v\":", "AB-"};

std::string spelled(std::string_view bytes) {
    std::string content;
    for (const char byte : bytes) utf8::append(content, byte_alphabet::character_of(static_cast<uint8_t>(byte)));
    return content;
}

// Each word grows byte by byte, so that its beginnings are tokens too.
MergeList merges_of_words() {
    MergeList merges;
    std::set<std::string> made;
    for (const std::string_view word : kWords) {
        for (size_t size = 2; size <= word.size(); ++size) {
            const std::string_view begin = word.substr(0, size - 1);
            if (made.insert(spelled(word.substr(0, size))).second) {
                merges.emplace_back(spelled(begin), spelled(word.substr(size - 1, 1)));
            }
        }
    }
    return merges;
}

Tokenizer make_tokenizer() {
    nlohmann::json document = byte_level_document(merges_of_words());
    const nlohmann::json& vocabulary = document["model"]["vocab"];
    const size_t next = vocabulary.size();
    std::string added = "[";
    for (const char* content : {"<think>", "</think>", "<call>", "<end>"}) {
        added += (added.size() > 1 ? "," : "") + std::string(R"({"content":")") + content + R"(","id":)" +
                 std::to_string(next + static_cast<size_t>(std::ranges::count(added, '{'))) +
                 (content == std::string_view("<end>") ? R"(,"special":true})" : "}");
    }
    return tokenizer_of(with_added(std::move(document), added + "]"));
}

template <typename Make>
std::string error_of(const Make& make) {
    try {
        make();
    } catch (const Error& error) {
        return error.what();
    }
    return {};
}

}  // namespace

const Tokenizer& json_tokenizer() {
    static const Tokenizer tokenizer = make_tokenizer();
    return tokenizer;
}

TokenId end_token() {
    return json_tokenizer().find("<end>").value();
}

const GrammarCompiler& json_compiler() {
    static const GrammarCompiler compiler(json_tokenizer(), {.end_tokens = {end_token()}});
    return compiler;
}

std::shared_ptr<const Grammar> schema_grammar(std::string_view schema) {
    return json_compiler().json_schema(schema);
}

std::shared_ptr<const Grammar> gbnf_grammar(std::string_view text) {
    return json_compiler().gbnf(text);
}

bool takes_bytes(const std::shared_ptr<const Grammar>& grammar, std::string_view text) {
    GrammarState state(grammar);
    for (size_t i = 0; i < text.size(); ++i) {
        if (!state.accept(text.substr(i, 1))) return false;
    }
    return state.is_complete();
}

bool takes_tokens(const std::shared_ptr<const Grammar>& grammar, std::string_view text, uint64_t seed) {
    std::mt19937_64 random(seed);
    const Tokenizer& tokenizer = json_tokenizer();
    GrammarState state(grammar);
    while (!text.empty()) {
        std::vector<TokenId> fitting;
        for (TokenId id = 0; id < static_cast<TokenId>(tokenizer.vocabulary_size()); ++id) {
            if (!tokenizer.is_added(id) && text.starts_with(tokenizer.token_bytes(id))) fitting.push_back(id);
        }
        const TokenId token = fitting[random() % fitting.size()];
        TokenMask mask(tokenizer.vocabulary_size());
        mask.allow_none();
        state.allow(mask);
        if (!mask.allows(token) || !state.accept(token)) return false;
        text.remove_prefix(tokenizer.token_bytes(token).size());
    }
    return state.is_complete();
}

bool takes(const std::shared_ptr<const Grammar>& grammar, std::string_view text) {
    const bool bytes = takes_bytes(grammar, text);
    for (uint64_t seed = 0; seed < 3; ++seed) {
        if (takes_tokens(grammar, text, seed) != bytes) {
            throw std::logic_error("tokens and bytes disagree about " + std::string(text));
        }
    }
    return bytes;
}

std::vector<TokenId> allowed_tokens(const GrammarState& state) {
    TokenMask mask(json_tokenizer().vocabulary_size());
    mask.allow_none();
    state.allow(mask);
    std::vector<TokenId> ids;
    for (TokenId id = 0; id < static_cast<TokenId>(mask.tokens()); ++id) {
        if (mask.allows(id)) ids.push_back(id);
    }
    return ids;
}

std::string schema_error(std::string_view schema) {
    return error_of([&] { schema_grammar(schema); });
}

std::string gbnf_error(std::string_view text) {
    return error_of([&] { gbnf_grammar(text); });
}

bool draw(const std::shared_ptr<const Grammar>& grammar, uint64_t seed, size_t tokens, std::string& text) {
    std::mt19937_64 random(seed);
    GrammarState state(grammar);
    text.clear();
    for (size_t i = 0; i < tokens && !state.is_finished(); ++i) {
        const std::vector<TokenId> ids = allowed_tokens(state);
        if (ids.empty()) throw std::logic_error("no token is left after " + text);
        const TokenId id = ids[random() % ids.size()];
        if (!state.accept(id)) throw std::logic_error("an allowed token was refused after " + text);
        if (id != end_token()) text += json_tokenizer().token_bytes(id);
    }
    return state.is_finished();
}

}  // namespace sluice::test
