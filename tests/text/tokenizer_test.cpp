#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "base/error.h"
#include "tests/support/source_file.h"
#include "tests/text/tokenizer_fixture.h"
#include "unicode/utf8.h"

namespace sluice::test {
namespace {

using nlohmann::json;

TEST(Tokenizer, MergesTheStrongestPairFirst) {
    const Tokenizer tokenizer = tokenizer_of(byte_level_document(kHelloMerges));
    EXPECT_EQ(tokenizer.encode("hello world"), (Ids{259, 264}));
    EXPECT_EQ(tokenizer.encode("hell"), (Ids{258}));
    EXPECT_EQ(tokenizer.encode("elld"), (Ids{'e', 256, 'd'}));  // "ll" is stronger than "ld"
    EXPECT_EQ(tokenizer.encode(""), Ids{});
    EXPECT_EQ(tokenizer.vocabulary_size(), 265u);
}

// Joins the strongest pair, leftmost first, by looking at every pair every time.
std::vector<std::string> merge_slowly(std::vector<std::string> word, const MergeList& merges) {
    for (;;) {
        size_t best = merges.size();
        size_t best_at = 0;
        for (size_t i = 0; i + 1 < word.size(); ++i) {
            for (size_t rank = 0; rank < best; ++rank) {
                if (merges[rank] == std::pair(word[i], word[i + 1])) {
                    best = rank;
                    best_at = i;
                }
            }
        }
        if (best == merges.size()) return word;
        word[best_at] += word[best_at + 1];
        word.erase(word.begin() + static_cast<ptrdiff_t>(best_at) + 1);
    }
}

TEST(Tokenizer, AgreesWithMergingOneStepAtATime) {
    std::mt19937 random(7);
    for (int round = 0; round < 40; ++round) {
        std::vector<std::string> tokens = {"a", "b", "c"};
        MergeList merges;
        for (int i = 0; i < 25; ++i) {
            const std::pair pair = {tokens[random() % tokens.size()], tokens[random() % tokens.size()]};
            const std::string joined = pair.first + pair.second;
            if (std::find(tokens.begin(), tokens.end(), joined) != tokens.end()) continue;
            tokens.push_back(joined);
            merges.push_back(pair);
        }
        const Tokenizer tokenizer = tokenizer_of(byte_level_document(merges));
        for (int i = 0; i < 50; ++i) {
            std::vector<std::string> word;
            std::string text;
            for (size_t n = random() % 30 + 1; n > 0; --n) text += word.emplace_back(1, "abc"[random() % 3]);
            Ids expected;
            for (const std::string& token : merge_slowly(word, merges)) expected.push_back(*tokenizer.find(token));
            ASSERT_EQ(tokenizer.encode(text), expected) << text;
        }
    }
}

TEST(Tokenizer, ReadsMergesInBothSpellings) {
    json document = byte_level_document(kHelloMerges);
    const Ids pairs = tokenizer_of(document).encode("hello world, held");
    json& merges = document["model"]["merges"];
    merges.clear();
    merges.push_back("#version: 0.2");
    for (const auto& [left, right] : kHelloMerges) merges.push_back(left + " " + right);
    EXPECT_EQ(tokenizer_of(document).encode("hello world, held"), pairs);
}

TEST(Tokenizer, LongWordsTakeNearlyLinearTime) {
    MergeList merges;
    for (std::string run = "a"; run.size() < 64; run += run) merges.push_back({run, run});
    const Tokenizer tokenizer = tokenizer_of(byte_level_document(merges));
    const auto begin = std::chrono::steady_clock::now();
    const Ids ids = tokenizer.encode(std::string(1 << 20, 'a'));
    const auto taken = std::chrono::steady_clock::now() - begin;
    EXPECT_EQ(ids.size(), (1u << 20) / 64);
    // A quadratic merge would take hours.
    EXPECT_LT(taken, std::chrono::seconds(30));
}

TEST(Tokenizer, AnyBytesRoundTrip) {
    const Tokenizer tokenizer = tokenizer_of(byte_level_document(kHelloMerges));
    using namespace std::string_literals;
    const std::string text = "caf\u00e9 \u4e2d\u6587 \U0001F642\r\n\t x\0y  hello"s;
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
    EXPECT_EQ(tokenizer.decode(tokenizer.encode("a\xFF\xE2\x82z")), "a\uFFFD\uFFFDz");
}

TEST(Tokenizer, RepeatedWordsEncodeAsTheFirstDid) {
    const Tokenizer tokenizer = tokenizer_of(byte_level_document(kHelloMerges));
    std::string text;
    Ids expected;
    for (int i = 0; i < 200; ++i) {
        text += " world hell";
        const Ids once = tokenizer.encode(" world hell");
        expected.insert(expected.end(), once.begin(), once.end());
    }
    EXPECT_EQ(tokenizer.encode(text), expected);
}

TEST(Tokenizer, FindsTokensAndTheirBytes) {
    const Tokenizer tokenizer =
        tokenizer_of(with_added(byte_level_document(kHelloMerges), R"([{"id": 300, "content": "<s>", "special": true},
            {"id": 301, "content": "<\u00e9 b>"}])"));
    EXPECT_EQ(tokenizer.find("<s>"), 300);
    EXPECT_EQ(tokenizer.find("hello"), 259);
    EXPECT_EQ(tokenizer.find("hellos"), std::nullopt);
    EXPECT_TRUE(tokenizer.is_special(300));
    EXPECT_FALSE(tokenizer.is_special(301));
    EXPECT_FALSE(tokenizer.is_special(5));
    EXPECT_FALSE(tokenizer.is_special(-1));
    EXPECT_EQ(tokenizer.token_bytes(264), " world");
    EXPECT_EQ(tokenizer.token_bytes(0xE2), "\xE2");
    EXPECT_EQ(tokenizer.token_bytes(301), "<\u00e9 b>");  // the space is outside the byte alphabet
    EXPECT_EQ(tokenizer.vocabulary_size(), 302u);
}

TEST(Tokenizer, RefusesIdsOutsideTheVocabulary) {
    const Tokenizer tokenizer = tokenizer_of(byte_level_document(kHelloMerges));
    for (const TokenId id : {-1, 265, 1 << 30}) {
        try {
            tokenizer.decode({'a', id});
            FAIL() << id;
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::kUsage);
            EXPECT_THAT(error.what(), ::testing::HasSubstr(std::to_string(id)));
            EXPECT_THAT(error.what(), ::testing::HasSubstr("265"));
        }
        EXPECT_THROW(tokenizer.token_bytes(id), Error);
    }
}

TEST(Tokenizer, IdsThatNoTokenHasDecodeToNothing) {
    const json document = with_added(byte_level_document({}), R"([{"id": 300, "content": "<s>"}])");
    EXPECT_EQ(tokenizer_of(document).decode({'a', 270, 'b', 300}), "ab<s>");
}

TEST(Tokenizer, EncodesFromManyThreads) {
    const Tokenizer tokenizer = tokenizer_of(byte_level_document(kHelloMerges));
    const std::string text = "hello world, it's 42 \u4e2d\u6587\n\n  held";
    const Ids expected = tokenizer.encode(text);
    std::vector<std::thread> threads;
    std::vector<int> wrong(4, 0);
    for (int& count : wrong) {
        threads.emplace_back([&] {
            for (int i = 0; i < 50; ++i) {
                const Ids ids = tokenizer.encode(text);
                count += ids != expected || tokenizer.decode(ids) != text;
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_THAT(wrong, ::testing::Each(0));
}

TEST(Tokenizer, OpensAFolderOrAFile) {
    const auto folder = std::filesystem::path(::testing::TempDir()) / "sluice_tokenizer_test";
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "tokenizer.json") << byte_level_document(kHelloMerges).dump();
    EXPECT_EQ(Tokenizer::open(folder).encode("hello"), (Ids{259}));
    EXPECT_EQ(Tokenizer::open(folder / "tokenizer.json").encode("hello"), (Ids{259}));
    std::filesystem::remove_all(folder);
    try {
        Tokenizer::open(folder);
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kNotFound);
        EXPECT_THAT(error.what(), ::testing::HasSubstr(folder.string()));
    }
}

// Published tokenizers and what the reference library makes of many strings; only where that data is at hand.
std::filesystem::path shared() {
    return std::filesystem::path(sluice::testing::source_file("")) / ".." / "shared";
}

json read_json(const std::filesystem::path& path) {
    std::ifstream file(path);
    return json::parse(file);
}

TEST(PublishedTokenizers, AgreeWithTheReferenceLibrary) {
    const auto folder = shared() / "text" / "tokenizers";
    if (!std::filesystem::is_directory(folder)) GTEST_SKIP() << folder << " is not here";
    size_t cases = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        SCOPED_TRACE(entry.path().string());
        const Tokenizer tokenizer = Tokenizer::open(entry.path());
        for (const json& item : read_json(entry.path() / "cases.json")) {
            const auto text = item["text"].get<std::string>();
            const auto ids = item["ids"].get<Ids>();
            EXPECT_EQ(tokenizer.encode(text), ids) << text;
            EXPECT_EQ(tokenizer.decode(ids), item["decoded"].get<std::string>());
            EXPECT_EQ(tokenizer.decode(ids, true), item["decoded_skip_special"].get<std::string>());
            StreamDecoder stream(tokenizer, false);
            std::string streamed;
            for (const TokenId id : ids) {
                const std::string piece = stream.push(id);
                EXPECT_TRUE(utf8::is_valid(piece));
                streamed += piece;
            }
            EXPECT_EQ(streamed + stream.finish(), item["decoded"].get<std::string>());
            ++cases;
        }
    }
    EXPECT_GT(cases, 0u);
}

TEST(PublishedTokenizers, EncodeThePromptsOfTheTrainedModels) {
    const auto folder = shared() / "models";
    if (!std::filesystem::is_directory(folder)) GTEST_SKIP() << folder << " is not here";
    size_t prompts = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        if (!std::filesystem::exists(entry.path() / "reference.json")) continue;
        SCOPED_TRACE(entry.path().string());
        const Tokenizer tokenizer = Tokenizer::open(entry.path());
        const json reference = read_json(entry.path() / "reference.json");
        for (const json& prompt : reference["prompts"]) {
            EXPECT_EQ(tokenizer.encode(prompt["prompt"].get<std::string>()), prompt["ids"].get<Ids>());
            ++prompts;
        }
    }
    EXPECT_GT(prompts, 0u);
}

}  // namespace
}  // namespace sluice::test
