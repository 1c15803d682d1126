#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/text/tokenizer_fixture.h"

namespace sluice::test {
namespace {

using testing::HasSubstr;

constexpr ErrorCode kInvalid = ErrorCode::kInvalidFile;
constexpr ErrorCode kUnsupported = ErrorCode::kUnsupported;

void expect_refused(const std::string& text, ErrorCode code, const std::string& says) {
    try {
        Tokenizer::parse(text, "test.json");
        FAIL() << "was accepted";
    } catch (const Error& error) {
        const std::string what = error.what();
        EXPECT_EQ(error.code(), code) << what;
        EXPECT_THAT(what, HasSubstr(says));
        EXPECT_TRUE(what.starts_with("test.json")) << what;
        EXPECT_EQ(what.find('\n'), std::string::npos) << what;
        EXPECT_LT(what.size(), 500u);
    }
}

// A sound file with one member set to something else, or removed.
struct Damage {
    const char* name;
    const char* path;
    const char* value;
    ErrorCode code;
    const char* says;
};

constexpr const char* kRemoved = "";
constexpr const char* kNextMerge = "/model/merges/-";
constexpr const char* kNewToken = "/model/vocab/zz";

const Damage kDamages[] = {
    {"no model", "/model", kRemoved, kInvalid, "model is missing"},
    {"model is no object", "/model", "5", kInvalid, "model must be an object"},
    {"another model", "/model/type", R"("WordPiece")", kUnsupported, R"(model.type is "WordPiece")"},
    {"unigram", "/model", R"({"type": "Unigram", "vocab": [["a", -1.5]]})", kUnsupported, R"("Unigram")"},
    {"type is a number", "/model/type", "1", kInvalid, "model.type must be a string"},
    {"another version", "/version", R"("2.0")", kUnsupported, "version"},

    {"no vocabulary", "/model/vocab", kRemoved, kInvalid, "model.vocab is missing"},
    {"vocabulary is a list", "/model/vocab", "[1, 2]", kInvalid, "model.vocab must be an object"},
    {"id twice", kNewToken, "5", kInvalid, "have the same id 5"},
    {"negative id", kNewToken, "-1", kInvalid, R"("zz" has a negative number)"},
    {"fraction for an id", kNewToken, "1.5", kInvalid, R"("zz" has a fraction)"},
    {"text for an id", kNewToken, R"("1")", kInvalid, R"("zz" has a string)"},
    {"null for an id", kNewToken, "null", kInvalid, R"("zz" has null)"},
    {"object for an id", kNewToken, "{}", kInvalid, R"("zz")"},
    {"huge id", kNewToken, "4294967296", kInvalid, "4294967296"},

    {"no merges", "/model/merges", kRemoved, kInvalid, "model.merges is missing"},
    {"merges are null", "/model/merges", "null", kInvalid, "model.merges must be an array"},
    {"merges cut off", "/model/merges", "[]", kInvalid, "model.merges is empty"},
    {"merge of an unknown token", kNextMerge, R"(["zq", "a"])", kInvalid,
     R"(model.merges[9]: "zq" is not in model.vocab)"},
    {"merge to an unknown token", kNextMerge, R"(["a", "z"])", kInvalid, R"("az" is not in model.vocab)"},
    {"merge of three", kNextMerge, R"(["a", "z", "a"])", kInvalid, "model.merges[9]"},
    {"merge of one", kNextMerge, R"(["a"])", kInvalid, "model.merges[9]"},
    {"merge without a space", kNextMerge, R"("hell")", kInvalid, "model.merges[9]"},
    {"merge with two spaces", kNextMerge, R"("h e l")", kInvalid, "model.merges[9]"},
    {"merge is a number", kNextMerge, "7", kInvalid, "model.merges[9]"},
    {"merge is an object", kNextMerge, "{}", kInvalid, "model.merges[9]"},
    {"merge within a merge", kNextMerge, R"([["a", "b"], "c"])", kInvalid, "model.merges[9]"},

    {"dropout", "/model/dropout", "0.1", kUnsupported, "model.dropout"},
    {"flag is text", "/model/byte_fallback", R"("yes")", kInvalid, "model.byte_fallback must be true or false"},

    {"normalizer", "/normalizer", R"({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Nmt"}]})",
     kUnsupported, R"(normalizer.normalizers[1].type is "Nmt")"},
    {"normalizer without a type", "/normalizer", "{}", kInvalid, "normalizer.type is missing"},
    {"normalizer is text", "/normalizer", R"("NFC")", kInvalid, "normalizer must be an object"},
    {"pre-tokenizer", "/pre_tokenizer", R"({"type": "UnicodeScripts"})", kUnsupported,
     R"(pre_tokenizer.type is "UnicodeScripts")"},
    {"metaspace of two characters", "/pre_tokenizer", R"({"type": "Metaspace", "replacement": "__"})", kInvalid,
     "pre_tokenizer.replacement must be one character"},
    {"behavior", "/pre_tokenizer",
     R"({"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Sideways", "invert": false})", kUnsupported,
     R"(pre_tokenizer.behavior is "Sideways")"},
    {"pattern that does not compile", "/pre_tokenizer",
     R"({"type": "Split", "pattern": {"Regex": "(a"}, "behavior": "Isolated"})", kUnsupported,
     "pre_tokenizer.pattern.Regex"},
    {"pattern of an unknown kind", "/pre_tokenizer",
     R"({"type": "Split", "pattern": {"Glob": "*"}, "behavior": "Isolated"})", kUnsupported, "pre_tokenizer.pattern"},
    {"decoder", "/decoder", R"({"type": "CTC"})", kUnsupported, R"(decoder.type is "CTC")"},
    {"post-processor", "/post_processor", R"({"type": "Fancy"})", kUnsupported, R"(post_processor.type is "Fancy")"},
    {"template token that is not listed", "/post_processor",
     R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}],
         "special_tokens": {}})",
     kInvalid, "post_processor.special_tokens.<s> is missing"},
    {"template id outside", "/post_processor",
     R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}],
         "special_tokens": {"<s>": {"ids": [9999]}}})",
     kInvalid, "is 9999"},

    {"added tokens are no list", "/added_tokens", "{}", kInvalid, "added_tokens must be an array"},
    {"added token without content", "/added_tokens", R"([{"id": 300}])", kInvalid,
     "added_tokens[0].content is missing"},
    {"added token without an id", "/added_tokens", R"([{"content": "x"}])", kInvalid, "added_tokens[0].id is missing"},
    {"added tokens with one id", "/added_tokens", R"([{"id": 300, "content": "<a>"}, {"id": 300, "content": "<b>"}])",
     kInvalid, R"(added_tokens[1].id is 300, which "<a>" has)"},
    {"added token with two ids", "/added_tokens", R"([{"id": 300, "content": "<a>"}, {"id": 301, "content": "<a>"}])",
     kInvalid, "added_tokens[1].id is 301"},
    {"added token with the id of another", "/added_tokens", R"([{"id": 259, "content": "<a>"}])", kInvalid,
     R"(which "hello" of model.vocab has)"},
    {"added token that has another id", "/added_tokens", R"([{"id": 300, "content": "hello"}])", kInvalid,
     R"(model.vocab gives "hello" the id 259)"},
    {"added token with a negative id", "/added_tokens", R"([{"id": -3, "content": "<a>"}])", kInvalid,
     "added_tokens[0].id is -3"},
};

TEST(TokenizerFile, DamageIsRefusedInOneLine) {
    const nlohmann::json sound = byte_level_document(kHelloMerges);
    for (const Damage& damage : kDamages) {
        SCOPED_TRACE(damage.name);
        expect_refused(with(sound, damage.path, damage.value).dump(), damage.code, damage.says);
    }
}

TEST(TokenizerFile, RefusesWhatIsNoJsonObject) {
    expect_refused("", kInvalid, "not valid JSON");
    expect_refused("[]", kInvalid, "must hold a JSON object");
    expect_refused("\"text\"", kInvalid, "must hold a JSON object");
    expect_refused("{\"model\": ", kInvalid, "not valid JSON");
    expect_refused("{\"a\": \"\xFF\"}", kInvalid, "not valid JSON");
    expect_refused("{} {}", kInvalid, "not valid JSON");
    const std::string whole = byte_level_document(kHelloMerges).dump();
    for (size_t cut = 0; cut < whole.size(); cut += 97) expect_refused(whole.substr(0, cut), kInvalid, "test.json");
}

TEST(TokenizerFile, RefusesKeysGivenTwice) {
    expect_refused(R"({"model": {"vocab": {"a": 0, "a": 1}, "merges": []}})", kInvalid, "\"a\" appears twice");
    expect_refused(R"({"model": {"vocab": {"a": 0}, "vocab": {"b": 0}, "merges": []}})", kInvalid,
                   "model.vocab appears twice");
    expect_refused(R"({"model": {"vocab": {"a": 0}, "merges": [], "merges": []}})", kInvalid,
                   "model.merges appears twice");
}

TEST(TokenizerFile, NestingDoesNotOverflowTheStack) {
    constexpr size_t kDepth = 2'000'000;
    expect_refused(std::string(kDepth, '['), kInvalid, "nested deeper");
    std::string objects;
    for (size_t i = 0; i < kDepth / 10; ++i) objects += "{\"a\":";
    expect_refused(objects, kInvalid, "nested deeper");
    std::string sequences = R"({"normalizer":)";
    for (size_t i = 0; i < 100'000; ++i) sequences += R"({"type":"Sequence","normalizers":[)";
    expect_refused(sequences, kInvalid, "nested deeper");
    expect_refused(R"({"model":{"merges":)" + std::string(kDepth, '['), kInvalid, "model.merges[0]");
    expect_refused(R"({"model":{"vocab":{"a":)" + std::string(kDepth, '['), kInvalid, "\"a\"");
}

TEST(TokenizerFile, TakesMembersInAnyOrder) {
    const Tokenizer tokenizer = Tokenizer::parse(
        R"({"model": {"merges": [["a", "b"]], "x": {"vocab": 3}, "vocab": {"ab": 2, "b": 1, "a": 0}},
                             "unknown": [{"vocab": {}}], "vocab": null})",
        "test.json");
    EXPECT_EQ(tokenizer.encode("abba"), (Ids{2, 1, 0}));
}

TEST(TokenizerFile, AcceptsSingleCharactersWithoutMerges) {
    EXPECT_EQ(tokenizer_of(byte_level_document({})).encode("hi"), (Ids{'h', 'i'}));
}

TEST(TokenizerFile, LeavesOutEmptyAndRepeatedAddedTokens) {
    const Tokenizer tokenizer = tokenizer_of(with_added(byte_level_document({}), R"([{"id": 300, "content": ""},
        {"id": 301, "content": "<a>"}, {"id": 301, "content": "<a>"}])"));
    EXPECT_EQ(tokenizer.encode("x<a>"), (Ids{'x', 301}));
}

}  // namespace
}  // namespace sluice::test
