#include "text/gguf_tokenizer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "sluice/chat_template.h"
#include "sluice/tokenizer.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/source_file.h"
#include "tests/support/temporary_folder.h"
#include "text/gguf_patterns.h"
#include "text/pattern.h"

namespace sluice {
namespace {

using testing::GgufWriter;
using testing::TemporaryFolder;
using Ids = std::vector<TokenId>;

// a b c ab abc, the space in byte-level form, and three special tokens.
GgufWriter byte_level(const std::string& pattern) {
    GgufWriter writer;
    writer.add("general.architecture", "tiny");
    writer.add("tokenizer.ggml.model", "gpt2");
    if (!pattern.empty()) writer.add("tokenizer.ggml.pre", pattern);
    writer.add_array("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", "c", "ab", "abc", "\u0120", "<|end|>",
                                                                       "<think>", "[PAD8]", "<|im_end|>"});
    writer.add_array("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1, 1, 1, 1, 1, 3, 4, 5, 3});
    writer.add_array("tokenizer.ggml.merges", std::vector<std::string>{"a b", "ab c"});
    return writer;
}

Tokenizer open(const GgufWriter& writer) {
    const TemporaryFolder folder;
    writer.write(folder / "tokenizer.gguf");
    return Tokenizer::open(folder / "tokenizer.gguf");
}

std::string refusal(const GgufWriter& writer) {
    try {
        open(writer);
    } catch (const Error& error) {
        EXPECT_EQ(std::string_view(error.what()).find('\n'), std::string_view::npos);
        return error.what();
    }
    return {};
}

TEST(GgufTokenizer, MergesAndSpecialTokensOfAByteLevelOne) {
    const Tokenizer tokenizer = open(byte_level("gpt-2"));
    EXPECT_EQ(tokenizer.encode("abc ab"), (Ids{4, 5, 3}));
    EXPECT_EQ(tokenizer.encode("ab<|end|>c<think>"), (Ids{3, 6, 2, 7}));
    EXPECT_TRUE(tokenizer.is_special(6));
    EXPECT_FALSE(tokenizer.is_special(7));
    EXPECT_EQ(tokenizer.decode({4, 5, 3, 6}), "abc ab<|end|>");
    EXPECT_EQ(tokenizer.decode({8}), "[PAD8]");
    EXPECT_EQ(tokenizer.vocabulary_size(), 10u);
}

TEST(GgufTokenizer, BosAndEosAsTheFileOrItsKindSays) {
    GgufWriter writer = byte_level("llama-bpe");
    EXPECT_EQ(open(writer).encode("a", true), (Ids{0}));  // no such token is named
    writer.add("tokenizer.ggml.bos_token_id", uint32_t{6});
    writer.add("tokenizer.ggml.eos_token_id", uint32_t{9});
    EXPECT_EQ(open(writer).encode("a", true), (Ids{6, 0}));
    EXPECT_EQ(open(writer).encode("a"), (Ids{0}));
    GgufWriter both = writer;
    both.add("tokenizer.ggml.add_bos_token", false);
    both.add("tokenizer.ggml.add_eos_token", true);
    EXPECT_EQ(open(both).encode("a", true), (Ids{0, 9}));
    GgufWriter other = byte_level("qwen2");
    other.add("tokenizer.ggml.bos_token_id", uint32_t{6});
    EXPECT_EQ(open(other).encode("a", true), (Ids{0}));
}

TEST(GgufTokenizer, ScoresDecideWhatJoinsFirst) {
    GgufWriter writer;
    writer.add("tokenizer.ggml.model", "llama");
    writer.add_array("tokenizer.ggml.tokens", std::vector<std::string>{"<unk>", "<s>", "<0x21>", "a", "b", "c", "ab",
                                                                       "bc", "\u2581", "\u2581a", "aa"});
    writer.add_array("tokenizer.ggml.token_type", std::vector<int32_t>{2, 3, 6, 1, 1, 1, 1, 1, 1, 1, 1});
    writer.add_array("tokenizer.ggml.scores", std::vector<float>{0, 0, 0, -9, -9, -9, -2, -1, -9, -3, -2});
    writer.add("tokenizer.ggml.bos_token_id", uint32_t{1});
    const Tokenizer tokenizer = open(writer);
    EXPECT_EQ(tokenizer.encode("abc"), (Ids{9, 7}));          // bc before ab; then the space and a
    EXPECT_EQ(tokenizer.encode("ab", true), (Ids{1, 8, 6}));  // ab before the space and a
    EXPECT_EQ(tokenizer.encode("aaab"), (Ids{8, 10, 6}));     // of equal scores the left one
    EXPECT_EQ(tokenizer.encode("c!"), (Ids{8, 5, 2}));        // a byte for what is no token
    EXPECT_EQ(tokenizer.decode({9, 7, 2}), "abc!");
    EXPECT_EQ(tokenizer.encode("a<s>a"), (Ids{9, 1, 9}));  // behind a special token a space again
    writer.add("tokenizer.ggml.add_space_prefix", false);
    EXPECT_EQ(open(writer).encode("ab c"), (Ids{6, 8, 5}));
}

// Characters that are no tokens may still make one.
TEST(GgufTokenizer, TokensOfCharactersThatAreNone) {
    GgufWriter writer;
    writer.add("tokenizer.ggml.model", "llama");
    writer.add("tokenizer.ggml.add_space_prefix", false);
    writer.add_array("tokenizer.ggml.tokens", std::vector<std::string>{"<unk>", "xy", "xyz", "<0x78>", "<0x79>"});
    writer.add_array("tokenizer.ggml.token_type", std::vector<int32_t>{2, 1, 1, 6, 6});
    writer.add_array("tokenizer.ggml.scores", std::vector<float>{0, -1, -2, 0, 0});
    const Tokenizer tokenizer = open(writer);
    EXPECT_EQ(tokenizer.encode("xyz"), (Ids{2}));
    EXPECT_EQ(tokenizer.encode("xxyy"), (Ids{3, 1, 4}));
    EXPECT_EQ(tokenizer.encode("z"), (Ids{0}));  // its byte is no token
}

TEST(GgufTokenizer, WhatIsMissingOrWrongIsNamed) {
    EXPECT_NE(refusal(byte_level("no-such")).find("\"no-such\" is not known; these are: gpt-2"), std::string::npos);
    GgufWriter writer = byte_level("qwen2");
    writer.add("tokenizer.ggml.scores", 1.0f);
    EXPECT_EQ(refusal(writer), "");  // of no use here
    GgufWriter none;
    none.add("tokenizer.ggml.model", "gpt2");
    EXPECT_NE(refusal(none).find("tokenizer.ggml.tokens"), std::string::npos);
    none.add_array("tokenizer.ggml.tokens", std::vector<std::string>{"a"});
    none.add("tokenizer.ggml.pre", "qwen2");
    EXPECT_NE(refusal(none).find("tokenizer.ggml.merges"), std::string::npos);
    GgufWriter short_types = none;
    short_types.add_array("tokenizer.ggml.token_type", std::vector<int32_t>{});
    EXPECT_NE(refusal(short_types).find("one for each token"), std::string::npos);
    none.add_array("tokenizer.ggml.merges", std::vector<std::string>{"a z"});
    EXPECT_NE(refusal(none).find("item 0"), std::string::npos);
    GgufWriter unknown = byte_level("qwen2");
    GgufWriter model;
    model.add("tokenizer.ggml.model", "t5");
    model.add_array("tokenizer.ggml.tokens", std::vector<std::string>{"a"});
    EXPECT_NE(refusal(model).find("\"t5\""), std::string::npos);
}

TEST(GgufTokenizer, EveryPatternCompilesAndCoversItsText) {
    const std::string text = "Hello WORLD'll 12345 \xE4\xB8\xAD\xE6\x96\x87 caf\xC3\xA9\r\n\n  x=y; \xD1\x8F/ ";
    std::string names = gguf_pattern_names() + ", ";
    for (size_t comma = names.find(", "); comma != std::string::npos; comma = names.find(", ")) {
        const GgufPattern* pattern = find_gguf_pattern(names.substr(0, comma));
        ASSERT_NE(pattern, nullptr) << names;
        for (const std::string_view pass : pattern->passes) {
            PatternScratch scratch;
            std::vector<TextSpan> spans;
            Pattern::regex(pass, names.substr(0, comma)).find(text, scratch, spans);
            size_t covered = 0;
            for (const TextSpan& span : spans) covered += span.end - span.begin;
            EXPECT_EQ(covered, text.size());
        }
        names.erase(0, comma + 2);
    }
}

std::vector<std::string> words_of(const std::string& pattern, const std::string& text) {
    std::vector<std::string> words = {text};
    for (const std::string_view pass : find_gguf_pattern(pattern)->passes) {
        std::vector<std::string> cut;
        for (const std::string& word : words) {
            PatternScratch scratch;
            std::vector<TextSpan> spans;
            Pattern::regex(pass, pattern).find(word, scratch, spans);
            for (const TextSpan& span : spans) cut.push_back(word.substr(span.begin, span.end - span.begin));
        }
        words = std::move(cut);
    }
    return words;
}

TEST(GgufTokenizer, WhatIsPeculiarToAPattern) {
    using Words = std::vector<std::string>;
    EXPECT_EQ(words_of("qwen2", "a 12345"), (Words{"a", " ", "1", "2", "3", "4", "5"}));
    EXPECT_EQ(words_of("llama3", "a 12345"), (Words{"a", " ", "123", "45"}));
    EXPECT_EQ(words_of("afmoe", "a 12345"), (Words{"a", " ", "12", "345"}));
    EXPECT_EQ(words_of("exaone-moe", "one two  three"), (Words{"one two", " ", " three"}));
    EXPECT_EQ(words_of("gpt-4o", "oneTwo/\n"), (Words{"one", "Two", "/\n"}));
    EXPECT_EQ(words_of("deepseek-coder", "ab 12"), (Words{"ab", " ", "1", "2"}));
}

TEST(GgufText, EndsOfAnAnswerAreAllThatTheVocabularyHas) {
    GgufWriter writer = byte_level("qwen2");
    writer.add("tokenizer.ggml.eos_token_id", uint32_t{4});
    writer.add("general.sampling.temp", 0.6f);
    writer.add("general.sampling.top_k", int32_t{20});
    const std::string file = writer.bytes();
    const GgufHeader header = GgufHeader::parse(std::as_bytes(std::span(file)), "x.gguf");
    const nlohmann::json config = gguf_generation_config(header);
    EXPECT_EQ(config["eos_token_id"], (nlohmann::json{4, 9, 6}));
    EXPECT_EQ(config["top_k"], 20);
    EXPECT_NEAR(config["temperature"].get<double>(), 0.6, 1e-6);
    EXPECT_EQ(gguf_special_tokens(header), (nlohmann::json{{"eos_token", "abc"}}));
}

TEST(GgufText, TemplatesAreRenderedWithTheTokensByName) {
    GgufWriter writer = byte_level("qwen2");
    writer.add("tokenizer.ggml.bos_token_id", uint32_t{6});
    const TemporaryFolder folder;
    writer.write(folder / "x.gguf");
    EXPECT_THROW(ChatTemplate::open(folder / "x.gguf"), Error);
    writer.add("tokenizer.chat_template", "{{ bos_token }}{{ messages[0].content }}");
    writer.add_array("tokenizer.chat_templates", std::vector<std::string>{"tool_use"});
    writer.add("tokenizer.chat_template.tool_use", "tools: {{ tools[0] }}");
    writer.write(folder / "x.gguf");
    const ChatTemplate chat = ChatTemplate::open(folder.path());
    EXPECT_EQ(chat.render(R"({"messages": [{"role": "user", "content": "hi"}]})"), "<|end|>hi");
    EXPECT_EQ(chat.render(R"({"messages": [], "tools": ["t"]})"), "tools: t");
    EXPECT_TRUE(Tokenizer::is_in(folder.path()));
}

// Every kind that llama.cpp's library was asked about.
TEST(GgufTokenizer, AsRecorded) {
    const std::filesystem::path root = testing::source_file("/../shared/gguf/tokenizers");
    if (!std::filesystem::exists(root)) GTEST_SKIP();
    for (const auto& entry : std::filesystem::directory_iterator(root)) {
        SCOPED_TRACE(entry.path().filename().string());
        const Tokenizer tokenizer = Tokenizer::open(entry.path() / "tokenizer.gguf");
        const auto cases = nlohmann::json::parse(read_text_file(entry.path() / "cases.json"));
        for (const auto& each : cases) {
            const auto text = each["text"].get<std::string>();
            const Ids ids = tokenizer.encode(text);
            if (each.contains("ids_published") && ids == each["ids_published"].get<Ids>()) continue;
            EXPECT_EQ(ids, each["ids"].get<Ids>()) << text;
        }
    }
}

}  // namespace
}  // namespace sluice
