#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/text/tokenizer_fixture.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer_field.h"

namespace sluice::test {
namespace {

using nlohmann::json;
using Words = std::vector<std::string>;

std::string normalize(const char* description, const std::string& text) {
    const json parsed = json::parse(description);
    PatternScratch scratch;
    return Normalizer::parse(TokenizerField(parsed, "normalizer")).apply(text, scratch);
}

Words cut(const std::string& description, const std::string& text) {
    const json parsed = json::parse(description);
    WordList list;
    list.add_word(text);
    PatternScratch scratch;
    PreTokenizer::parse(TokenizerField(parsed, "pre_tokenizer")).apply(list, scratch);
    Words words;
    size_t begin = 0;
    for (const WordList::Item& item : list.items) {
        words.push_back(list.text.substr(begin, item.end - begin));
        begin = item.end;
    }
    return words;
}

TEST(Normalizer, AppliesEachType) {
    EXPECT_EQ(normalize("null", "e\u0301 "), "e\u0301 ");
    EXPECT_EQ(normalize(R"({"type": "NFC"})", "e\u0301\u212b"), "\u00e9\u00c5");
    EXPECT_EQ(normalize(R"({"type": "NFD"})", "\u00e9"), "e\u0301");
    EXPECT_EQ(normalize(R"({"type": "NFKC"})", "\ufb01\u00b2"), "fi2");
    EXPECT_EQ(normalize(R"({"type": "NFKD"})", "\u00e9\u2026"), "e\u0301...");
    EXPECT_EQ(normalize(R"({"type": "Lowercase"})", "\u00c9\u0130\u03a3X"), "\u00e9i\u0307\u03c3x");
    EXPECT_EQ(normalize(R"({"type": "StripAccents"})", "e\u0301\u0323o"), "eo");
    EXPECT_EQ(normalize(R"({"type": "Strip", "strip_left": true, "strip_right": false})", "\u3000 a \n"), "a \n");
    EXPECT_EQ(normalize(R"({"type": "Strip", "strip_left": false, "strip_right": true})", " a \u00a0\n"), " a");
    EXPECT_EQ(normalize(R"({"type": "Prepend", "prepend": "_"})", "a"), "_a");
    EXPECT_EQ(normalize(R"({"type": "Prepend", "prepend": "_"})", ""), "");
    EXPECT_EQ(normalize(R"({"type": "Replace", "pattern": {"String": "a."}, "content": "$1"})", "xa.ab"), "x$1ab");
    EXPECT_EQ(normalize(R"({"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "})", "a \n b"), "a b");
    EXPECT_EQ(normalize(R"({"type": "Replace", "pattern": {"Regex": "a+"}, "content": "$1\\0"})", "xaab"), "x$1\\0b");
    EXPECT_EQ(normalize(R"({"type": "ByteLevel"})", "a \u00e9"), "a\u0120\u00c3\u00a9");
}

TEST(Normalizer, SequencesRunInOrder) {
    EXPECT_EQ(normalize(R"({"type": "Sequence",
                            "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}]})",
                        "\u00c9t\u00e9"),
              "ete");
    EXPECT_EQ(normalize(R"({"type": "Sequence", "normalizers": []})", "A"), "A");
}

std::string split(const std::string& pattern, const std::string& behavior, bool invert = false) {
    return R"({"type": "Split", "pattern": )" + pattern + R"(, "behavior": ")" + behavior + R"(", "invert": )" +
           (invert ? "true}" : "false}");
}

TEST(PreTokenizer, SplitsByEachBehavior) {
    const std::string dash = R"({"String": "-"})";
    const std::string text = "the-final--countdown";
    EXPECT_EQ(cut(split(dash, "Removed"), text), (Words{"the", "final", "countdown"}));
    EXPECT_EQ(cut(split(dash, "Isolated"), text), (Words{"the", "-", "final", "-", "-", "countdown"}));
    EXPECT_EQ(cut(split(dash, "MergedWithPrevious"), text), (Words{"the-", "final-", "-", "countdown"}));
    EXPECT_EQ(cut(split(dash, "MergedWithNext"), text), (Words{"the", "-final", "-", "-countdown"}));
    EXPECT_EQ(cut(split(dash, "Contiguous"), text), (Words{"the", "-", "final", "--", "countdown"}));
}

TEST(PreTokenizer, InvertTradesMatchesForTheRest) {
    const std::string words = R"({"Regex": "\\w+|[^\\w\\s]+"})";
    const std::string text = "How are you doing?";
    EXPECT_EQ(cut(split(words, "Removed", true), text), (Words{"How", "are", "you", "doing", "?"}));
    EXPECT_EQ(cut(split(words, "MergedWithPrevious", true), text), (Words{"How ", "are ", "you ", "doing", "?"}));
    EXPECT_EQ(cut(split(words, "MergedWithNext", true), text), (Words{"How", " are", " you", " doing", "?"}));
    EXPECT_EQ(cut(split(words, "Contiguous", true), text), (Words{"How", " ", "are", " ", "you", " ", "doing?"}));
}

TEST(PreTokenizer, StringPatternsAreLiteral) {
    EXPECT_EQ(cut(split(R"({"String": "a.b"})", "Removed"), "xa.byaXb"), (Words{"x", "yaXb"}));
    EXPECT_EQ(cut(split(R"({"Regex": "a.b"})", "Removed"), "xa.byaXb"), (Words{"x", "y"}));
}

TEST(PreTokenizer, ByteLevelCutsAndMaps) {
    EXPECT_EQ(cut(R"({"type": "ByteLevel", "add_prefix_space": false})", "I've 2 \u00e9  x"),
              (Words{"I", "'ve", "\u01202", "\u0120\u00c3\u00a9", "\u0120", "\u0120x"}));
    const char* prefixed = R"({"type": "ByteLevel", "add_prefix_space": true, "use_regex": false})";
    EXPECT_EQ(cut(prefixed, "a b"), (Words{"\u0120a\u0120b"}));
    EXPECT_EQ(cut(prefixed, " a"), (Words{"\u0120a"}));
}

TEST(PreTokenizer, CutsAtClassesOfCharacters) {
    EXPECT_EQ(cut(R"({"type": "Digits", "individual_digits": true})", "a12\u00bdb"),
              (Words{"a", "1", "2", "\u00bd", "b"}));
    EXPECT_EQ(cut(R"({"type": "Digits", "individual_digits": false})", "a12b3"), (Words{"a", "12", "b", "3"}));
    EXPECT_EQ(cut(R"({"type": "Punctuation"})", "a,b$\u3002c"), (Words{"a", ",", "b", "$", "\u3002", "c"}));
    EXPECT_EQ(cut(R"({"type": "Punctuation", "behavior": "Contiguous"})", "a,.b"), (Words{"a", ",.", "b"}));
    EXPECT_EQ(cut(R"({"type": "WhitespaceSplit"})", " a\u3000b\n"), (Words{"a", "b"}));
    EXPECT_EQ(cut(R"({"type": "Whitespace"})", "it's  ok!"), (Words{"it", "'", "s", "ok", "!"}));
    EXPECT_EQ(cut(R"({"type": "CharDelimiterSplit", "delimiter": "|"})", "a||b"), (Words{"a", "b"}));
}

TEST(PreTokenizer, LaterStepsSeeEachWordAlone) {
    const std::string steps = R"({"type": "Sequence", "pretokenizers": [)" +
                              split(R"({"Regex": "\\p{N}{1,3}"})", "Isolated") + "," +
                              split(R"({"Regex": "\\s+(?!\\S)|\\s+"})", "Isolated") + "]}";
    // The white space before 1234 ends its word, so that nothing of it is left for the digits.
    EXPECT_EQ(cut(steps, "a  1234"), (Words{"a", "  ", "123", "4"}));
    EXPECT_EQ(cut(steps, "a  b"), (Words{"a", " ", " ", "b"}));
}

TEST(PreTokenizer, PatternsBeyondTheirLimitsAreRefused) {
    EXPECT_THROW(cut(split(R"({"Regex": "(?:a+)+$|b"})", "Isolated"), std::string(60, 'a') + "cb"), Error);
}

TEST(AddedTokens, AreCutOutBeforeAnythingElse) {
    const Tokenizer tokenizer =
        tokenizer_of(with_added(byte_level_document(kHelloMerges), R"([{"id": 300, "content": "<s>", "special": true},
            {"id": 301, "content": "<s>>"}, {"id": 302, "content": "llo"}])"));
    EXPECT_EQ(tokenizer.encode("hello"), (Ids{257, 302}));
    EXPECT_EQ(tokenizer.encode("<s><s>>"), (Ids{300, 301}));  // the longest at a place
    EXPECT_EQ(tokenizer.encode("<s"), (Ids{'<', 's'}));
    EXPECT_EQ(tokenizer.decode({300, 257, 300}), "<s>he<s>");
    EXPECT_EQ(tokenizer.decode({300, 257, 301}, true), "he<s>>");
}

TEST(AddedTokens, TakeWhiteSpaceAlong) {
    const Tokenizer tokenizer =
        tokenizer_of(with_added(byte_level_document({}), R"([{"id": 300, "content": "<l>", "lstrip": true},
            {"id": 301, "content": "<r>", "rstrip": true}])"));
    EXPECT_EQ(tokenizer.encode("a \u3000<l> b"), (Ids{'a', 300, ' ', 'b'}));
    EXPECT_EQ(tokenizer.encode("a <r>\n\t b"), (Ids{'a', ' ', 301, 'b'}));
    EXPECT_EQ(tokenizer.encode("<r> <l>"), (Ids{301, 300}));
    EXPECT_EQ(tokenizer.encode("  <l>  <l>"), (Ids{300, 300}));
}

TEST(AddedTokens, SingleWordsTouchNoWord) {
    const Tokenizer tokenizer =
        tokenizer_of(with_added(byte_level_document({}), R"([{"id": 300, "content": "ab", "single_word": true}])"));
    EXPECT_EQ(tokenizer.encode("ab,ab"), (Ids{300, ',', 300}));
    EXPECT_EQ(tokenizer.encode("abc"), (Ids{'a', 'b', 'c'}));
    EXPECT_EQ(tokenizer.encode("_ab"), (Ids{'_', 'a', 'b'}));
    EXPECT_EQ(tokenizer.encode("\u00e9ab"), (Ids{0xC3, 0xA9, 'a', 'b'}));
    EXPECT_EQ(tokenizer.encode("\u0330ab"), (Ids{0xCC, 0xB0, 'a', 'b'}));
}

TEST(AddedTokens, NormalizedOnesMatchNormalizedText) {
    const json document = with_added(byte_level_document({}), R"([{"id": 300, "content": "Name", "normalized": true},
            {"id": 301, "content": "RAW"}])");
    const Tokenizer tokenizer = tokenizer_of(with(document, "/normalizer", R"({"type": "Lowercase"})"));
    EXPECT_EQ(tokenizer.encode("NAME raw RAW"), (Ids{300, ' ', 'r', 'a', 'w', ' ', 301}));
}

TEST(AddedTokens, AreNoTokensOfTheModel) {
    const json document =
        with_added(byte_level_document({}), R"([{"id": 300, "content": "abc", "single_word": true}])");
    const Tokenizer tokenizer = tokenizer_of(with(document, "/model/ignore_merges", "true"));
    EXPECT_EQ(tokenizer.encode("abcd"), (Ids{'a', 'b', 'c', 'd'}));
}

// Of a model alone: no pre-tokenizer, no decoder.
Tokenizer model(const std::string& members) {
    return Tokenizer::parse(R"({"model": {"type": "BPE", )" + members + "}}", "test.json");
}

TEST(BytePairEncoding, UnknownCharacters) {
    const std::string vocabulary = R"("vocab": {"<unk>": 0, "a": 1, "b": 2}, "merges": [])";
    EXPECT_EQ(model(vocabulary + R"(, "unk_token": "<unk>")").encode("accb"), (Ids{1, 0, 0, 2}));
    EXPECT_EQ(model(vocabulary + R"(, "unk_token": "<unk>", "fuse_unk": true)").encode("accb"), (Ids{1, 0, 2}));
    EXPECT_EQ(model(R"("vocab": {"a": 1, "b": 2}, "merges": [], "unk_token": null)").encode("accb"), (Ids{1, 2}));
    try {
        model(R"("vocab": {"a": 1, "b": 2}, "merges": [], "unk_token": "<unk>")").encode("c");
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kInvalidFile);
        EXPECT_THAT(error.what(), testing::HasSubstr("model.unk_token \"<unk>\""));
    }
}

TEST(BytePairEncoding, FallsBackToBytes) {
    const Tokenizer tokenizer = model(R"("vocab": {"<unk>": 0, "a": 1, "<0xC3>": 2, "<0xA9>": 3}, "merges": [],
                                         "unk_token": "<unk>", "byte_fallback": true)");
    EXPECT_EQ(tokenizer.encode("a\u00e9"), (Ids{1, 2, 3}));
    EXPECT_EQ(tokenizer.encode("a\u00ea"), (Ids{1, 0}));  // one of its bytes has no token
}

TEST(BytePairEncoding, WholeWordsBeforeMergesWhereAsked) {
    const std::string members = R"("vocab": {"a": 0, "b": 1, "ab": 2, "abab": 3}, "merges": ["a b"])";
    EXPECT_EQ(model(members).encode("abab"), (Ids{2, 2}));
    EXPECT_EQ(model(members + R"(, "ignore_merges": true)").encode("abab"), (Ids{3}));
}

TEST(BytePairEncoding, PrefixesAndSuffixes) {
    EXPECT_EQ(model(R"("vocab": {"a": 0, "##b": 1, "##c": 2, "ab": 3, "abc": 4}, "merges": ["a ##b", "ab ##c"],
                       "continuing_subword_prefix": "##")")
                  .encode("abcb"),
              (Ids{4, 1}));
    EXPECT_EQ(model(R"("vocab": {"a": 0, "b</w>": 1, "ab</w>": 2}, "merges": ["a b</w>"],
                       "end_of_word_suffix": "</w>")")
                  .encode("aab"),
              (Ids{0, 2}));
}

Words metaspace(const std::string& members, const std::string& text) {
    return cut(R"({"type": "Metaspace", "replacement": "\u2581", )" + members + "}", text);
}

TEST(PreTokenizer, MetaspaceMarksSpaces) {
    EXPECT_EQ(metaspace(R"("prepend_scheme": "always", "split": true)", "a  b"),
              (Words{"\u2581a", "\u2581", "\u2581b"}));
    EXPECT_EQ(metaspace(R"("prepend_scheme": "always", "split": false)", "a b"), (Words{"\u2581a\u2581b"}));
    EXPECT_EQ(metaspace(R"("prepend_scheme": "never")", "a b"), (Words{"a", "\u2581b"}));
    EXPECT_EQ(metaspace(R"("prepend_scheme": "always")", " a"), (Words{"\u2581a"})) << "one is enough";
    EXPECT_EQ(metaspace(R"("add_prefix_space": true, "str_rep": "\u2581")", "a"), (Words{"\u2581a"}));
    EXPECT_EQ(metaspace(R"("add_prefix_space": false)", "a"), (Words{"a"}));
    EXPECT_EQ(metaspace(R"("prepend_scheme": "first")", "a\tb c"), (Words{"\u2581a\tb", "\u2581c"}));
    EXPECT_THROW(metaspace(R"("prepend_scheme": "second")", "a"), Error);
    EXPECT_THROW(metaspace(R"("prepend_scheme": "first", "add_prefix_space": false)", "a"), Error);
}

TEST(PreTokenizer, MetaspaceKnowsTheFirstWordOfTheText) {
    const std::string first = R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "first"})";
    const std::string always = R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "always"})";
    const auto after = [](const std::string& step, const std::string& last, const std::string& text) {
        return cut(R"({"type": "Sequence", "pretokenizers": [)" + step + ", " + last + "]}", text);
    };
    const std::string spaces = R"({"type": "WhitespaceSplit"})";
    EXPECT_EQ(after(spaces, first, "a b"), (Words{"_a", "b"}));
    EXPECT_EQ(after(spaces, always, "a b"), (Words{"_a", "_b"}));
    EXPECT_EQ(after(spaces, first, " a b"), (Words{"a", "b"})) << "the text begins with a space";
    const Tokenizer tokenizer = tokenizer_of(
        with(with_added(byte_level_document({}), R"([{"id": 300, "content": "<s>"}])"), "/pre_tokenizer", first));
    EXPECT_EQ(tokenizer.encode("a<s>b"), (Ids{'_', 'a', 300, 'b'}));
    EXPECT_EQ(tokenizer.encode("<s>b"), (Ids{300, 'b'}));
}

TEST(AddedTokens, OfOneGivenTwiceTheLaterFlagsCount) {
    const Tokenizer tokenizer =
        tokenizer_of(with_added(byte_level_document({}), R"([{"id": 300, "content": "<s>", "special": true},
                                                {"id": 301, "content": "</s>", "lstrip": true},
                                                {"id": 300, "content": "<s>", "rstrip": true}])"));
    EXPECT_EQ(tokenizer.encode("a <s> b"), (Ids{'a', ' ', 300, 'b'}));
    EXPECT_EQ(tokenizer.encode("a </s>"), (Ids{'a', 301}));
    EXPECT_TRUE(tokenizer.is_special(300)) << "special once is special always";
}

TEST(PostProcessor, AddsSpecialTokensOnlyWhenAsked) {
    const json document =
        with_added(byte_level_document({}), R"([{"id": 300, "content": "<s>"}, {"id": 301, "content": "</s>"}])");
    const Tokenizer templated = tokenizer_of(with(document, "/post_processor", R"({"type": "Sequence", "processors": [
        {"type": "ByteLevel", "trim_offsets": true},
        {"type": "TemplateProcessing", "pair": [],
         "single": [{"SpecialToken": {"id": "BOS", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
         "special_tokens": {"BOS": {"id": "BOS", "ids": [300], "tokens": ["<s>"]}}}]})"));
    EXPECT_EQ(templated.encode("a"), (Ids{'a'}));
    EXPECT_EQ(templated.encode("a", true), (Ids{300, 'a'}));
    EXPECT_EQ(templated.encode("", true), (Ids{300}));
    const Tokenizer framed = tokenizer_of(with(
        document, "/post_processor", R"({"type": "RobertaProcessing", "cls": ["<s>", 300], "sep": ["</s>", 301]})"));
    EXPECT_EQ(framed.encode("a", true), (Ids{300, 'a', 301}));
}

}  // namespace
}  // namespace sluice::test
