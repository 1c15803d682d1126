// Requests that are stepped together: company, cancelling, callbacks, what does not wait.

#include "sluice/generation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <thread>

#include "sluice/engine.h"
#include "tests/support/source_file.h"

namespace sluice::testing {
namespace {

const std::string kHybrid = source_file("/models/stories-hybrid");
const std::string kAttention = source_file("/tests/data/goldens/qwen3-moe-mlx4");
const std::string kLatent = source_file("/tests/data/goldens/deepseek-v3-fp8");

std::unique_ptr<Engine> open(const std::string& model, int64_t chunk = 16) {
    EngineOptions options;
    options.chunk = chunk;
    options.ram_bytes = 2ull << 30;
    options.prefix_memory_bytes = 0;
    return Engine::open(model, options);
}

struct Request {
    std::vector<TokenId> prompt;
    GenerationOptions options;
    size_t joins = 0;  // before this step
};

// Of all kinds and lengths: one token to several chunks, greedy and sampled.
std::vector<Request> requests(size_t count) {
    std::vector<Request> all;
    uint32_t seed = 1;
    for (size_t i = 0; i < count; ++i) {
        Request& request = all.emplace_back();
        const size_t length = i % 4 == 3 ? 1 + i : 3 + 11 * i % 67;
        for (size_t t = 0; t < length; ++t) {
            seed = seed * 1664525u + 1013904223u;
            request.prompt.push_back(static_cast<TokenId>((seed >> 8) % 500));
        }
        request.options.sampling.temperature = i % 3 == 0 ? 0 : 0.9;
        request.options.sampling.seed = i;
        if (i % 5 == 1) request.options.sampling.top_p = 0.9;
        if (i % 5 == 2) request.options.sampling.repetition_penalty = 1.2;
        if (i % 5 == 3) request.options.sampling.logit_bias = {{7, -100}, {9, 3}};
        if (i % 5 == 4) {
            request.options.mask = [](std::span<const TokenId> generated, TokenMask& mask) {
                mask.allow_all();
                for (const TokenId id : generated) mask.forbid(id);
            };
        }
        request.options.max_tokens = static_cast<int64_t>(4 + i % 6);
        request.options.ignore_eos = i % 2 == 0;
        request.options.log_probabilities = i % 4;
        request.joins = i / 3;
    }
    return all;
}

void expect_same(const GenerationResult& got, const GenerationResult& want) {
    EXPECT_EQ(got.token_ids, want.token_ids);
    EXPECT_EQ(got.text, want.text);
    EXPECT_EQ(got.finish, want.finish);
    EXPECT_EQ(got.prefilled_tokens, want.prefilled_tokens);
    ASSERT_EQ(got.choices.size(), want.choices.size());
    for (size_t t = 0; t < want.choices.size(); ++t) {
        EXPECT_EQ(got.choices[t].log_probability, want.choices[t].log_probability);
        ASSERT_EQ(got.choices[t].top.size(), want.choices[t].top.size());
        for (size_t n = 0; n < want.choices[t].top.size(); ++n) {
            EXPECT_EQ(got.choices[t].top[n].id, want.choices[t].top[n].id);
            EXPECT_EQ(got.choices[t].top[n].log_probability, want.choices[t].top[n].log_probability);
        }
    }
}

// Steps all requests together, each from the step it joins at. Before step `cancel_at` the request `cancelled` is.
struct Company {
    std::vector<GenerationResult> results;
    std::vector<std::string> texts;  // as taken
    size_t steps = 0;
};
Company run_together(Engine& engine, const std::vector<Request>& all, size_t cancelled = SIZE_MAX,
                     size_t cancel_at = 0) {
    std::vector<std::unique_ptr<Session>> sessions;
    std::vector<std::unique_ptr<Generation>> generations(all.size());
    Company company;
    company.texts.resize(all.size());
    for (size_t i = 0; i < all.size(); ++i) sessions.push_back(engine.new_session());
    for (bool going = true; going; ++company.steps) {
        going = false;
        std::vector<Generation*> stepped;
        for (size_t i = 0; i < all.size(); ++i) {
            if (!generations[i] && all[i].joins <= company.steps) {
                generations[i] = engine.begin(*sessions[i], all[i].prompt, all[i].options);
            }
            if (i == cancelled && company.steps == cancel_at && generations[i]) generations[i]->cancel();
            if (generations[i] && !generations[i]->finished()) stepped.push_back(generations[i].get());
            going = going || !generations[i] || !generations[i]->finished();
        }
        engine.step(stepped);
        for (size_t i = 0; i < all.size(); ++i) {
            if (generations[i]) company.texts[i] += generations[i]->take_text();
        }
    }
    for (const auto& each : generations) company.results.push_back(each->result());
    return company;
}

class GenerationCompany : public ::testing::TestWithParam<std::string> {};

TEST_P(GenerationCompany, SixteenAreAsEachAlone) {
    const auto engine = open(GetParam());
    const std::vector<Request> all = requests(16);
    std::vector<GenerationResult> alone;
    for (const Request& request : all) {
        const auto session = engine->new_session();
        std::string streamed;
        alone.push_back(engine->generate(*session, request.prompt, request.options,
                                         [&](TokenId, const std::string& text) { return streamed += text, true; }));
        EXPECT_EQ(streamed, alone.back().text);
        EXPECT_FALSE(alone.back().token_ids.empty());
        EXPECT_EQ(alone.back().choices.size(), alone.back().token_ids.size());
    }
    const Company together = run_together(*engine, all);
    for (size_t i = 0; i < all.size(); ++i) {
        SCOPED_TRACE(i);
        expect_same(together.results[i], alone[i]);
        EXPECT_EQ(together.texts[i], alone[i].text);
    }
}

TEST_P(GenerationCompany, OneIsCancelledAtEveryPoint) {
    const auto engine = open(GetParam());
    std::vector<Request> all = requests(5);
    for (Request& request : all) request.joins /= 2;
    const size_t victim = 2;
    all[victim].prompt.resize(50, 11);  // four pieces
    const Company whole = run_together(*engine, all);
    size_t fewer = 0;
    for (size_t point = all[victim].joins; point < whole.steps; ++point) {
        SCOPED_TRACE(point);
        const Company company = run_together(*engine, all, victim, point);
        for (size_t i = 0; i < all.size(); ++i) {
            if (i != victim) {
                expect_same(company.results[i], whole.results[i]);
                continue;
            }
            const std::vector<TokenId>& got = company.results[i].token_ids;
            const std::vector<TokenId>& want = whole.results[i].token_ids;
            ASSERT_LE(got.size(), want.size());
            EXPECT_TRUE(std::equal(got.begin(), got.end(), want.begin()));
            EXPECT_EQ(company.texts[i], company.results[i].text);
            const bool was_cut = company.results[i].finish == FinishReason::kCancelled;
            EXPECT_TRUE(was_cut || company.results[i].finish == whole.results[i].finish);
            fewer += was_cut;
        }
    }
    EXPECT_GT(fewer, 4u);
}

INSTANTIATE_TEST_SUITE_P(
    Models, GenerationCompany, ::testing::Values(kHybrid, kAttention, kLatent), [](const auto& model) {
        return std::string(model.index == 0 ? "Recurrent" : model.index == 1 ? "Attention" : "Latent");
    });

TEST(Generation, AStepIsOnePassAndMovesEveryOtherByAToken) {
    EngineOptions options;
    options.chunk = 16;
    options.profile = true;
    const auto engine = Engine::open(kAttention, options);
    const auto passes = [&] {
        for (const OperationTime& each : engine->profile()) {
            if (each.name.starts_with("Embed")) return each.calls;
        }
        return uint64_t{0};
    };
    std::vector<std::unique_ptr<Session>> sessions;
    std::vector<std::unique_ptr<Generation>> generations;
    std::vector<Generation*> stepped;
    GenerationOptions generation;
    generation.ignore_eos = true;
    for (TokenId i = 0; i < 16; ++i) {
        sessions.push_back(engine->new_session());
        const std::vector<TokenId> prompt(i == 15 ? 160 : 1, i);
        generations.push_back(engine->begin(*sessions.back(), prompt, generation));
        stepped.push_back(generations.back().get());
    }
    for (size_t step = 1; step <= 10; ++step) {
        const uint64_t before = passes();
        engine->step(stepped);
        EXPECT_EQ(passes(), before + 1);
        for (size_t i = 0; i < 15; ++i) EXPECT_EQ(generations[i]->result().token_ids.size(), step);
        EXPECT_EQ(generations[15]->progress().done, static_cast<int64_t>(16 * step));
        EXPECT_EQ(generations[15]->progress().total, 160);
    }
    EXPECT_EQ(generations[15]->result().token_ids.size(), 1u);
    // A budget of rows holds, but for the first of them.
    const int64_t before = static_cast<int64_t>(engine->statistics().tokens_evaluated);
    engine->step(stepped, {.rows = 5});
    EXPECT_EQ(static_cast<int64_t>(engine->statistics().tokens_evaluated), before + 5);
}

// A smaller chunk for a step takes fewer tokens of a prompt at once, and changes nothing of what follows.
TEST(Generation, AStepMayTakeLessOfAPrompt) {
    const auto engine = Engine::open(kAttention, {});
    const std::vector<TokenId> prompt(50, 7);
    GenerationOptions generation;
    generation.sampling.temperature = 0;
    generation.max_tokens = 6;
    generation.ignore_eos = true;
    const auto whole = engine->new_session(), cut = engine->new_session();
    const GenerationResult want = engine->generate(*whole, prompt, generation);
    const auto got = engine->begin(*cut, prompt, generation);
    Generation* const one[] = {got.get()};
    engine->step(one, {.chunk = 20});
    EXPECT_EQ(got->progress().done, 20);
    while (!got->finished()) engine->step(one, {.chunk = 20});
    EXPECT_EQ(got->result().token_ids, want.token_ids);
}

// Tokens that are the whole of a session begin with what another session has evaluated, as a text does.
TEST(Generation, AWholePromptOfTokensIsKeptAndFound) {
    EngineOptions options;
    options.prefix_memory_bytes = uint64_t{64} << 20;
    const auto engine = Engine::open(kAttention, options);
    std::vector<TokenId> prompt(100, 7);
    GenerationOptions generation;
    generation.sampling.temperature = 0;
    generation.max_tokens = 4;
    generation.ignore_eos = true;
    generation.whole_prompt = true;
    const auto first = engine->new_session(), second = engine->new_session();
    const GenerationResult cold = engine->generate(*first, prompt, generation);
    EXPECT_EQ(cold.prefilled_tokens, 100u);
    const GenerationResult warm = engine->generate(*second, prompt, generation);
    EXPECT_LT(warm.prefilled_tokens, 100u);
    EXPECT_EQ(warm.token_ids, cold.token_ids);
    // The same session again: the prompt is not what follows, but all.
    EXPECT_EQ(engine->generate(*second, prompt, generation).token_ids, cold.token_ids);
}

// As many passes as the rows need: a pass never has more than there is memory for.
TEST(Generation, ABatchIsCutIntoPassesThatFit) {
    EngineOptions options;
    options.chunk = 16;
    options.profile = true;
    const auto engine = Engine::open(kAttention, options);
    ASSERT_EQ(engine->info().pass_rows, 32);
    std::vector<std::unique_ptr<Session>> sessions;
    std::vector<SequenceInput> batch;
    const std::vector<TokenId> ids(16, 5);
    for (int i = 0; i < 8; ++i) {
        sessions.push_back(engine->new_session());
        batch.push_back({.session = sessions.back().get(), .tokens = ids});
    }
    engine->evaluate(batch);
    for (const OperationTime& each : engine->profile()) {
        if (each.name.starts_with("Embed")) {
            EXPECT_EQ(each.calls, 4u);
        }
    }
}

TEST(Generation, StatisticsSessionsAndTheirEndDoNotWaitForAPass) {
    const auto engine = open(kHybrid, 2048);
    const std::vector<TokenId> prompt(2000, 300);
    const auto session = engine->new_session();
    auto destroyed = engine->new_session();
    engine->evaluate(*destroyed, std::vector<TokenId>{1, 2, 3});
    std::atomic<bool> running = true;
    std::atomic<int> during = 0;
    double prefill_s = 0;
    std::thread evaluating([&] {
        const auto begin = std::chrono::steady_clock::now();
        engine->evaluate(*session, prompt);
        prefill_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        running = false;
    });
    std::vector<double> seconds;
    const auto timed = [&](auto&& action) {
        const auto begin = std::chrono::steady_clock::now();
        action();
        seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
        during += running;
    };
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    timed([&] { destroyed.reset(); });
    while (running) {
        timed([&] { (void)engine->statistics(); });
        timed([&] { (void)engine->profile(); });
        timed([&] { engine->new_session(); });
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    evaluating.join();
    ASSERT_GT(during.load(), 10);
    // Others may have the processor for a while; who waited for the pass would have waited for most of it.
    std::ranges::sort(seconds);
    EXPECT_LT(seconds[seconds.size() * 9 / 10], 0.001);
    EXPECT_LT(seconds.back(), prefill_s / 2);
}

TEST(Generation, CallbacksMayCallAnything) {
    const auto engine = open(kHybrid, 64);
    const std::vector<TokenId> prompt(2000, 300);
    const auto session = engine->new_session();
    size_t calls = 0;
    std::vector<double> seconds;
    const auto call_everything = [&] {
        ++calls;
        const auto begin = std::chrono::steady_clock::now();
        (void)engine->statistics();
        seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
        (void)engine->profile();
        (void)session->state_bytes();
        const auto other = engine->new_session();
        if (calls % 8 == 1) {
            EXPECT_FALSE(engine->evaluate(*other, std::vector<TokenId>{1, 2}).logits.empty());
        }
        return true;
    };
    GenerationOptions options;
    options.max_tokens = 3;
    options.ignore_eos = true;
    options.mask = [&](std::span<const TokenId>, TokenMask& mask) {
        mask.allow_all();
        call_everything();
        EXPECT_THROW(session->truncate(0), Error) << "the session is being evaluated";
    };
    const GenerationResult result = engine->generate(
        *session, prompt, options, [&](TokenId, const std::string&) { return call_everything(); },
        [&](int64_t, int64_t) { return call_everything(); });
    EXPECT_EQ(result.token_ids.size(), 3u);
    EXPECT_GE(calls, 2000u / 64);
    std::ranges::sort(seconds);
    EXPECT_LT(seconds[seconds.size() * 9 / 10], 0.001);
    engine->evaluate(*session, std::vector<TokenId>{5}, LogitsWanted::kLast, [&](int64_t, int64_t) {
        EXPECT_THROW(engine->evaluate(*session, std::vector<TokenId>{6}), Error);
        return true;
    });
}

TEST(Generation, TheModelIsSharedBetweenThePiecesOfAPrompt) {
    const auto engine = open(kHybrid, 64);
    const auto long_session = engine->new_session(), short_session = engine->new_session();
    std::atomic<bool> running = true;
    std::atomic<int> short_ones = 0;
    std::thread other([&] {
        while (running) {
            short_session->truncate(0);
            engine->evaluate(*short_session, std::vector<TokenId>{1});
            ++short_ones;
        }
    });
    engine->evaluate(*long_session, std::vector<TokenId>(2000, 300));
    const int meanwhile = short_ones;
    running = false;
    other.join();
    EXPECT_GT(meanwhile, 8);
}

TEST(Generation, WhatGoesWrongIsItsOwnError) {
    const auto engine = open(kHybrid);
    const auto a = engine->new_session(), b = engine->new_session(), c = engine->new_session();
    GenerationOptions options, masked;
    options.max_tokens = masked.max_tokens = 4;
    options.ignore_eos = masked.ignore_eos = true;
    masked.mask = [](std::span<const TokenId> generated, TokenMask& mask) {
        if (generated.size() < 2) mask.allow(static_cast<TokenId>(40 + generated.size()));
    };
    const auto sound = engine->begin(*a, std::vector<TokenId>{1, 2, 3}, options);
    const auto stuck = engine->begin(*b, std::vector<TokenId>{1, 2, 3}, masked);
    const auto moved = engine->begin(*c, std::vector<TokenId>{1, 2, 3}, options);
    EXPECT_THROW((void)engine->begin(*a, std::vector<TokenId>{1}, options), Error) << "one at a time";
    Generation* const all[] = {sound.get(), stuck.get(), moved.get()};
    engine->step(all);
    c->truncate(1);
    while (!sound->finished()) engine->step(all);
    EXPECT_EQ(sound->result().finish, FinishReason::kLength);
    EXPECT_EQ(sound->error(), nullptr);
    for (const auto* each : {stuck.get(), moved.get()}) {
        EXPECT_EQ(each->result().finish, FinishReason::kError);
        EXPECT_THROW(std::rethrow_exception(each->error()), Error);
    }
    EXPECT_EQ(stuck->result().token_ids, (std::vector<TokenId>{40, 41}));
    Generation* const twice[] = {sound.get(), sound.get()};
    EXPECT_THROW(engine->step(twice), Error);
    EXPECT_EQ(engine->begin(*a, std::vector<TokenId>{1}, options)->progress().total, 1) << "the session is free again";
}

TEST(Generation, AGenerationOutlivedByNothing) {
    const auto engine = open(kHybrid);
    auto session = engine->new_session();
    const auto generation = engine->begin(*session, std::vector<TokenId>{1, 2}, {});
    Generation* const one[] = {generation.get()};
    engine->step(one);
    session.reset();
    engine->step(one);
    EXPECT_EQ(generation->result().finish, FinishReason::kError);
}

TEST(Generation, LogProbabilitiesAreTheSoftmaxOfTheLogits) {
    const auto engine = open(kHybrid);
    const auto session = engine->new_session(), again = engine->new_session();
    const std::vector<TokenId> prompt = {300, 301, 302};
    GenerationOptions options;
    options.max_tokens = 1;
    options.ignore_eos = true;
    options.sampling.temperature = 0;
    options.sampling.logit_bias = {{77, 100}};
    options.log_probabilities = 3;
    const GenerationResult result = engine->generate(*session, prompt, options);
    ASSERT_EQ(result.token_ids, std::vector<TokenId>{77}) << "a bias of 100 forces";
    std::vector<float> logits = engine->evaluate(*again, prompt).logits;
    logits.resize(std::min(logits.size(), engine->tokenizer()->vocabulary_size()));
    double total = 0;
    for (const float logit : logits) total += std::exp(static_cast<double>(logit));
    const auto log_probability = [&](TokenId id) {
        return static_cast<double>(logits[static_cast<size_t>(id)]) - std::log(total);
    };
    ASSERT_EQ(result.choices.size(), 1u);
    EXPECT_NEAR(result.choices[0].log_probability, log_probability(77), 1e-4);
    ASSERT_EQ(result.choices[0].top.size(), 3u);
    const auto best = std::ranges::max_element(logits) - logits.begin();
    EXPECT_EQ(result.choices[0].top[0].id, best);
    for (const TokenLogProbability& each : result.choices[0].top) {
        EXPECT_NEAR(each.log_probability, log_probability(each.id), 1e-4);
    }
    EXPECT_GE(result.choices[0].top[0].log_probability, result.choices[0].top[1].log_probability);
}

}  // namespace
}  // namespace sluice::testing
