#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "sluice/error.h"
#include "tests/grammar/grammar_fixture.h"

namespace sluice::test {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;

TokenId token(const char* content) {
    return json_tokenizer().find(content).value();
}

TEST(GrammarState, ends_only_where_the_text_is_whole) {
    GrammarState state(schema_grammar(R"({"type":"integer","maximum":99})"));
    EXPECT_THAT(allowed_tokens(state), Not(Contains(end_token())));
    EXPECT_FALSE(state.accept(end_token()));
    ASSERT_TRUE(state.accept("4"));
    EXPECT_TRUE(state.is_complete());
    EXPECT_FALSE(state.is_finished());
    EXPECT_THAT(allowed_tokens(state), Contains(end_token()));
    ASSERT_TRUE(state.accept(end_token()));
    EXPECT_TRUE(state.is_finished());
    EXPECT_TRUE(allowed_tokens(state).empty());
    EXPECT_FALSE(state.accept("2"));

    GrammarState list(schema_grammar(R"({"const":[]})"));
    ASSERT_TRUE(list.accept("[]"));
    EXPECT_TRUE(list.is_finished());
    EXPECT_THAT(allowed_tokens(list), ElementsAre(end_token()));
}

TEST(GrammarState, a_refused_token_changes_nothing) {
    GrammarState state(schema_grammar(R"({"type":"boolean"})"));
    EXPECT_FALSE(state.accept("trux"));
    EXPECT_FALSE(state.accept(-1));
    EXPECT_FALSE(state.accept(1 << 30));
    EXPECT_TRUE(state.accept("true"));
    EXPECT_TRUE(state.is_finished());
}

TEST(GrammarState, added_tokens_are_no_text) {
    GrammarState state(schema_grammar(R"({"type":"string"})"));
    ASSERT_TRUE(state.accept("\""));
    for (const char* added : {"<think>", "<call>", "<end>"}) {
        EXPECT_THAT(allowed_tokens(state), Not(Contains(token(added))));
        EXPECT_FALSE(state.accept(token(added)));
    }
    EXPECT_TRUE(state.accept("<call>"));  // spelled out it is text
}

TEST(GrammarState, copies_go_on_by_themselves) {
    GrammarState first(schema_grammar(R"({"enum":["fox","foxes"]})"));
    ASSERT_TRUE(first.accept("\"fox"));
    GrammarState second = first;
    ASSERT_TRUE(first.accept("\""));
    ASSERT_TRUE(second.accept("es"));
    EXPECT_TRUE(first.is_finished());
    EXPECT_FALSE(second.is_complete());
}

TEST(GrammarState, begins_after_reasoning) {
    GrammarState state(schema_grammar(R"({"type":"object"})"), {.after = "</think>"});
    EXPECT_FALSE(state.has_begun());
    EXPECT_THAT(allowed_tokens(state), Contains(token("<call>")));
    EXPECT_THAT(allowed_tokens(state), Not(Contains(end_token())));
    EXPECT_FALSE(state.accept(end_token()));
    ASSERT_TRUE(state.accept("Well, <</thin </thin"));
    EXPECT_FALSE(state.is_complete());
    ASSERT_TRUE(state.accept(token("</think>")));
    EXPECT_TRUE(state.has_begun());
    EXPECT_FALSE(state.accept("x"));
    ASSERT_TRUE(state.accept("\n\n{"));
    EXPECT_FALSE(state.accept("\n\n"));
    ASSERT_TRUE(state.accept("}"));
    EXPECT_TRUE(state.is_finished());
}

TEST(GrammarState, what_is_behind_the_marker_in_its_token_counts) {
    // As if ordinary tokens spelled the marker: `{"` may follow it in one token, `":` may not.
    GrammarState state(schema_grammar(R"({"type":"object"})"), {.after = "ab"});
    ASSERT_TRUE(state.accept("xa"));
    EXPECT_THAT(allowed_tokens(state), Contains(token("b")));
    EXPECT_THAT(allowed_tokens(state), Not(Contains(token("bar"))));
    EXPECT_FALSE(state.accept("bar"));
    EXPECT_FALSE(state.has_begun());
    ASSERT_TRUE(state.accept("b {"));
    EXPECT_TRUE(state.has_begun());
    EXPECT_TRUE(state.accept("}"));
}

TEST(GrammarState, may_never_begin) {
    GrammarState state(schema_grammar(R"({"type":"object"})"), {.after = "<call>", .optional = true});
    EXPECT_TRUE(state.is_complete());
    EXPECT_FALSE(state.is_finished());
    EXPECT_THAT(allowed_tokens(state), Contains(end_token()));
    GrammarState ended = state;
    ASSERT_TRUE(ended.accept(end_token()));
    EXPECT_TRUE(ended.is_finished());
    ASSERT_TRUE(state.accept("fox"));
    ASSERT_TRUE(state.accept(token("<call>")));
    EXPECT_FALSE(state.is_complete());
    EXPECT_THAT(allowed_tokens(state), Not(Contains(end_token())));
    EXPECT_FALSE(state.accept("fox"));
    EXPECT_TRUE(state.accept("{}"));
}

TEST(GrammarState, a_mask_hook_follows_what_was_generated) {
    const auto mask_of = grammar_mask(GrammarState(schema_grammar(R"({"const":"fox"})")));
    std::vector<TokenId> generated;
    for (const char* piece : {"\"", "fox"}) {
        TokenMask mask(json_tokenizer().vocabulary_size());
        mask.allow_none();
        mask_of(generated, mask);
        const TokenId next = token(piece);
        EXPECT_TRUE(mask.allows(next)) << piece;
        generated.push_back(next);
    }
    TokenMask mask(json_tokenizer().vocabulary_size());
    mask.allow_none();
    generated.push_back(token("foo"));
    EXPECT_THROW(mask_of(generated, mask), Error);
    TokenMask small(3);
    EXPECT_THROW(GrammarState(schema_grammar("true")).allow(small), Error);
}

TEST(GrammarState, grammars_are_shared_and_forgotten) {
    const GrammarCompiler compiler(json_tokenizer(), {.cached = 1, .end_tokens = {}});
    const auto first = compiler.json_schema("true");
    EXPECT_EQ(compiler.json_schema("true"), first);
    const auto second = compiler.json_object();
    EXPECT_NE(compiler.json_schema("true"), first);
    EXPECT_TRUE(takes_bytes(second, "{}"));
    EXPECT_THROW(GrammarCompiler(json_tokenizer(), {.end_tokens = {1 << 20}}), Error);
}

TEST(GrammarState, many_threads_share_a_grammar) {
    const auto grammar = schema_grammar(R"({"type":"array","items":{"type":"string","maxLength":5},"maxItems":9})");
    std::vector<std::thread> threads;
    std::atomic<int> whole = 0;
    for (uint64_t seed = 0; seed < 4; ++seed) {
        threads.emplace_back([&, seed] {
            std::string text;
            for (uint64_t i = 0; i < 10; ++i) {
                if (draw(grammar, 10 * seed + i, 300, text) && takes_bytes(grammar, text)) ++whole;
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_GT(whole, 30);
}

}  // namespace
}  // namespace sluice::test
