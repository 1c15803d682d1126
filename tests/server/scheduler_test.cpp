#include "server/scheduler.h"

#include <gtest/gtest.h>

#include "server/api_error.h"
#include "server/prefill_pace.h"
#include "tests/server/kept_tokens.h"
#include "tests/support/source_file.h"

namespace sluice::server {
namespace {

struct Asked {
    std::shared_ptr<Kept> kept = std::make_shared<Kept>();
    std::shared_ptr<Job> job = std::make_shared<Job>();
};

class SchedulerTest : public ::testing::Test {
  protected:
    void SetUp() override {
        EngineOptions options;
        options.threads = 1;
        options.context = 1024;
        options.ram_bytes = uint64_t{400} << 20;
        engine = Engine::open(sluice::testing::source_file("/models/stories-hybrid"), options);
        generator = std::make_unique<EngineGenerator>(*engine);
    }
    static SchedulerLimits limits(size_t slots, size_t queue, int64_t kv_tokens = 64 << 10) {
        return {.slots = slots, .queue = queue, .context = 1024, .kv_tokens = kv_tokens};
    }
    Asked ask(const std::string& text, int64_t tokens, size_t choices = 1) const {
        Asked asked;
        asked.job->prompts = {engine->tokenizer()->encode(text)};
        asked.job->options.sampling.temperature = 0;
        asked.job->options.max_tokens = tokens;
        asked.job->options.ignore_eos = true;
        asked.job->choices = choices;
        asked.job->listener = asked.kept;
        return asked;
    }
    std::vector<TokenId> alone(const std::string& text, int64_t tokens) const {
        const auto session = engine->new_session();
        return engine->generate(*session, engine->tokenizer()->encode(text), ask(text, tokens).job->options).token_ids;
    }
    std::unique_ptr<Engine> engine;
    std::unique_ptr<Generator> generator;
    Metrics metrics;
};

TEST_F(SchedulerTest, CompanyChangesNoToken) {
    Scheduler scheduler(*generator, limits(3, 16), metrics);
    std::vector<Asked> all;
    for (const char* text : {"Once upon a time", "The king", "A small dog", "The sea", "Winter"}) {
        all.push_back(ask(text, 12));
        scheduler.submit(all.back().job, [] {});
    }
    for (Asked& each : all) ASSERT_TRUE(each.kept->wait_for([&] { return each.kept->finished == 1; }));
    EXPECT_EQ(all[0].kept->tokens[0], alone("Once upon a time", 12));
    EXPECT_EQ(all[4].kept->tokens[0], alone("Winter", 12));
    EXPECT_EQ(scheduler.running() + scheduler.waiting(), 0u);
    EXPECT_EQ(metrics.totals().generated_tokens, 60);
}

TEST_F(SchedulerTest, OtherChoicesFindThePromptEvaluated) {
    Scheduler scheduler(*generator, limits(4, 16), metrics);
    std::string text;
    for (int i = 0; i < 60; ++i) text += "The fox and the dog ran. ";
    Asked asked = ask(text, 4, 3);
    scheduler.submit(asked.job, [] {});
    ASSERT_TRUE(asked.kept->wait_for([&] { return asked.kept->finished == 3; }));
    EXPECT_EQ(asked.kept->tokens.size(), 3u);
    const auto prompt = static_cast<int64_t>(asked.job->prompts[0].size());
    EXPECT_EQ(metrics.totals().prompt_tokens + metrics.totals().cached_tokens, 3 * prompt);
    EXPECT_LT(metrics.totals().prompt_tokens, 2 * prompt);
}

TEST_F(SchedulerTest, TheSamePromptIsEvaluatedOnce) {
    Scheduler scheduler(*generator, limits(4, 16), metrics);
    std::string text;
    for (int i = 0; i < 60; ++i) text += "The cat and the owl sang. ";
    const std::vector<Asked> all = {ask(text, 4), ask(text, 4), ask(text, 4)};
    for (const Asked& each : all) scheduler.submit(each.job, [] {});
    for (const Asked& each : all) ASSERT_TRUE(each.kept->wait_for([&] { return each.kept->finished == 1; }));
    const auto prompt = static_cast<int64_t>(all[0].job->prompts[0].size());
    EXPECT_LT(metrics.totals().prompt_tokens, 2 * prompt);
    EXPECT_EQ(all[1].kept->tokens[0], all[0].kept->tokens[0]);
    EXPECT_EQ(all[2].kept->tokens[0], all[0].kept->tokens[0]);
}

// Each in company of 16, and of 64 that wait for 16 places.
TEST_F(SchedulerTest, TextsAreTheSameAloneAndAmongMany) {
    const auto story = [](size_t i) { return "A story about number " + std::to_string(i) + ": one day"; };
    constexpr int64_t kTokens = 6;
    for (const size_t company : {size_t{16}, size_t{64}}) {
        Scheduler scheduler(*generator, limits(16, 64), metrics);
        std::vector<Asked> all;
        for (size_t i = 0; i < company; ++i) {
            all.push_back(ask(story(i), kTokens));
            scheduler.submit(all.back().job, [] {});
        }
        for (size_t i = 0; i < company; ++i) {
            ASSERT_TRUE(all[i].kept->wait_for([&] { return all[i].kept->finished == 1; })) << i;
            if (i % 5 == 0) {
                EXPECT_EQ(all[i].kept->tokens[0], alone(story(i), kTokens)) << i << " of " << company;
            }
        }
    }
}

TEST_F(SchedulerTest, PlacesAreLimitedAndGivenUpAtOnce) {
    Scheduler scheduler(*generator, limits(1, 1), metrics);
    Asked first = ask("Once upon a time", 900), second = ask("The king", 2), third = ask("The sea", 2);
    scheduler.submit(first.job, [] {});
    ASSERT_TRUE(first.kept->wait_for([&] { return !first.kept->tokens.empty(); }));
    scheduler.submit(second.job, [] {});
    try {
        scheduler.submit(third.job, [] { FAIL() << "there is no place"; });
        FAIL() << "there is no place";
    } catch (const ApiError& error) {
        EXPECT_EQ(error.status, 429);
        EXPECT_GE(error.retry_after, 1);
    }
    scheduler.cancel(*second.job);
    EXPECT_EQ(scheduler.waiting(), 0u);
    scheduler.submit(third.job, [] {});
    scheduler.cancel(*first.job);
    ASSERT_TRUE(third.kept->wait_for([&] { return third.kept->finished == 1; }));
    EXPECT_EQ(first.kept->finish, FinishReason::kCancelled);
    EXPECT_LT(first.kept->tokens[0].size(), 900u);
    EXPECT_EQ(second.kept->finished, 0u);
}

TEST_F(SchedulerTest, ASlowReaderHoldsUpNobody) {
    Scheduler scheduler(*generator, limits(2, 4), metrics);
    Asked slow = ask("Once upon a time", 6), quick = ask("The king", 6);
    slow.kept->slow = true;
    scheduler.submit(slow.job, [] {});
    scheduler.submit(quick.job, [] {});
    ASSERT_TRUE(quick.kept->wait_for([&] { return quick.kept->finished == 1; }));
    EXPECT_EQ(slow.kept->finished, 0u);
    slow.kept->slow = false;
    ASSERT_TRUE(slow.kept->wait_for([&] { return slow.kept->finished == 1; }));
    EXPECT_EQ(slow.kept->tokens[0].size(), 6u);
}

TEST_F(SchedulerTest, GivesUpOnWhatIsLeft) {
    Scheduler scheduler(*generator, limits(1, 4), metrics);
    Asked running = ask("Once upon a time", 900), waiting = ask("The king", 900);
    scheduler.submit(running.job, [] {});
    scheduler.submit(waiting.job, [] {});
    scheduler.close();
    EXPECT_THROW(scheduler.submit(ask("The sea", 2).job, [] {}), ApiError);
    scheduler.give_up(std::make_exception_ptr(not_ready(true)));
    EXPECT_EQ(running.kept->given_up + waiting.kept->given_up, 2u);
}

TEST_F(SchedulerTest, WhatDoesNotFitTheMemoryWaits) {
    // One context and a page: one other sequence at a time beside the oldest.
    Scheduler scheduler(*generator, limits(4, 4, 1024 + 256), metrics);
    std::vector<Asked> all;
    for (const char* text : {"Once upon a time", "The king", "The sea", "Winter"}) {
        all.push_back(ask(text, 20));
        scheduler.submit(all.back().job, [] {});
    }
    for (Asked& each : all) {
        ASSERT_TRUE(each.kept->wait_for([&] { return each.kept->finished == 1; }));
        EXPECT_EQ(each.kept->tokens[0].size(), 20u);
    }
}

TEST(MayGrow, LeavesTheOldestItsContext) {
    const auto may = [](std::vector<HeldTokens> held, int64_t limit) { return may_grow(held, 1024, limit); };
    EXPECT_EQ(may({{512, 256}, {0, 256}}, 1024), (std::vector<bool>{true, false}));
    EXPECT_EQ(may({{512, 256}, {0, 256}}, 1280), (std::vector<bool>{true, true}));
    EXPECT_EQ(may({{0, 256}, {256, 256}, {256, 0}}, 1536), (std::vector<bool>{true, false, true}));
    EXPECT_TRUE(may({}, 1024).empty());
}

TEST(QueueRank, ShortPromptsGoFirstAndWaitingCounts) {
    EXPECT_LT(queue_rank(20, 0), queue_rank(30'000, 0));
    EXPECT_LT(queue_rank(30'000, 120), queue_rank(20, 0));
    EXPECT_LT(queue_rank(20, 0.001), queue_rank(20, 0));
}

TEST(PrefillPace, GivesPromptsWhatOthersCanWaitFor) {
    PrefillPace pace;
    EXPECT_LE(pace.chunk(), 64);  // nothing is known
    pace.note_decode(0.05);
    pace.note_prefill(1000, 1);
    EXPECT_EQ(pace.chunk(), 200);  // four steps of decoding
    for (int i = 0; i < 50; ++i) pace.note_decode(10);
    EXPECT_EQ(pace.chunk(), 2000);  // two seconds at most
    for (int i = 0; i < 50; ++i) pace.note_decode(0.0001);
    EXPECT_EQ(pace.chunk(), 60);
}

}  // namespace
}  // namespace sluice::server
