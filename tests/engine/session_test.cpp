// Sessions of every architecture: batches, going back, going on from a file.

#include <gtest/gtest.h>

#include <fstream>

#include "sluice/engine.h"
#include "tests/support/golden_case.h"
#include "tests/support/temporary_folder.h"

namespace sluice::testing {
namespace {

std::vector<TokenId> some_tokens(const Engine& engine, size_t count, uint32_t seed) {
    std::vector<TokenId> ids;
    for (size_t i = 0; i < count; ++i) {
        seed = seed * 1664525u + 1013904223u;
        ids.push_back(static_cast<TokenId>((seed >> 8) % static_cast<uint32_t>(engine.info().vocabulary)));
    }
    return ids;
}

// `count` greedy tokens after the last logits, and the logits of every step.
std::vector<float> go_on(Engine& engine, Session& session, TokenId first, int count) {
    std::vector<float> all;
    TokenId id = first;
    for (int i = 0; i < count; ++i) {
        const std::vector<float> logits = engine.evaluate(session, std::span(&id, 1)).logits;
        all.insert(all.end(), logits.begin(), logits.end());
        id = static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    }
    return all;
}

class Sessions : public ::testing::TestWithParam<GoldenCase> {
  protected:
    std::unique_ptr<Engine> open(EngineOptions options = {}) {
        if (options.chunk == 0) options.chunk = 16;
        options.ram_bytes = 2ull << 30;
        return Engine::open(GetParam().folder, options);
    }
};

TEST_P(Sessions, CompanyChangesNoBit) {
    const auto engine = open();
    const std::vector<TokenId> a = some_tokens(*engine, 40, 1), b = some_tokens(*engine, 9, 2),
                               c = some_tokens(*engine, 1, 3);
    std::vector<std::vector<float>> alone;
    for (const auto& ids : {a, b, c}) {
        const auto session = engine->new_session();
        std::vector<float> logits = engine->evaluate(*session, ids, LogitsWanted::kAll).logits;
        const std::vector<float> more = go_on(*engine, *session, 5, 4);
        logits.insert(logits.end(), more.begin(), more.end());
        alone.push_back(std::move(logits));
    }
    // a starts alone; b joins while a is in prefill, c while both decode; b leaves before the others end.
    const auto sa = engine->new_session(), sb = engine->new_session(), sc = engine->new_session();
    std::vector<std::vector<float>> together(3);
    const auto step = [&](std::vector<SequenceInput> inputs, std::vector<size_t> targets) {
        const auto outputs = engine->evaluate(inputs);
        std::vector<TokenId> next;
        for (size_t i = 0; i < outputs.size(); ++i) {
            ASSERT_FALSE(outputs[i].error);
            auto& target = together[targets[i]];
            target.insert(target.end(), outputs[i].logits.begin(), outputs[i].logits.end());
        }
    };
    const auto greedy = [&](size_t i) {
        const auto vocabulary = static_cast<ptrdiff_t>(engine->info().vocabulary);
        const auto last = together[i].end() - vocabulary;
        return static_cast<TokenId>(std::max_element(last, together[i].end()) - last);
    };
    const auto input = [](Session& session, std::span<const TokenId> ids) {
        return SequenceInput{.session = &session, .tokens = ids, .logits = LogitsWanted::kAll};
    };
    const std::span<const TokenId> all_a(a);
    step({input(*sa, all_a.first(13))}, {0});
    step({input(*sb, b), input(*sa, all_a.subspan(13))}, {1, 0});
    TokenId next_a = 5, next_b = 5, next_c = 5;
    step({input(*sa, {&next_a, 1}), input(*sc, c), input(*sb, {&next_b, 1})}, {0, 2, 1});
    for (int i = 0; i < 3; ++i) {
        next_a = greedy(0);
        next_b = greedy(1);
        next_c = i == 0 ? 5 : greedy(2);
        step({input(*sc, {&next_c, 1}), input(*sb, {&next_b, 1}), input(*sa, {&next_a, 1})}, {2, 1, 0});
    }
    next_c = greedy(2);
    step({input(*sc, {&next_c, 1})}, {2});
    EXPECT_EQ(together[0], alone[0]);
    EXPECT_EQ(together[1], alone[1]);
    EXPECT_EQ(together[2], alone[2]);
}

TEST_P(Sessions, CheckpointWanderRestore) {
    const auto engine = open();
    const auto session = engine->new_session();
    for (const size_t length : {size_t{1}, size_t{16}, size_t{37}, size_t{256}}) {
        session->truncate(0);
        engine->evaluate(*session, some_tokens(*engine, length, 4));
        const int64_t checkpoint = session->checkpoint();
        const std::vector<float> expected = go_on(*engine, *session, 3, 64);
        engine->evaluate(*session, some_tokens(*engine, 21, 5));
        session->restore(checkpoint);
        EXPECT_EQ(session->position(), static_cast<int64_t>(length));
        EXPECT_EQ(go_on(*engine, *session, 3, 64), expected) << "length " << length;
        session->drop_checkpoint(checkpoint);
        EXPECT_THROW(session->restore(checkpoint), Error);
    }
}

TEST_P(Sessions, TruncateIsAsIfNeverGoneOn) {
    const auto engine = open();
    const auto session = engine->new_session();
    engine->evaluate(*session, some_tokens(*engine, 20, 6));
    const std::vector<float> expected = go_on(*engine, *session, 3, 5);
    session->truncate(20);
    EXPECT_EQ(go_on(*engine, *session, 3, 5), expected);
    session->truncate(20);
    const int64_t checkpoint = session->checkpoint();
    engine->evaluate(*session, some_tokens(*engine, 30, 7));
    session->truncate(20);
    EXPECT_EQ(go_on(*engine, *session, 3, 5), expected);
    session->drop_checkpoint(checkpoint);
    EXPECT_THROW(session->truncate(26), Error);
    EXPECT_THROW(session->truncate(-1), Error);
}

// A checkpoint of another text is no way back to this one.
TEST_P(Sessions, TruncateDoesNotGoBackToAnotherText) {
    const auto engine = open();
    const auto session = engine->new_session(), fresh = engine->new_session();
    engine->evaluate(*session, some_tokens(*engine, 20, 6));
    session->checkpoint();
    session->truncate(0);
    const std::vector<TokenId> text = some_tokens(*engine, 30, 7);
    engine->evaluate(*session, text);
    session->truncate(25);
    engine->evaluate(*fresh, std::span(text).first(25));
    EXPECT_EQ(go_on(*engine, *session, 3, 5), go_on(*engine, *fresh, 3, 5));
}

TEST_P(Sessions, AnExactSessionTakesNoStateOfOtherArithmetic) {
    const TemporaryFolder folder;
    const auto path = folder / "session.safetensors";
    EngineOptions options;
    options.kv_format = KvFormat::kF32;
    const auto rough = open(options);
    const auto session = rough->new_session();
    rough->evaluate(*session, some_tokens(*rough, 12, 9));
    session->save(path);
    options.exact = true;
    const auto exact = open(options);
    const auto loaded = exact->new_session();
    EXPECT_THROW(loaded->load(path), Error);
    EXPECT_EQ(loaded->position(), 0);
    exact->evaluate(*loaded, some_tokens(*exact, 12, 9));
    loaded->save(path);
    EXPECT_NO_THROW(exact->new_session()->load(path));
    EXPECT_NO_THROW(rough->new_session()->load(path));
}

TEST_P(Sessions, SavedSessionsGoOnBitIdentically) {
    const TemporaryFolder folder;
    for (const size_t length : {size_t{1}, size_t{16}, size_t{45}, size_t{256}}) {
        const auto engine = open();
        const auto session = engine->new_session();
        engine->evaluate(*session, some_tokens(*engine, length, 8));
        session->save(folder / "session.safetensors");
        const std::vector<float> expected = go_on(*engine, *session, 3, 64);

        const auto later = open();
        const auto loaded = later->new_session();
        loaded->load(folder / "session.safetensors");
        EXPECT_EQ(loaded->position(), static_cast<int64_t>(length));
        EXPECT_EQ(go_on(*later, *loaded, 3, 64), expected) << "length " << length;
    }
}

TEST_P(Sessions, SnapshotsThatDoNotFitAreRefusedByName) {
    const TemporaryFolder folder;
    const auto path = folder / "session.safetensors";
    const auto engine = open();
    const auto session = engine->new_session();
    engine->evaluate(*session, some_tokens(*engine, 12, 9));
    session->save(path);
    const std::vector<TokenId> before = session->tokens();

    const auto refused = [&](Session& target, const std::string& what) {
        try {
            target.load(path);
            ADD_FAILURE() << "loaded, but should be refused: " << what;
        } catch (const Error& error) {
            EXPECT_NE(std::string(error.what()).find(what), std::string::npos) << error.what();
        }
    };
    EngineOptions other_format;
    other_format.kv_format = KvFormat::kF32;
    const auto f32 = open(other_format);
    refused(*f32->new_session(), "KV format");

    std::string bytes;
    {
        std::ifstream in(path, std::ios::binary);
        bytes.assign(std::istreambuf_iterator<char>(in), {});
    }
    const auto write = [&](const std::string& content) {
        std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
    };
    std::string damaged = bytes;
    damaged[damaged.size() - 3] = static_cast<char>(damaged[damaged.size() - 3] ^ 1);
    write(damaged);
    refused(*session, "checksum");
    write(bytes.substr(0, bytes.size() - 5));
    refused(*session, "session.safetensors");
    write("");
    refused(*session, "session.safetensors");
    EXPECT_EQ(session->tokens(), before);
}

TEST_P(Sessions, GreedyContinuationMatchesWhereTheMarginIsClear) {
    EngineOptions options;
    options.exact = true;
    const auto engine = open(options);
    const Reference reference = load_reference(GetParam());
    const auto session = engine->new_session();
    GenerationOptions generation;
    generation.sampling.temperature = 0;
    generation.ignore_eos = true;
    generation.max_tokens = static_cast<int64_t>(reference.greedy_ids.size());
    const GenerationResult result = engine->generate(*session, reference.ids, generation);
    for (size_t i = 0; i < reference.greedy_ids.size() && reference.greedy_margin[i] >= 0.01; ++i) {
        EXPECT_EQ(result.token_ids[i], reference.greedy_ids[i]) << "step " << i;
    }
}

INSTANTIATE_TEST_SUITE_P(All, Sessions, ::testing::ValuesIn(golden_cases()), golden_test_name);

}  // namespace
}  // namespace sluice::testing
