// Several sessions of one engine over a drive that fails, is interrupted, stops short, lies and stalls: a request is
// told what went wrong, tries again and gets the tokens of a sound drive; the others never notice.

#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <map>

#include "engine/engine_impl.h"
#include "sluice/pack.h"
#include "tests/experts/support.h"
#include "tests/support/source_file.h"

namespace sluice::testing {
namespace {

constexpr size_t kSessions = 4;
constexpr size_t kPrompt = 6, kGenerated = 20;

struct Case {
    const char* name;
    const char* golden;
    double rate;            // of each kind of fault but stalls
    uint64_t cache_floors;  // the cache, in multiples of the least that works
    size_t faults;          // so many at least
};

using Tokens = std::vector<TokenId>;

// How often a request failed, by what its message says.
using Failures = std::map<std::string, size_t>;

void count_failure(const Error& error, Failures& failures) {
    const std::string text = error.what();
    EXPECT_EQ(error.code(), ErrorCode::kIo) << text;
    EXPECT_NE(text.find(".safetensors: "), std::string::npos) << "no file: " << text;
    EXPECT_NE(text.find(" offset "), std::string::npos) << "no offset: " << text;
    EXPECT_NE(text.find("(expert "), std::string::npos) << "no expert: " << text;
    EXPECT_EQ(text.find('\n'), std::string::npos) << "more than one line: " << text;
    for (const char* kind :
         {"Input/output error", "Interrupted system call", "ends at byte", "checksum", "no answer from the drive"}) {
        if (text.find(kind) == std::string::npos) continue;
        ++failures[kind];
        return;
    }
    ADD_FAILURE() << "no reason: " << text;
}

class EngineFaults : public ::testing::TestWithParam<Case> {
  protected:
    EngineFaults() {
        pack(std::filesystem::path(sluice::testing::source_file("/tests/data/goldens")) / GetParam().golden,
             folder_ / "packed", {});
        options_.context = 64;
        options_.threads = 2;
        for (size_t s = 0; s < kSessions; ++s) {
            for (size_t i = 0; i < kPrompt; ++i)
                prompts_[s].push_back(static_cast<TokenId>((i * 37 + s * 101 + 5) % 512));
        }
    }

    std::unique_ptr<Engine> open_sound() { return Engine::open(folder_ / "packed", options_); }

    std::unique_ptr<Engine> open_faulty() {
        return Engine::Impl::open(
            folder_ / "packed", options_,
            [this](const auto& checkpoint, ExpertStoreOptions store, const auto& make_slots) {
                ExpertCatalogue catalogue = ExpertCatalogue::of(checkpoint);
                auto files = std::make_shared<std::vector<File>>();
                for (const auto& path : catalogue.files) files->push_back(File::open(path));
                const auto source = [files](const ReadRequest& request) {
                    (*files)[request.file].read_at(request.offset, {request.destination, request.bytes});
                };
                const double rate = GetParam().rate;
                const Faults faults{.error = rate,
                                    .interrupted = rate,
                                    .short_read = rate,
                                    .wrong_byte = rate,
                                    .stall = 0.0003,
                                    .delay = 0.001,
                                    .files = catalogue.files};
                store.cache_bytes = GetParam().cache_floors * catalogue.floor_bytes();
                store.verify_every_read = true;
                store.stall_seconds_allowed = 0.05;
                return std::make_unique<ExpertStore>(
                    std::move(catalogue), store, make_slots, [&](Reader::Completed completed) {
                        auto made = std::make_unique<FaultyReader>(source, faults, 3, std::move(completed));
                        reader_ = made.get();
                        return made;
                    });
            });
    }

    // The prompt and what is generated after it. After every failure it goes on from what the session holds.
    Tokens generate(Engine& engine, size_t s, Failures& failures) {
        const auto session = engine.new_session();
        Tokens all = prompts_[s];
        while (all.size() < kPrompt + kGenerated) {
            const Tokens held = session->tokens();
            EXPECT_TRUE(held.size() < all.size() && std::equal(held.begin(), held.end(), all.begin()));
            const Tokens rest(all.begin() + static_cast<std::ptrdiff_t>(held.size()), all.end());
            GenerationOptions greedy;
            greedy.sampling.temperature = 0;
            greedy.max_tokens = static_cast<int64_t>(kPrompt + kGenerated - all.size());
            greedy.ignore_eos = true;
            try {
                engine.generate(*session, rest, greedy, [&](TokenId id, const std::string&) {
                    all.push_back(id);
                    return true;
                });
            } catch (const Error& error) {
                count_failure(error, failures);
            }
        }
        return all;
    }

    std::array<Tokens, kSessions> generate_all(Engine& engine) {
        std::array<Tokens, kSessions> all;
        Failures none;
        for (size_t s = 0; s < kSessions; ++s) all[s] = generate(engine, s, none);
        EXPECT_TRUE(none.empty());
        return all;
    }

    const TemporaryFolder folder_;
    EngineOptions options_;
    std::array<Tokens, kSessions> prompts_;
    FaultyReader* reader_ = nullptr;  // of the engine opened last
};

TEST_P(EngineFaults, EverySessionGetsItsTokens) {
    const auto expected = generate_all(*open_sound());
    const auto engine = open_faulty();
    std::array<Failures, kSessions> failures;
    std::atomic<size_t> rounds{0};
    std::vector<std::future<void>> users;
    for (size_t s = 0; s < kSessions; ++s) {
        users.push_back(std::async(std::launch::async, [&, s] {
            while (reader_->faults() < GetParam().faults && !HasFailure()) {
                EXPECT_TRUE(generate(*engine, s, failures[s]) == expected[s]) << "wrong tokens";
                ++rounds;
            }
        }));
    }
    for (auto& user : users) {
        if (user.wait_for(std::chrono::minutes(5)) != std::future_status::ready) GTEST_LOG_(FATAL) << "a request hangs";
        user.get();
    }
    Failures total;
    size_t failed = 0;
    for (const Failures& each : failures) {
        EXPECT_FALSE(each.empty()) << "every session should have met a fault";
        for (const auto& [kind, count] : each) {
            total[kind] += count;
            failed += count;
        }
    }
    EXPECT_EQ(total.size(), 5u) << "a kind of fault was never told of";
    EXPECT_GT(failed, GetParam().faults / 5);
    EXPECT_GT(rounds.load(), kSessions) << "tokens must have come in between";

    // The drive recovers. Its slots are few, so a lost one would leave somebody waiting.
    reader_->heal();
    std::this_thread::sleep_for(std::chrono::milliseconds(200));  // reads that stall end
    EXPECT_TRUE(generate_all(*engine) == expected);
}

// One batch of all sessions: who fails stays where it was, who does not goes on.
TEST_P(EngineFaults, ABatchFailsBySequence) {
    const auto expected = generate_all(*open_sound());
    const auto engine = open_faulty();
    std::array<std::unique_ptr<Session>, kSessions> sessions;
    size_t mixed = 0;
    Failures failures;
    while (reader_->faults() < GetParam().faults / 5 && !HasFailure()) {
        std::vector<SequenceInput> batch;
        std::vector<int64_t> before;
        for (size_t s = 0; s < kSessions; ++s) {
            if (!sessions[s] || sessions[s]->position() == kPrompt + kGenerated - 1)
                sessions[s] = engine->new_session();
            before.push_back(sessions[s]->position());
            batch.push_back({.session = sessions[s].get(),
                             .tokens = std::span(expected[s]).subspan(static_cast<size_t>(before[s]), 1)});
        }
        const std::vector<SequenceOutput> outputs = engine->evaluate(batch);
        size_t failed = 0;
        for (size_t s = 0; s < kSessions; ++s) {
            if (outputs[s].error) {
                ++failed;
                EXPECT_EQ(sessions[s]->position(), before[s]);
                try {
                    std::rethrow_exception(outputs[s].error);
                } catch (const Error& error) {
                    count_failure(error, failures);
                }
                continue;
            }
            const auto next = static_cast<size_t>(sessions[s]->position());
            EXPECT_EQ(next, static_cast<size_t>(before[s]) + 1);
            if (next < kPrompt) continue;
            const auto& logits = outputs[s].logits;
            EXPECT_EQ(std::max_element(logits.begin(), logits.end()) - logits.begin(), expected[s][next]);
        }
        mixed += failed > 0 && failed < kSessions;
    }
    EXPECT_GT(mixed, 10u);
}

INSTANTIATE_TEST_SUITE_P(Models, EngineFaults,
                         ::testing::Values(Case{"AttentionAtTheFloor", "qwen3-moe-mlx4", 0.03, 1, 3000},
                                           Case{"Attention", "qwen3-moe-mlx4", 0.04, 3, 4000},
                                           Case{"Recurrent", "qwen3-next-bf16", 0.006, 2, 1000}),
                         [](const auto& each) { return std::string(each.param.name); });

}  // namespace
}  // namespace sluice::testing
