// How a memory ceiling is divided: the same rules for opening, foreseeing and planning from a config.json alone.

#include "engine/memory_ledger.h"

#include <gtest/gtest.h>

#include <fstream>

#include "synth/synth.h"
#include "tests/support/source_file.h"
#include "tests/support/temporary_folder.h"

namespace sluice::testing {
namespace {

constexpr uint64_t kMegabyte = 1 << 20;
constexpr uint64_t kNone = 1ull << 62;

// 500 MB of trunk, 100 KB of KV a token, 4,000 MB of experts of which a token needs 20; 100 KB of scratch a row.
MemorySizes sizes() {
    return {.trunk = 500 * kMegabyte,
            .kv_per_token = 100 << 10,
            .experts_floor = 20 * kMegabyte,
            .experts_all = 4000 * kMegabyte,
            .process = 40 * kMegabyte,
            .largest_context = 32768,
            .scratch = [](int64_t chunk, int64_t) { return static_cast<uint64_t>(chunk) * (100 << 10); }};
}

EngineOptions asked(int64_t context, int64_t chunk) {
    EngineOptions options;
    options.context = context;
    options.chunk = chunk;
    options.ram_bytes = 1;  // somebody asked
    options.prefix_memory_bytes = 0;
    return options;
}

uint64_t fixed_bytes(int64_t context, int64_t chunk) {
    return 540 * kMegabyte + static_cast<uint64_t>(context + chunk) * (100 << 10);
}

TEST(MemoryLedger, TheCacheGetsWhatIsLeft) {
    const EngineOptions options = asked(1024, 64);
    const uint64_t fixed = fixed_bytes(1024, 64);
    EXPECT_EQ(MemoryLedger(options, sizes(), fixed + 1000 * kMegabyte).divide().cache_bytes, 1000 * kMegabyte);
    EXPECT_EQ(MemoryLedger(options, sizes(), fixed + 20 * kMegabyte).divide().cache_bytes, 20 * kMegabyte);
    EXPECT_EQ(MemoryLedger(options, sizes(), kNone).divide().cache_bytes, 4000 * kMegabyte);
}

// Of what a card does not hold.
TEST(MemoryLedger, TheHostsMemoryGetsWhatTheProcessLeaves) {
    const EngineOptions options = asked(1024, 64);
    MemorySizes on_card = sizes();
    on_card.on_card = true;
    on_card.beside_card = 300 * kMegabyte;
    const uint64_t fixed = fixed_bytes(kContextsOnCard * 1024, 64);
    const auto plan = [&](uint64_t card, uint64_t host) {
        return MemoryLedger(options, on_card, fixed + card * kMegabyte, host * kMegabyte).divide();
    };
    EXPECT_EQ(plan(1000, 2300).cache_bytes, 1000 * kMegabyte);
    EXPECT_EQ(plan(1000, 2300).host_bytes, 2000 * kMegabyte);
    EXPECT_EQ(plan(1000, 200).host_bytes, 0u);
    EXPECT_EQ(plan(1000, 90000).host_bytes, 4000 * kMegabyte) << "all experts and no more";
    EXPECT_EQ(plan(5000, 90000).host_bytes, 0u) << "the card has them all";
    EXPECT_EQ(MemoryLedger(options, on_card, fixed + 1000 * kMegabyte, 2300 * kMegabyte).foresee().host_bytes,
              plan(1000, 2300).host_bytes);
}

// Sequences of a batch each have one, and what was evaluated before keeps some.
TEST(MemoryLedger, ACardHasTwoStatesForEverySessionAndMoreWhereExpertsLeaveRoom) {
    EngineOptions options = asked(1024, 64);
    MemorySizes on_card = sizes();
    on_card.on_card = true;
    on_card.recurrent = kMegabyte;
    const auto plan = [&](uint64_t beside_states) {
        const uint64_t fixed = fixed_bytes(kContextsOnCard * 1024, 64);
        return MemoryLedger(options, on_card, fixed + beside_states * kMegabyte).divide();
    };
    EXPECT_EQ(plan(32 + 20).card_states, kStatesOnCard);
    EXPECT_EQ(plan(32 + 4000).card_states, kStatesOnCard);
    EXPECT_EQ(plan(32 + 4000 + 30).card_states, kStatesOnCard + 30);
    EXPECT_EQ(plan(32 + 90000).card_states, kMostStatesOnCard);
    options.sessions = 256;
    EXPECT_EQ(MemoryLedger(options, on_card, kNone).divide().card_states, 512);
    options.session_tokens = 100000;
    EXPECT_EQ(MemoryLedger(options, on_card, kNone).divide().card_tokens, 100000);
}

TEST(MemoryLedger, BelowTheFloorTheNumberThatWouldDoIsNamedAndDoes) {
    const EngineOptions options = asked(1024, 64);
    const uint64_t floor = fixed_bytes(1024, 64) + 20 * kMegabyte;
    try {
        MemoryLedger(options, sizes(), floor - 1).divide();
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
        const std::string message = error.what();
        const std::string name = "`ram_bytes` ";
        const uint64_t would_do = std::stoull(message.substr(message.rfind(name) + name.size())) << 20;
        EXPECT_LT(would_do - floor, kMegabyte) << message;
        EXPECT_NO_THROW(MemoryLedger(options, sizes(), would_do).divide());
    }
}

TEST(MemoryLedger, WhatNobodyAskedForShrinksTheChunkFirst) {
    const EngineOptions options = asked(0, 0);
    const uint64_t least = MemoryLedger(options, sizes(), kNone).foresee().least_bytes;
    EXPECT_LT(least, fixed_bytes(1024, 32) + 22 * kMegabyte);
    const MemoryPlan tight = MemoryLedger(options, sizes(), least).divide();
    EXPECT_EQ(tight.context, 1024);
    EXPECT_EQ(tight.chunk, 32);
    const MemoryPlan wide = MemoryLedger(options, sizes(), kNone).divide();
    EXPECT_EQ(wide.context, 8192);
    EXPECT_EQ(wide.chunk, 2048);
    const MemoryPlan between = MemoryLedger(options, sizes(), fixed_bytes(8192, 64) + 20 * kMegabyte).divide();
    EXPECT_EQ(between.context, 8192);
    EXPECT_LE(between.chunk, 64);
}

// A pass over a part of a prompt reads what is not cached once: few large passes beat a slightly larger cache.
TEST(MemoryLedger, TheChunkStaysLargeWhileItSavesReads) {
    const EngineOptions options = asked(8192, 0);
    for (const uint64_t beyond : {300, 600, 1200, 2400}) {
        const MemoryPlan plan = MemoryLedger(options, sizes(), fixed_bytes(8192, 32) + beyond * kMegabyte).divide();
        EXPECT_GE(plan.chunk, 512) << beyond;
        EXPECT_GE(plan.cache_bytes, 20 * kMegabyte);
    }
}

TEST(MemoryLedger, ForeseesWhatItWouldDo) {
    for (const int64_t context : {0, 2048})
        for (const uint64_t ceiling : {700, 800, 1000, 1500, 3000, 6000}) {
            const EngineOptions options = asked(context, 0);
            const MemoryLedger ledger(options, sizes(), ceiling * kMegabyte);
            const MemoryOutlook outlook = ledger.foresee();
            if (!outlook.runs) {
                EXPECT_LT(ceiling * kMegabyte, outlook.least_bytes);
                EXPECT_EQ(outlook.cache_bytes, 0u);
                continue;
            }
            const MemoryPlan plan = ledger.divide();
            EXPECT_EQ(outlook.cache_bytes, plan.cache_bytes) << ceiling;
            EXPECT_EQ(outlook.context, plan.context) << ceiling;
            EXPECT_EQ(outlook.chunk, plan.chunk) << ceiling;
        }
}

TEST(MemoryLedger, EvaluatedPromptsGetAThirtySecondOrWhatExpertsCannotUse) {
    EngineOptions options = asked(1024, 64);
    options.prefix_memory_bytes.reset();
    const uint64_t floor = fixed_bytes(1024, 64) + 20 * kMegabyte, all = floor + 3980 * kMegabyte;
    const auto plan = [&](uint64_t ceiling) { return MemoryLedger(options, sizes(), ceiling).divide(); };
    EXPECT_EQ(plan(floor + 320 * kMegabyte).prefix_bytes, 10 * kMegabyte);
    EXPECT_EQ(plan(floor + 320 * kMegabyte).cache_bytes, 330 * kMegabyte);
    EXPECT_EQ(plan(all + 200 * kMegabyte).prefix_bytes, 200 * kMegabyte);
    EXPECT_EQ(plan(kNone).prefix_bytes, 400 * kMegabyte) << "four contexts at most";
}

TEST(MemoryLedger, OneSessionThatHoldsLittleLeavesTheRestToExperts) {
    EngineOptions options = asked(0, 64);
    options.session_tokens = 2000;
    const MemoryPlan plan = MemoryLedger(options, sizes(), fixed_bytes(8192, 64) + 20 * kMegabyte).divide();
    EXPECT_EQ(plan.context, 2000);
    EXPECT_EQ(plan.session_tokens, 2000);
    EXPECT_EQ(plan.cache_bytes, fixed_bytes(8192, 64) + 20 * kMegabyte - fixed_bytes(2048, 64));
    options.session_tokens = 20000;  // more than the context: of several, one after the other
    EXPECT_EQ(MemoryLedger(options, sizes(), kNone).divide().session_tokens, 20000);
    options.session_tokens = 2000;
    options.context = 4096;  // somebody asked
    EXPECT_EQ(MemoryLedger(options, sizes(), kNone).divide().context, 4096);
    options.context = 0;
    EXPECT_EQ(MemoryLedger(options, sizes(), fixed_bytes(1024, 64) + 20 * kMegabyte).divide().context, 1024);
}

TEST(MemoryLedger, HugeNumbersAreTooMuchAndNotSmall) {
    MemorySizes huge = sizes();
    huge.largest_context = 1ll << 40;
    huge.kv_per_token = 1ull << 40;
    for (const int64_t chunk : {64, 1 << 20}) {
        const EngineOptions options = asked(1 << 30, chunk);
        EXPECT_THROW(MemoryLedger(options, huge, 64ull << 30).divide(), Error);
        EXPECT_FALSE(MemoryLedger(options, huge, 64ull << 30).foresee().runs);
    }
}

TEST(MemoryLedger, AFolderOfPromptsTakesAStateMore) {
    EngineOptions options = asked(1024, 64);
    const uint64_t without = MemoryLedger(options, sizes(), kNone).foresee().least_bytes;
    options.prefix_cache = "somewhere";
    const uint64_t with = MemoryLedger(options, sizes(), kNone).foresee().least_bytes;
    EXPECT_NEAR(static_cast<double>(with - without), 1024.0 * (100 << 10), kMegabyte);
}

TEST(MemoryCeiling, StaysUnderTheCgroupsLimit) {
    EngineOptions options;
    options.ram_bytes = 4ull << 30;
    EXPECT_EQ(memory_ceiling(options, std::nullopt), options.ram_bytes);
    EXPECT_EQ(memory_ceiling(options, 8ull << 30), options.ram_bytes);
    const uint64_t limited = memory_ceiling(options, 900 * kMegabyte);
    EXPECT_LT(limited, 850 * kMegabyte);
    EXPECT_GT(limited, 600 * kMegabyte);
}

// Before the weights are there, only scratch and the tokenizer are estimates.
TEST(MemoryLedger, AgreesBeforeAndAfterTheDownload) {
    for (const char* const golden : {"qwen3-moe-mlx4", "qwen3-next-bf16", "gpt-oss-mxfp4"}) {
        const std::filesystem::path model = source_file(std::string("/tests/data/goldens/") + golden);
        EngineOptions options;
        options.prefix_memory_bytes = 0;
        options.threads = 2;
        options.ram_bytes = 2ull << 30;
        const MemoryOutlook before = Engine::foresee_memory(model / "config.json", options);
        const MemoryOutlook after = Engine::foresee_memory(model, options);
        EXPECT_TRUE(before.runs && after.runs) << golden;
        EXPECT_EQ(before.context, after.context) << golden;
        EXPECT_EQ(before.chunk, after.chunk) << golden;
        EXPECT_NEAR(static_cast<double>(before.cache_bytes), static_cast<double>(after.cache_bytes), kMegabyte)
            << golden;
        EXPECT_NEAR(static_cast<double>(before.least_bytes), static_cast<double>(after.least_bytes), 4 * kMegabyte)
            << golden;
    }
}

}  // namespace
}  // namespace sluice::testing
