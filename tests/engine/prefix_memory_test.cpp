// Prompts that begin as an earlier one in the same process did: not evaluated again, to the bit, inside a limit, and in
// memory that is counted.

#include "engine/prefix_memory.h"

#include <gtest/gtest.h>

#include "base/memory.h"
#include "sluice/engine.h"
#include "tests/support/golden_case.h"
#include "tests/support/sanitizer.h"
#include "tests/support/source_file.h"

namespace sluice::testing {
namespace {

const std::string kGrouped = sluice::testing::source_file("/tests/data/goldens/qwen3-moe-mlx4");
const std::string kBundled = sluice::testing::source_file("/models/stories-hybrid");

// Of any golden's vocabulary.
std::vector<TokenId> some_tokens(size_t count, uint32_t seed) {
    std::vector<TokenId> ids;
    for (size_t i = 0; i < count; ++i) {
        seed = seed * 1664525u + 1013904223u;
        ids.push_back(static_cast<TokenId>((seed >> 8) % 140));  // in every vocabulary
    }
    return ids;
}

std::vector<TokenId> joined(std::vector<TokenId> a, const std::vector<TokenId>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

std::unique_ptr<Engine> open(const std::filesystem::path& model, std::optional<uint64_t> prefix_memory,
                             int64_t context = 600) {
    EngineOptions options;
    options.context = context;
    options.chunk = 512;
    options.ram_bytes = 2ull << 30;
    options.prefix_memory_bytes = prefix_memory;
    return Engine::open(model, options);
}

std::vector<float> evaluate(Engine& engine, Session& session, std::span<const TokenId> ids) {
    return engine.evaluate(session, ids, LogitsWanted::kAll).logits;
}

class PrefixMemoryOf : public ::testing::TestWithParam<GoldenCase> {};

TEST_P(PrefixMemoryOf, AHitEvaluatesNothingAgainAndChangesNoBit) {
    const auto without = open(GetParam().folder, 0), with = open(GetParam().folder, std::nullopt);
    ASSERT_GT(with->info().prefix_memory_bytes, 0u);
    for (const size_t length : {size_t{1}, size_t{100}, size_t{256}, size_t{300}}) {
        const std::vector<TokenId> start = some_tokens(length, static_cast<uint32_t>(length)), one = some_tokens(40, 2),
                                   two = some_tokens(40, 3);
        const auto expected_of = [&](const std::vector<TokenId>& rest) {
            const auto session = without->new_session();
            evaluate(*without, *session, start);
            return evaluate(*without, *session, rest);
        };
        const auto first = with->new_session();
        evaluate(*with, *first, start);
        with->remember(*first, "");
        // Whoever goes on writes to pages of its own: the next one finds what was remembered.
        for (const auto* rest : {&one, &two, &one}) {
            const auto session = with->new_session();
            const uint64_t before = with->statistics().tokens_evaluated;
            EXPECT_EQ(with->resume(*session, "", joined(start, *rest)).tokens, static_cast<int64_t>(length));
            EXPECT_EQ(evaluate(*with, *session, *rest), expected_of(*rest)) << "length " << length;
            EXPECT_EQ(with->statistics().tokens_evaluated - before, rest->size());
        }
        EXPECT_EQ(evaluate(*with, *first, two), expected_of(two)) << "length " << length;
    }
}

// Evaluates ids up to each of the stops, and then the rest; the last part's logits.
std::vector<float> in_parts(Engine& engine, Session& session, std::span<const TokenId> ids, std::vector<int64_t> stops,
                            const std::function<void()>& at_stop = {}) {
    std::vector<float> logits;
    const auto end = static_cast<int64_t>(ids.size());
    if (stops.empty() || stops.back() != end) stops.push_back(end);
    for (const int64_t stop : stops) {
        const auto from = static_cast<size_t>(session.position());
        logits = evaluate(engine, session, ids.subspan(from, static_cast<size_t>(stop) - from));
        if (at_stop) at_stop();
    }
    return logits;
}

TEST_P(PrefixMemoryOf, SessionsShareASystemPrompt) {
    const auto without = open(GetParam().folder, 0), with = open(GetParam().folder, 64 << 20);
    const std::vector<TokenId> system = some_tokens(200, 1);
    std::vector<int64_t> known;
    for (const uint32_t user : {10u, 11u, 12u, 13u, 11u}) {
        const std::vector<TokenId> prompt = joined(system, some_tokens(50, user));
        const auto session = with->new_session();
        PromptStart start = with->resume(*session, "", prompt);
        EXPECT_EQ(session->position(), start.tokens);
        known.push_back(start.tokens);
        const auto logits = in_parts(*with, *session, prompt, start.remember_at, [&] { with->remember(*session, ""); });
        const auto alone = without->new_session();
        // Cut as what it goes on from was: MLA takes its form by the length of a part.
        if (start.tokens > 0) start.remember_at.insert(start.remember_at.begin(), start.tokens);
        if (start.tokens > 200) start.remember_at.insert(start.remember_at.begin(), 200);
        EXPECT_EQ(logits, in_parts(*without, *alone, prompt, start.remember_at)) << "user " << user;
    }
    // Recurrent layers have a state at the end of the system prompt once a second conversation parted there. The very
    // same prompt is known but for the token that must give its logits.
    const int64_t second = known[1];
    EXPECT_TRUE(second == 0 || second == 200) << second;
    EXPECT_EQ(known, (std::vector<int64_t>{0, second, 200, 200, 249}));
}

INSTANTIATE_TEST_SUITE_P(All, PrefixMemoryOf, ::testing::ValuesIn(golden_cases()), golden_test_name);

TEST(PrefixMemory, TheLeastRecentlyUsedGoFirstAndTheLimitHolds) {
    // 512 tokens are two pages of 3 layers with 2 kv heads of 32 in BF16: 384 KB.
    constexpr uint64_t kEntry = 2 * 256 * 3 * 2 * 2 * 32 * 2;
    const auto engine = open(kGrouped, 3 * kEntry + 1000);
    const auto find = [&](uint32_t seed) {
        const auto session = engine->new_session();
        return engine->resume(*session, "", joined(some_tokens(512, seed), {1})).tokens;
    };
    const auto put = [&](uint32_t seed, size_t count) {
        const auto session = engine->new_session();
        engine->evaluate(*session, some_tokens(count, seed));
        engine->remember(*session, "");
        EXPECT_LE(engine->statistics().prefix_memory_bytes, engine->info().prefix_memory_bytes);
    };
    for (const uint32_t seed : {1u, 2u, 3u}) put(seed, 512);
    EXPECT_EQ(engine->statistics().prefix_memory_bytes, 3 * kEntry);
    EXPECT_EQ(find(1), 512);  // used: now 2 is the oldest
    put(4, 512);
    EXPECT_EQ(engine->statistics().prefix_memory_bytes, 3 * kEntry);
    EXPECT_LT(find(2), 16);
    EXPECT_EQ(find(1), 512);
    EXPECT_EQ(find(3), 512);
    EXPECT_EQ(find(4), 512);
    // What goes on from an entry takes its place, for it gives all that the entry did; its third page costs the oldest.
    put(4, 600);
    EXPECT_EQ(find(4), 512);
    EXPECT_EQ(find(3), 512);
    EXPECT_LT(find(1), 16);
    EXPECT_EQ(engine->statistics().prefix_memory_bytes, kEntry + kEntry / 2 * 3);
}

TEST(PrefixMemory, WhatDoesNotFitIsNotKept) {
    const auto engine = open(kGrouped, 1000);
    const auto session = engine->new_session();
    const std::vector<TokenId> ids = some_tokens(300, 1);
    engine->evaluate(*session, ids);
    engine->remember(*session, "");
    EXPECT_EQ(engine->statistics().prefix_memory_bytes, 0u);
    const auto other = engine->new_session();
    EXPECT_EQ(engine->resume(*other, "", ids).tokens, 0);
}

TEST(PrefixMemory, WhatIsCountedIsWhatTheProcessHolds) {
    EngineOptions options;
    options.context = 4096;
    options.kv_format = KvFormat::kF32;
    options.ram_bytes = 2ull << 30;
    options.prefix_memory_bytes = 512 << 20;
    const auto engine = Engine::open(kGrouped, options);
    { engine->evaluate(*engine->new_session(), some_tokens(4000, 99)); }  // scratch, experts
    const uint64_t before = resident_bytes();
    for (uint32_t seed = 1; seed <= 4; ++seed) {
        const auto session = engine->new_session();
        engine->evaluate(*session, some_tokens(4000, seed));
        engine->remember(*session, "");
    }
    const auto held = static_cast<double>(resident_bytes() - before);
    const auto counted = static_cast<double>(engine->statistics().prefix_memory_bytes);
    EXPECT_EQ(counted, 4 * 16 * 256 * 3 * 2 * 2 * 32 * 4);
    if (kAddressSanitizer) return;
    EXPECT_NEAR(held, counted, 0.05 * counted);
}

// The least --ram that opens the model, in megabytes.
uint64_t least_ram(EngineOptions options) {
    for (uint64_t megabytes = 1;; ++megabytes) {
        options.ram_bytes = megabytes << 20;
        try {
            Engine::open(kBundled, options);
            return megabytes;
        } catch (const Error& error) {
            if (error.code() != ErrorCode::kOutOfMemory) throw;
        }
    }
}

TEST(PrefixMemory, ItsShareIsPartOfTheCeiling) {
    if (kAddressSanitizer) GTEST_SKIP() << "resident memory is measured";
    EngineOptions options;
    options.context = 512;
    options.chunk = 64;
    options.prefix_memory_bytes = 0;
    // Above the floor, where every byte for prompts is one that experts do not get.
    options.ram_bytes = (least_ram(options) + 4) << 20;
    const uint64_t all = Engine::open(kBundled, options)->info().cache_bytes;
    options.prefix_memory_bytes = 2 << 20;
    const EngineInfo some = Engine::open(kBundled, options)->info();
    EXPECT_EQ(some.prefix_memory_bytes, 2u << 20);
    EXPECT_LE(some.cache_bytes, all - (1 << 20));  // in whole slots, of a process that grows a little
    options.prefix_memory_bytes.reset();
    const EngineInfo chosen = Engine::open(kBundled, options)->info();
    EXPECT_GT(chosen.prefix_memory_bytes, 0u);
    EXPECT_LE(chosen.prefix_memory_bytes, 5u << 15);  // a 32nd of five megabytes
    options.prefix_memory_bytes = 64 << 20;
    try {
        Engine::open(kBundled, options);
        ADD_FAILURE() << "more than there is was granted";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
        EXPECT_NE(std::string(error.what()).find("`prefix_memory_bytes`"), std::string::npos) << error.what();
    }
}

TEST(PrefixMemory, TenCheckpointsShareTheirPages) {
    EngineOptions options;
    options.context = 4096;
    options.kv_format = KvFormat::kF32;
    options.ram_bytes = 2ull << 30;
    const auto engine = Engine::open(kGrouped, options);
    const auto session = engine->new_session();
    engine->evaluate(*session, some_tokens(4000, 1));
    const uint64_t one = session->state_bytes(), resident = resident_bytes();
    const uint64_t page = 256 * engine->info().kv_bytes_per_token;
    const TokenId id = 7;
    for (int i = 0; i < 10; ++i) {
        session->checkpoint();
        engine->evaluate(*session, std::span(&id, 1));
    }
    // Each step after a checkpoint copies the page it writes to, and nothing else.
    EXPECT_EQ(session->state_bytes(), one + 10 * page);
    EXPECT_LT(session->state_bytes(), 2 * one);
    if (kAddressSanitizer) return;
    EXPECT_NEAR(static_cast<double>(resident_bytes() - resident), static_cast<double>(10 * page),
                static_cast<double>(one) / 10);
}

}  // namespace
}  // namespace sluice::testing
