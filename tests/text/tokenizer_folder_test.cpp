#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"
#include "tests/support/temporary_folder.h"
#include "tests/text/tokenizer_fixture.h"

namespace sluice::test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

// A checkpoint folder with a byte-level tokenizer.json.
class TokenizerFolder : public ::testing::Test {
  protected:
    void write(const std::string& name, const std::string& text) { write_text_file(folder_ / name, text); }
    void write_tokenizer(const json& document) { write("tokenizer.json", document.dump()); }
    Tokenizer open() { return Tokenizer::open(folder_.path()); }
    std::string refusal() {
        try {
            open();
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    }

    testing::TemporaryFolder folder_;
};

const std::string kTemplate = R"({"type": "TemplateProcessing", "pair": [],
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [300], "tokens": ["<s>"]}}})";

json with_bos() {
    return with_added(byte_level_document(kHelloMerges), R"([{"id": 300, "content": "<s>", "special": true},
                                                             {"id": 301, "content": "</s>", "special": true}])");
}

TEST_F(TokenizerFolder, TokensOfTheConfigAreAddedTokens) {
    write_tokenizer(with_bos());
    write("tokenizer_config.json", R"({"added_tokens_decoder": {
        "302": {"content": "<|a|>", "special": true},
        "303": {"content": "<|b|>", "special": false, "rstrip": true},
        "301": {"content": "</s>", "special": true, "lstrip": true}}})");
    const Tokenizer tokenizer = open();
    EXPECT_EQ(tokenizer.encode("<|a|>hello<|b|>  </s>x"), (Ids{302, 259, 303, 301, 'x'}));
    EXPECT_TRUE(tokenizer.is_special(302));
    EXPECT_FALSE(tokenizer.is_special(303));
    EXPECT_EQ(tokenizer.vocabulary_size(), 304U);
    EXPECT_EQ(tokenizer.encode("x  </s>"), (Ids{'x', 301})) << "the config's flags count, too";
}

TEST_F(TokenizerFolder, AnIdThatIsTakenGivesWayToTheNextOne) {
    write_tokenizer(with_bos());
    write("tokenizer_config.json", R"({"added_tokens_decoder": {"300": {"content": "<|other|>", "special": true},
                                                                "7": {"content": "hello", "special": true}}})");
    const Tokenizer tokenizer = open();
    EXPECT_EQ(tokenizer.find("<s>"), 300);
    EXPECT_EQ(tokenizer.find("<|other|>"), 302);
    EXPECT_EQ(tokenizer.encode("xhello"), (Ids{'x', 259})) << "a token of the vocabulary keeps its id";
}

TEST_F(TokenizerFolder, NamedSpecialTokensOfTheVocabularyAreSpecial) {
    write_tokenizer(byte_level_document(kHelloMerges));
    write("tokenizer_config.json", R"({"eos_token": "hello", "pad_token": {"content": "ld", "lstrip": true},
                                       "bos_token": "<nowhere>", "additional_special_tokens": ["ll"]})");
    const Tokenizer tokenizer = open();
    EXPECT_TRUE(tokenizer.is_special(259));
    EXPECT_TRUE(tokenizer.is_special(256));
    EXPECT_EQ(tokenizer.encode("x  ld"), (Ids{'x', 263}));
    EXPECT_FALSE(tokenizer.find("<nowhere>")) << "the model has no row for it";
}

TEST_F(TokenizerFolder, OlderCheckpointsNameThemInFilesOfTheirOwn) {
    write_tokenizer(byte_level_document(kHelloMerges));
    write("tokenizer_config.json", R"({"add_bos_token": true})");
    write("special_tokens_map.json", R"({"bos_token": {"content": "<bos>"}, "eos_token": "<eos>"})");
    write("added_tokens.json", R"({"<bos>": 270, "<plain>": 272})");
    const Tokenizer tokenizer = open();
    EXPECT_EQ(tokenizer.encode("<bos>hello<plain>"), (Ids{270, 259, 272}));
    EXPECT_TRUE(tokenizer.is_special(270));
    EXPECT_FALSE(tokenizer.is_special(272));
    EXPECT_EQ(tokenizer.encode("hello", true), (Ids{270, 259}));

    write("tokenizer_config.json", R"({"added_tokens_decoder": {}})");
    EXPECT_FALSE(open().find("<plain>")) << "later checkpoints have all in one file";
}

TEST_F(TokenizerFolder, ATextBeginsAsTheConfigAsks) {
    write_tokenizer(with_bos());
    write("tokenizer_config.json", R"({"add_bos_token": true, "bos_token": "<s>", "eos_token": {"content": "</s>"}})");
    EXPECT_EQ(open().encode("hello"), (Ids{259}));
    EXPECT_EQ(open().encode("hello", true), (Ids{300, 259}));
    write("tokenizer_config.json", R"({"add_eos_token": true, "bos_token": "<s>", "eos_token": {"content": "</s>"}})");
    EXPECT_EQ(open().encode("hello", true), (Ids{259, 301}));
    write("tokenizer_config.json", R"({"add_bos_token": false, "bos_token": "<s>"})");
    EXPECT_EQ(open().encode("hello", true), (Ids{259}));
}

TEST_F(TokenizerFolder, TheTemplateOfTheFileStaysButForClassesWithTheirOwn) {
    write_tokenizer(with(with_bos(), "/post_processor", kTemplate));
    EXPECT_EQ(open().encode("hello", true), (Ids{300, 259}));
    write("tokenizer_config.json", R"({"add_bos_token": true, "bos_token": "<s>"})");
    EXPECT_EQ(open().encode("hello", true), (Ids{300, 259})) << "once is enough";
    write("tokenizer_config.json", R"({"add_bos_token": false, "bos_token": "<s>",
                                       "tokenizer_class": "PreTrainedTokenizerFast"})");
    EXPECT_EQ(open().encode("hello", true), (Ids{300, 259}));
    write("tokenizer_config.json", R"({"add_bos_token": false, "bos_token": "<s>",
                                       "tokenizer_class": "LlamaTokenizerFast"})");
    EXPECT_EQ(open().encode("hello", true), (Ids{259}));
    write_tokenizer(with_bos());
    write("tokenizer_config.json", R"({"bos_token": "<s>", "tokenizer_class": "LlamaTokenizer"})");
    EXPECT_EQ(open().encode("hello", true), (Ids{300, 259})) << "the class's default";
}

TEST_F(TokenizerFolder, ABrokenConfigIsNamed) {
    write_tokenizer(with_bos());
    write("tokenizer_config.json", "{");
    EXPECT_THAT(refusal(), HasSubstr("tokenizer_config.json: not valid JSON"));
    write("tokenizer_config.json", R"({"added_tokens_decoder": {"x": {"content": "a"}}})");
    EXPECT_THAT(refusal(), HasSubstr("tokenizer_config.json: added_tokens_decoder.\"x\" must have a whole number"));
    write("tokenizer_config.json", R"({"added_tokens_decoder": {"-1": {"content": "a"}}})");
    EXPECT_THAT(refusal(), HasSubstr("added_tokens_decoder.\"-1\" is -1"));
    write("tokenizer_config.json", R"({"add_bos_token": "yes"})");
    EXPECT_THAT(refusal(), HasSubstr("add_bos_token must be true or false"));
}

std::string base64(const std::string& bytes) {
    const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text;
    for (size_t at = 0; at < bytes.size(); at += 3) {
        uint32_t bits = 0;
        for (size_t i = 0; i < 3; ++i) {
            bits = bits << 8 | (at + i < bytes.size() ? static_cast<uint8_t>(bytes[at + i]) : 0);
        }
        for (size_t i = 0; i < 4; ++i) text += at + i <= bytes.size() ? digits[(bits >> (18 - 6 * i)) & 63] : '=';
    }
    return text;
}

// All bytes, then "ab" 256, "bc" 257, "abc" 258, " ab" 259.
std::string ranks() {
    std::string lines;
    int rank = 0;
    const auto add = [&](const std::string& token) { lines += base64(token) + " " + std::to_string(rank++) + "\n"; };
    for (int byte = 0; byte < 256; ++byte) add(std::string(1, static_cast<char>(byte)));
    for (const char* token : {"ab", "bc", "abc", " ab"}) add(token);
    return lines;
}

TEST_F(TokenizerFolder, TiktokenRanksMakeATokenizer) {
    write("tiktoken.model", ranks());
    write("tokenizer_config.json", R"({"tokenizer_class": "TikTokenTokenizer", "bos_token": "[BOS]",
                                       "added_tokens_decoder": {"261": {"content": "[BOS]", "special": true}}})");
    ASSERT_TRUE(Tokenizer::is_in(folder_.path()));
    const Tokenizer tokenizer = open();
    EXPECT_EQ(tokenizer.encode("abc ab bbc"), (Ids{258, 259, ' ', 'b', 257}));
    EXPECT_EQ(tokenizer.encode("abab"), (Ids{256, 256}));
    EXPECT_EQ(tokenizer.encode("[BOS]1234"), (Ids{261, '1', '2', '3', '4'}));
    EXPECT_EQ(tokenizer.encode("<|reserved_token_260|>"), (Ids{260}));
    EXPECT_EQ(tokenizer.vocabulary_size(), 260U + 256);
    EXPECT_EQ(tokenizer.encode("a", true), (Ids{'a'})) << "the class adds none by itself";
    EXPECT_EQ(tokenizer.decode({258, 261, 0xC3, 0xA9}, true), "abc\u00e9");
}

TEST_F(TokenizerFolder, BrokenTiktokenFilesAreNamed) {
    EXPECT_FALSE(Tokenizer::is_in(folder_.path()));
    EXPECT_THAT(refusal(), HasSubstr("tokenizer.json"));
    write("tiktoken.model", "QQ== 0\nQg== x\n");
    EXPECT_THAT(refusal(), HasSubstr("tiktoken.model: line 2 must be a token in base64"));
    write("tiktoken.model", "QQ== 0\nQ?== 1\n");
    EXPECT_THAT(refusal(), HasSubstr("line 2 must be"));
    write("tiktoken.model", "QQ== 0\nQQ== 1\n");
    EXPECT_THAT(refusal(), HasSubstr("line 2 has a token or a rank"));
    write("tiktoken.model", "QQ== 0\nQg== 1\n");
    EXPECT_THAT(refusal(), HasSubstr("byte 0 is no token"));
    write("tiktoken.model", ranks());
    write("tokenizer_config.json", R"({"tokenizer_class": "OtherTokenizer"})");
    EXPECT_THAT(refusal(), HasSubstr("\"OtherTokenizer\" are not known"));
}

}  // namespace
}  // namespace sluice::test
