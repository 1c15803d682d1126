// A flag set from any thread ends an evaluation inside a pass and changes nothing that was there.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "backend/backend.h"
#include "model/workspace.h"
#include "sluice/engine.h"
#include "tests/support/source_file.h"

namespace sluice::testing {
namespace {

std::vector<TokenId> prompt(size_t count) {
    std::vector<TokenId> ids;
    for (size_t i = 0; i < count; ++i) ids.push_back(static_cast<TokenId>((i * 37 + 11) % 500));
    return ids;
}

std::unique_ptr<Engine> open(const char* golden) {
    EngineOptions options;
    options.context = 2048;
    return Engine::open(source_file(std::string("/tests/data/goldens/") + golden), options);
}

TEST(Cancel, BeforeAPassNothingIsEvaluated) {
    for (const char* const golden : {"qwen3-moe-mlx4", "qwen3-next-bf16"}) {
        SCOPED_TRACE(golden);
        const auto engine = open(golden);
        const std::vector<TokenId> ids = prompt(40);
        const auto whole = engine->new_session(), session = engine->new_session();
        const std::vector<float> wanted = engine->evaluate(*whole, ids).logits;
        std::atomic<bool> cancelled = true;
        const SequenceInput input{.session = session.get(), .tokens = ids, .cancelled = &cancelled};
        const std::vector<SequenceOutput> outputs = engine->evaluate(std::span(&input, 1));
        ASSERT_TRUE(outputs[0].error);
        try {
            std::rethrow_exception(outputs[0].error);
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::kCancelled) << error.what();
        }
        EXPECT_EQ(session->position(), 0);
        EXPECT_EQ(engine->evaluate(*session, ids).logits, wanted);
    }
}

TEST(Cancel, CompanyGoesOn) {
    const auto engine = open("qwen3-next-bf16");
    const std::vector<TokenId> ids = prompt(40);
    const auto whole = engine->new_session(), one = engine->new_session(), other = engine->new_session();
    const std::vector<float> wanted = engine->evaluate(*whole, ids).logits;
    std::atomic<bool> cancelled = true;
    const SequenceInput batch[] = {{.session = one.get(), .tokens = ids, .cancelled = &cancelled},
                                   {.session = other.get(), .tokens = ids}};
    const std::vector<SequenceOutput> outputs = engine->evaluate(batch);
    EXPECT_TRUE(outputs[0].error);
    EXPECT_EQ(outputs[1].logits, wanted);
}

TEST(Cancel, FromAnotherThreadAtAnyTime) {
    const auto engine = open("qwen3-next-bf16");
    const std::vector<TokenId> ids = prompt(600);
    const auto whole = engine->new_session();
    const std::vector<float> wanted = engine->evaluate(*whole, ids).logits;
    for (const int milliseconds : {0, 1, 2, 5, 10, 20}) {
        const auto session = engine->new_session();
        std::atomic<bool> cancelled = false;
        GenerationOptions options;
        options.max_tokens = 1;
        options.sampling.temperature = 0;
        options.cancelled = &cancelled;
        std::thread canceller([&] {
            std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
            cancelled = true;
        });
        const GenerationResult result = engine->generate(*session, ids, options);
        canceller.join();
        if (result.finish == FinishReason::kCancelled) {
            EXPECT_TRUE(result.token_ids.empty());
        }
        session->truncate(0);
        EXPECT_EQ(engine->evaluate(*session, ids).logits, wanted) << milliseconds;
    }
}

TEST(Cancel, InsideAnOperation) {
    const auto backend = make_cpu_backend({.threads = 1});
    Workspace workspace(*backend);
    const Tensor x = workspace.take(4096, 512), out = workspace.take(4096, 512);
    backend->set_go_on([] { return false; });
    backend->run(AddGated{.x = x, .gate = {}, .out = out});
    EXPECT_THROW(backend->wait(), Error);
    backend->set_go_on({});
    backend->run(AddGated{.x = x, .gate = {}, .out = out});
    EXPECT_NO_THROW(backend->wait());
}

}  // namespace
}  // namespace sluice::testing
