// The store with slots of a device over a tier in the host's memory over the drive.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>

#include "base/error.h"
#include "tests/experts/late_slots.h"
#include "tests/experts/support.h"

namespace sluice::testing {
namespace {

// Three layers of 16 experts, 4 a token: so many slots over so many.
struct Sizes {
    size_t device, host;
};

struct TieredStore {
    TieredStore(const FileModel& model, Sizes sizes, const Faults& faults = {}, const LateSlotsOptions& copies = {}) {
        ExpertStoreOptions options{.cache_bytes = model.bytes_of(sizes.device),
                                   .host = {.bytes = model.bytes_of(sizes.host), .make = make_host_slots},
                                   .policy = EvictionPolicy::kLru,
                                   .verify_every_read = true,
                                   .look_ahead = When::kOn};
        store = std::make_unique<ExpertStore>(
            model.catalogue(), options,
            [copies](size_t slots, size_t bytes) { return make_late_slots(slots, bytes, copies); },
            [&](Reader::Completed completed) {
                auto made = std::make_unique<FaultyReader>(source_of(model), faults, 2, std::move(completed));
                reader = made.get();
                return made;
            });
    }
    FaultyReader* reader = nullptr;
    std::unique_ptr<ExpertStore> store;
};

class TieredStoreTest : public ::testing::Test {
  protected:
    ExpertCounters counters() const { return store.counters(); }
    void use(int layer, const std::vector<int>& ids) {
        ExpertStream stream = store.stream(layer, ids);
        const auto came = drain(stream, [&](const HeldExpert& held) { EXPECT_TRUE(model.matches(layer, held)); });
        EXPECT_EQ(came.size(), ids.size());
    }

    const FileModel model{{.checksums = true}};
    TieredStore tiered{model, {8, 20}};
    ExpertStore& store = *tiered.store;
    FaultyReader& reader = *tiered.reader;
};

TEST_F(TieredStoreTest, WhatTheDeviceEvictedIsCopiedNotRead) {
    use(0, range(0, 8));
    use(1, range(0, 8));  // takes the device's slots
    EXPECT_EQ(counters().bytes_read, 16 * 8192u);
    reader.pause();
    use(0, range(0, 8));
    EXPECT_EQ(counters().host_hits, 8u);
    EXPECT_EQ(counters().hits, 8u);
    EXPECT_EQ(counters().copies, 8u);
    EXPECT_EQ(counters().copied_bytes, 8 * 8192u);
    EXPECT_EQ(counters().reads, 16u);
    EXPECT_EQ(counters().stall_seconds, counters().stall_seconds);
    use(0, range(0, 8));
    EXPECT_EQ(counters().hits, 16u);
    EXPECT_EQ(counters().host_hits, 8u) << "they are the device's by now";
}

TEST_F(TieredStoreTest, OneStreamHasAllThreeTiers) {
    use(0, range(0, 8));
    use(1, range(0, 6));
    const ExpertCounters before = counters();
    use(1, {0, 1, 2});  // so that they are the last to go
    use(0, {0, 1, 12, 13});
    use(0, {0, 12, 2, 14});
    const ExpertCounters spent = counters() - before;
    EXPECT_EQ(spent.reads, 3u);
    EXPECT_EQ(spent.host_hits, 3u);
    EXPECT_EQ(spent.hits, 3u + 3u + 2u);
    EXPECT_EQ(spent.failed_reads, 0u);
}

TEST_F(TieredStoreTest, AHintOfWhatTheHostHasReadsNothing) {
    use(0, range(0, 8));
    use(1, range(0, 8));
    reader.pause();
    store.hint(std::vector<ExpertKey>{{0, 1}, {0, 2}});
    EXPECT_EQ(counters().copies, 2u);
    EXPECT_EQ(counters().prefetch_reads, 0u);
    use(0, {1, 2});
    EXPECT_EQ(counters().host_hits, 0u);
    EXPECT_EQ(counters().hits, 2u);
}

TEST_F(TieredStoreTest, BothTiersGiveTheirMemoryBackAndTakeItAgain) {
    use(0, range(0, 16));
    store.resize_host(model.bytes_of(5));
    EXPECT_EQ(store.host_bytes(), model.bytes_of(5));
    store.resize_host(0);
    EXPECT_EQ(store.host_bytes(), 0u);
    store.resize(0);
    EXPECT_EQ(store.cache_bytes(), model.bytes_of(4));
    for (int layer = 0; layer < 3; ++layer) use(layer, range(0, 16));
    store.resize_host(UINT64_MAX);
    EXPECT_EQ(store.host_bytes(), model.bytes_of(20));
    use(1, range(0, 16));
    const uint64_t before = counters().reads;
    use(1, range(0, 16));
    EXPECT_EQ(counters().reads, before);
}

// As a card's memory, of which whole pieces go back.
TEST_F(TieredStoreTest, ADeviceThatShrinksAtItsEndKeepsItsFirstSlots) {
    TieredStore shrinking(model, {8, 40}, {}, {.at_end = true});
    const auto most_slot = [&](const std::vector<int>& ids) {
        size_t most = 0;
        for (int layer = 0; layer < 3; ++layer) {
            ExpertStream stream = shrinking.store->stream(layer, ids);
            drain(stream, [&](const HeldExpert& held) {
                EXPECT_TRUE(model.matches(layer, held));
                most = std::max(most, held.slot());
            });
        }
        return most;
    };
    EXPECT_EQ(most_slot(range(0, 8)), 7u);
    shrinking.store->resize(model.bytes_of(5));
    EXPECT_EQ(shrinking.store->cache_bytes(), model.bytes_of(5));
    EXPECT_LT(most_slot(range(0, 8)), 5u);
    shrinking.store->resize(UINT64_MAX);
    EXPECT_EQ(most_slot(range(4, 12)), 7u);
}

TEST_F(TieredStoreTest, ASlotOfTheHostThatIsCopiedFromStaysInService) {
    use(0, range(0, 8));
    for (int round = 0; round < 200; ++round) {
        store.resize_host(round % 2 == 0 ? 0 : UINT64_MAX);
        use(round % 3, range(round % 8, round % 8 + 8));
    }
}

TEST(TieredStore, AFailedCopyIsToldAndTheHostKeepsTheRecord) {
    const FileModel model({});
    TieredStore tiered(model, {4, 16}, {}, {.failing = 0.2});
    int failures = 0;
    for (int round = 0; round < 100; ++round) {
        ExpertStream stream = tiered.store->stream(0, range(round % 8, round % 8 + 4));
        drain(stream, [&](const HeldExpert& held) {
            failures += held.error() != nullptr;
            if (!held.error()) {
                EXPECT_TRUE(model.matches(0, held));
            }
        });
    }
    EXPECT_GT(failures, 10);
    EXPECT_EQ(tiered.store->counters().failed_reads, static_cast<uint64_t>(failures));
    EXPECT_LT(tiered.store->counters().reads, 200u) << "most of what fails comes from the host's memory";
}

// Faults of the drive and of the device, sizes that change, callers that go away.
TEST(TieredStore, TenThousandFaultsOverThreeTiersAreAllTold) {
    const FileModel model({.parts = 2, .checksums = true});
    TieredStore tiered(model, {10, 14}, {.error = 0.12, .short_read = 0.1, .wrong_byte = 0.05, .delay = 0.002},
                       {.landings = 4, .failing = 0.1});
    std::atomic<uint64_t> good{0}, failed{0}, wrong{0};
    const auto resize = [&](int turn) {
        constexpr size_t kSlots[] = {4, 8, 12, 6, 10};
        const size_t slots = kSlots[turn % 5];
        tiered.store->resize(model.bytes_of(slots));
        tiered.store->resize_host(model.bytes_of(2 * slots - 8));
    };
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 3; ++t) {
        threads.emplace_back([&, t] {
            std::mt19937 random(t);
            for (int round = 0; round < 4000; ++round) {
                if (t == 0 && round % 8 == 0) resize(round / 8);
                const int layer = static_cast<int>(random() % 3);
                std::vector<int> ids = range(0, 16);
                std::shuffle(ids.begin(), ids.end(), random);
                ids.resize(random() % 10 == 0 ? 16 : 4);
                if (random() % 4 == 0) tiered.store->hint(std::vector<ExpertKey>{{layer, 3}, {(layer + 1) % 3, 5}});
                ExpertStream stream = tiered.store->stream(layer, ids);
                if (random() % 16 == 0) continue;
                size_t answered = 0;
                drain(stream, [&](const HeldExpert& held) {
                    ++answered;
                    ++(held.error() ? failed : good);
                    wrong += !held.error() && !model.matches(layer, held);
                });
                wrong += answered != ids.size();
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_GT(tiered.reader->faults(), 8000u);
    EXPECT_GT(tiered.store->counters().failed_reads, 10000u);
    EXPECT_GT(tiered.store->counters().copies, 1000u);
    EXPECT_GT(good, 5000u);
    EXPECT_EQ(wrong, 0u);
}

}  // namespace
}  // namespace sluice::testing
