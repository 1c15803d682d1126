#include <gtest/gtest.h>

#include <random>

#include "tests/text/tokenizer_fixture.h"
#include "text/token_decoder.h"
#include "text/tokenizer_field.h"
#include "unicode/utf8.h"

namespace sluice::test {
namespace {

using nlohmann::json;
using Texts = std::vector<std::string>;

// What each token made certain, and at the end the rest.
Texts pieces(const std::string& description, const Texts& tokens) {
    const json parsed = json::parse(description);
    const TokenDecoder decoder = TokenDecoder::parse(TokenizerField(parsed, "decoder"));
    TokenDecoderStream stream(decoder);
    Texts texts;
    for (const std::string& token : tokens) stream.push(token, texts.emplace_back());
    stream.finish(texts.emplace_back());
    return texts;
}

std::string joined(const Texts& texts) {
    std::string all;
    for (const std::string& text : texts) all += text;
    return all;
}

std::string sequence(const Texts& steps) {
    std::string list;
    for (const std::string& step : steps) list += (list.empty() ? "" : ", ") + step;
    return R"({"type": "Sequence", "decoders": [)" + list + "]}";
}

const std::string kByteLevel = R"({"type": "ByteLevel"})";
const std::string kFallback = R"({"type": "ByteFallback"})";
const std::string kFuse = R"({"type": "Fuse"})";
const std::string kSpaces = R"({"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "})";
const std::string kStripFirst = R"({"type": "Strip", "content": " ", "start": 1, "stop": 0})";

TEST(TokenDecoder, MetaspaceMakesSpacesAndNoneOfTheFirstToken) {
    const std::string always = R"({"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"})";
    const std::string never = R"({"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never"})";
    EXPECT_EQ(pieces(always, {"\u2581a\u2581", "\u2581b", "c"}), (Texts{"a", " b", "c", ""}));
    EXPECT_EQ(pieces(never, {"\u2581a", "\u2581b"}), (Texts{" a", " b", ""}));
    EXPECT_EQ(joined(pieces(sequence({kFallback, kFuse, always}), {"\u2581a", "<0xC3>", "<0xA9>", "\u2581b"})),
              "a\u00e9b")
        << "after Fuse all is one token";
}

TEST(TokenDecoder, JoinsWithSpacesWhereThereIsNone) {
    EXPECT_EQ(joined(pieces("null", {"a", "b", "c"})), "a b c");
}

TEST(TokenDecoder, ByteLevelHoldsIncompleteCharacters) {
    // U+4E2D is E4 B8 AD: three characters of the byte alphabet.
    EXPECT_EQ(pieces(kByteLevel, {"\u0120a", "\u00e4", "\u00b8", "\u0143b"}), (Texts{" a", "", "", "\u4e2db", ""}));
    EXPECT_EQ(pieces(kByteLevel, {"\u00e4\u00b8", "x"}), (Texts{"", "\uFFFDx", ""}));
    EXPECT_EQ(pieces(kByteLevel, {"a\u00e4\u00b8"}), (Texts{"a", "\uFFFD"}));
    EXPECT_EQ(pieces(kByteLevel, {"<\u4e2d>"}), (Texts{"<\u4e2d>", ""}));
}

TEST(TokenDecoder, ByteFallbackTakesRunsWhole) {
    EXPECT_EQ(pieces(kFallback, {"<0xE5>", "<0x8f>", "<0xAB>", "a"}), (Texts{"", "", "", "\u53eba", ""}));
    EXPECT_EQ(pieces(kFallback, {"<0x61>", "<0xE5>", "a"}), (Texts{"", "", "\uFFFD\uFFFDa", ""}));
    EXPECT_EQ(pieces(kFallback, {"<0x61>", "<0xE5>"}), (Texts{"", "", "\uFFFD\uFFFD"}));
    EXPECT_EQ(pieces(kFallback, {"<0xZZ>", "<0x6>"}), (Texts{"<0xZZ>", "<0x6>", ""}));
}

TEST(TokenDecoder, SentencePieceSequenceStreams) {
    const std::string steps = sequence({kSpaces, kFallback, kFuse, kStripFirst});
    EXPECT_EQ(pieces(steps, {"\u2581Hi", "\u2581\u2581x", "<0x0A>", "\u2581"}), (Texts{"Hi", "  x", "", "\n ", ""}));
    EXPECT_EQ(pieces(steps, {"\u2581", "\u2581a"}), (Texts{"", " a", ""}));
}

TEST(TokenDecoder, StepsAfterFuseSeeTheWholeText) {
    const std::string pattern = R"({"type": "Replace", "pattern": {"Regex": "a b"}, "content": "-"})";
    EXPECT_EQ(pieces(sequence({kFuse, pattern}), {"xa", " ", "b"}), (Texts{"", "", "", "x-"}));
    EXPECT_EQ(pieces(sequence({kByteLevel, pattern}), {"xa", "\u0120", "b"}), (Texts{"", "", "", "x-"}));
    const std::string both_ends = R"({"type": "Strip", "content": "_", "start": 2, "stop": 1})";
    EXPECT_EQ(joined(pieces(sequence({kFuse, both_ends}), {"_", "__a", "_", "_"})), "_a_");
    EXPECT_EQ(joined(pieces(both_ends, {"___a", "b_", "_"})), "_ab");
}

TEST(TokenDecoder, BytesOfOneToken) {
    const auto bytes = [](const std::string& description, const std::string& token) {
        const json parsed = json::parse(description);
        return TokenDecoder::parse(TokenizerField(parsed, "decoder")).bytes_of(token);
    };
    EXPECT_EQ(bytes(kByteLevel, "\u0120\u00e4"), " \xE4");
    EXPECT_EQ(bytes(sequence({kSpaces, kFallback, kFuse, kStripFirst}), "<0xE4>"), "\xE4");
    EXPECT_EQ(bytes(sequence({kSpaces, kFallback, kFuse, kStripFirst}), "\u2581a"), " a");
}

TEST(StreamDecoder, PiecesAreValidAndAddUpToDecode) {
    const json document =
        with_added(byte_level_document(kHelloMerges), R"([{"id": 265, "content": "<s>", "special": true},
                                                                            {"id": 266, "content": "\u4e2d!"}])");
    std::mt19937 random(11);
    for (const std::string& decoder :
         {kByteLevel, sequence({kSpaces, kFallback, kFuse, kStripFirst}), std::string("null")}) {
        const Tokenizer tokenizer = tokenizer_of(with(document, "/decoder", decoder));
        for (int round = 0; round < 600; ++round) {
            const bool skip = round % 2 == 1;
            Ids ids;
            for (size_t n = random() % 20; n > 0; --n) {
                // Mostly the bytes of which characters of several bytes are made.
                ids.push_back(static_cast<TokenId>(random() % 4 ? 0x80 + random() % 0x80 : random() % 267));
            }
            StreamDecoder stream(tokenizer, skip);
            std::string streamed;
            std::string bytes;
            for (const TokenId id : ids) {
                const std::string piece = stream.push(id);
                ASSERT_TRUE(utf8::is_valid(piece));
                streamed += piece;
                if (!skip || !tokenizer.is_special(id)) bytes += tokenizer.token_bytes(id);
            }
            streamed += stream.finish();
            ASSERT_EQ(streamed, tokenizer.decode(ids, skip));
            if (decoder == kByteLevel) {
                ASSERT_EQ(streamed, utf8::sanitize(bytes));
            }
        }
    }
}

TEST(StreamDecoder, SkipsSpecialTokensInsideACharacter) {
    const Tokenizer tokenizer =
        tokenizer_of(with_added(byte_level_document({}), R"([{"id": 300, "content": "<s>", "special": true}])"));
    StreamDecoder stream(tokenizer);
    EXPECT_EQ(stream.push(0xC3), "");
    EXPECT_EQ(stream.push(300), "");
    EXPECT_EQ(stream.push(0xA9), "\u00e9");
    EXPECT_EQ(stream.push(0xC3), "");
    EXPECT_EQ(stream.finish(), "\uFFFD");
}

}  // namespace
}  // namespace sluice::test
