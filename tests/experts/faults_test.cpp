// A drive that fails, stops short, lies and dawdles: every failure is told, no wrong byte gets through, nothing hangs
// or leaks.

#include <gtest/gtest.h>

#include <atomic>

#include "base/error.h"
#include "tests/experts/support.h"

namespace sluice::testing {
namespace {

struct Outcome {
    std::atomic<uint64_t> good{0}, failed{0}, wrong{0}, mute{0};
};

void use_store(const FileModel& model, ExpertStore& store, int rounds, unsigned seed, Outcome& outcome) {
    std::mt19937 random(seed);
    for (int round = 0; round < rounds; ++round) {
        const int layer = static_cast<int>(random() % 3);
        std::vector<int> ids = range(0, 16);
        std::shuffle(ids.begin(), ids.end(), random);
        ids.resize(random() % 10 == 0 ? 16 : 4);
        ExpertStream stream = store.stream(layer, ids);
        if (random() % 16 == 0) continue;  // a caller that went away
        size_t answered = 0;
        drain(stream, [&](const HeldExpert& ready) {
            ++answered;
            if (!ready.error()) {
                ++outcome.good;
                outcome.wrong += !model.matches(layer, ready);
                return;
            }
            ++outcome.failed;
            try {
                std::rethrow_exception(ready.error());
            } catch (const Error& error) {
                outcome.mute += error.code() != ErrorCode::kIo || std::string_view(error.what()).empty();
            }
        });
        outcome.mute += answered != ids.size();
    }
}

TEST(Faults, TenThousandOfThemAreAllTold) {
    const FileModel model({.parts = 2, .checksums = true});
    FaultyReader* reader = nullptr;
    ExpertStoreOptions options;
    options.cache_bytes = model.bytes_of(10);
    options.verify_every_read = true;  // the drive lies more than once
    ExpertStore store(model.catalogue(), tiered(options, model.bytes_of(kFewHostSlots)), make_slots,
                      [&](Reader::Completed completed) {
                          const Faults faults{.error = 0.1, .short_read = 0.1, .wrong_byte = 0.05, .delay = 0.002};
                          auto made = std::make_unique<FaultyReader>(source_of(model), faults, 3, std::move(completed));
                          reader = made.get();
                          return made;
                      });
    Outcome outcome;
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 3; ++t) {
        threads.emplace_back([&, t] { use_store(model, store, 4000, t, outcome); });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_GT(reader->faults(), 10000u);
    EXPECT_GT(outcome.failed, 5000u);
    EXPECT_GT(outcome.good, 5000u);
    EXPECT_EQ(outcome.wrong, 0u);
    EXPECT_EQ(outcome.mute, 0u);
    EXPECT_GT(store.counters().failed_reads, 5000u);
}

TEST(Faults, NoSlotIsLost) {
    const FileModel model({.top_k = 8, .checksums = true});
    FaultyReader* reader = nullptr;
    ExpertStoreOptions options;
    options.cache_bytes = model.bytes_of(8);
    ExpertStore store(model.catalogue(), tiered(options, model.bytes_of(kFewHostSlots)), make_slots,
                      [&](Reader::Completed completed) {
                          const Faults faults{.error = 0.5};
                          auto made = std::make_unique<FaultyReader>(source_of(model), faults, 2, std::move(completed));
                          reader = made.get();
                          return made;
                      });
    Outcome outcome;
    use_store(model, store, 500, 1, outcome);
    EXPECT_GT(outcome.failed, 500u);
    // All eight slots can be held at once: retries until each of the eight has come.
    std::vector<HeldExpert> held;
    std::vector<int> missing = range(0, 8);
    for (int attempt = 0; attempt < 200 && !missing.empty(); ++attempt) {
        ExpertStream stream = store.stream(0, std::vector<int>{missing.back()});
        auto ready = stream.next();
        ASSERT_EQ(ready.size(), 1u);
        if (ready[0].error()) continue;
        held.push_back(std::move(ready[0]));
        missing.pop_back();
    }
    EXPECT_EQ(held.size(), 8u);
}

TEST(Faults, AFailureReachesEveryoneWhoJoined) {
    const FileModel model({});
    FaultyReader* reader = nullptr;
    ExpertStoreOptions options;
    options.cache_bytes = model.bytes_of(12);
    ExpertStore store(model.catalogue(), tiered(options, model.bytes_of(kFewHostSlots)), make_slots,
                      [&](Reader::Completed completed) {
                          auto made = std::make_unique<FaultyReader>(source_of(model), Faults{.error = 1}, 2,
                                                                     std::move(completed));
                          reader = made.get();
                          return made;
                      });
    reader->pause();
    ExpertStream first = store.stream(0, range(0, 4));
    ExpertStream second = store.stream(0, range(0, 4));
    reader->resume();
    for (ExpertStream* stream : {&first, &second}) {
        int errors = 0;
        drain(*stream, [&](const HeldExpert& ready) { errors += ready.error() != nullptr; });
        EXPECT_EQ(errors, 4);
    }
    EXPECT_EQ(store.counters().reads, 4u);
    EXPECT_EQ(store.counters().failed_reads, 4u);
}

// A read that was cancelled for one caller while another one joined it still reaches the other.
TEST(Faults, JoinAndCancelRace) {
    const FileModel model({});
    ExpertStoreOptions options;
    options.cache_bytes = model.bytes_of(6);
    ExpertStore store(model.catalogue(), tiered(options, model.bytes_of(kFewHostSlots)), make_slots,
                      [&](Reader::Completed completed) {
                          return std::make_unique<FaultyReader>(source_of(model), Faults{}, 1, std::move(completed));
                      });
    std::atomic<uint64_t> wrong{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
        threads.emplace_back([&, t] {
            std::mt19937 random(static_cast<unsigned>(t));
            for (int round = 0; round < 3000; ++round) {
                const int begin = static_cast<int>(random() % 4);
                ExpertStream stream = store.stream(0, range(begin, begin + 4));
                if (t == 0) continue;
                wrong += drain(stream, [&](const HeldExpert& ready) {
                             wrong += ready.error() || !model.matches(0, ready);
                         }).size() != 4;
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0u);
}

}  // namespace
}  // namespace sluice::testing
