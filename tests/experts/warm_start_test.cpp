// Reads of what earlier runs used: into free slots only, while nobody evaluates, counted apart, first to be thrown out.

#include <gtest/gtest.h>

#include <algorithm>

#include "experts/expert_cache.h"
#include "tests/experts/support.h"

namespace sluice::testing {
namespace {

std::vector<ExpertKey> keys_of(int layer, const std::vector<int>& experts) {
    std::vector<ExpertKey> keys;
    for (const int expert : experts) keys.push_back({layer, expert});
    return keys;
}

// Three layers of 16 experts, 4 a token, 24 slots.
struct WarmStartTest : ::testing::Test {
    ExpertCounters counters() const { return store.counters(); }
    void wait_for_warm(uint64_t reads) const {
        while (store.counters().warm_reads < reads) std::this_thread::yield();
    }
    void use(int layer, const std::vector<int>& experts) {
        ExpertStream stream = store.stream(layer, experts);
        drain(stream, [&](const HeldExpert& ready) { EXPECT_TRUE(model.matches(layer, ready)); });
    }

    const FileModel model{{}};
    PausableStore pausable{model, 24};
    ExpertStore& store = *pausable.store;
    FaultyReader& reader = *pausable.reader;
};

TEST_F(WarmStartTest, WhatWasReadIsAHitAndCountedApart) {
    store.warm_up(keys_of(1, {3, 7, 9}));
    wait_for_warm(3);
    EXPECT_EQ(counters().warm_bytes, 3 * 8192u);
    EXPECT_EQ(counters().bytes_read, 3 * 8192u);
    EXPECT_EQ(counters().reads, 0u);
    EXPECT_EQ(counters().prefetch_reads, 0u);
    use(1, {3, 5});
    use(1, {3});
    EXPECT_EQ(counters().hits, 2u);
    EXPECT_EQ(counters().misses, 1u);
    EXPECT_EQ(counters().warm_hits, 1u) << "an expert counts once";
    EXPECT_EQ(counters().prefetch_hits, 0u);
}

TEST_F(WarmStartTest, FillsFreeSlotsAndEvictsNothing) {
    use(0, range(0, 16));
    store.warm_up(keys_of(1, range(0, 16)));
    wait_for_warm(8);
    use(0, range(0, 16));
    EXPECT_EQ(counters().hits, 16u) << "what was there has stayed";
    EXPECT_EQ(counters().warm_reads, 8u);
    store.go_on_warming();
    use(0, range(0, 16));
    EXPECT_EQ(counters().hits, 32u);
    EXPECT_EQ(counters().warm_reads, 8u) << "the cache is full";
}

TEST_F(WarmStartTest, IsPutOffWhileSomebodyEvaluates) {
    reader.pause();
    store.warm_up(keys_of(1, range(0, 12)));
    {
        ExpertStream stream = store.stream(0, range(0, 2));
        reader.resume();
        EXPECT_EQ(drain(stream).size(), 2u);
        EXPECT_EQ(counters().bytes_read, 2 * 8192u) << "reads that had not started are cancelled";
    }
    use(0, {2});
    EXPECT_EQ(counters().warm_reads, 0u) << "until somebody says go on";
    store.go_on_warming();
    wait_for_warm(12);
    use(1, range(0, 12));
    EXPECT_EQ(counters().warm_hits, 12u) << "what was put off is not forgotten";
}

TEST_F(WarmStartTest, AStreamJoinsAReadThatIsUnderWay) {
    reader.pause();
    store.warm_up(keys_of(1, {3}));
    ExpertStream stream = store.stream(1, std::vector<int>{3});
    reader.resume();
    EXPECT_EQ(drain(stream), std::vector<int>{3});
    EXPECT_EQ(counters().joined, 1u);
    EXPECT_EQ(counters().reads, 0u);
    EXPECT_EQ(counters().warm_hits, 1u);
    EXPECT_EQ(counters().bytes_read, 8192u);
}

TEST_F(WarmStartTest, NeverQueuesMoreThanAFewReads) {
    reader.pause();
    store.warm_up(keys_of(1, range(0, 16)));
    // Were all slots taken by reads, this stream could not get its four.
    std::vector<ExpertStream> streams;
    for (int layer = 0; layer < 3; ++layer) streams.push_back(store.stream(layer, range(0, 4)));
    reader.resume();
    for (ExpertStream& stream : streams) EXPECT_EQ(drain(stream).size(), 4u);
    EXPECT_EQ(counters().failed_reads, 0u);
}

TEST_F(WarmStartTest, AFailedReadEndsItAndIsNobodysError) {
    const FileModel own{{}};
    PausableStore broken(own, 24, {.error = 1});
    broken.store->warm_up(keys_of(1, range(0, 16)));
    const uint64_t queued = 4;  // at once
    while (broken.store->counters().failed_reads < queued) std::this_thread::yield();
    broken.reader->heal();
    ExpertStream stream = broken.store->stream(1, range(0, 4));
    EXPECT_EQ(drain(stream).size(), 4u);
    broken.store->go_on_warming();
    ExpertStream other = broken.store->stream(2, range(0, 4));
    EXPECT_EQ(drain(other).size(), 4u);
    EXPECT_EQ(broken.store->counters().failed_reads, queued);
    EXPECT_EQ(broken.store->counters().warm_reads, 0u);
}

TEST_F(WarmStartTest, TheStoreEndsInTheMidst) {
    for (int i = 0; i < 20; ++i) {
        PausableStore ending(model, 24, {.delay = 1});
        ending.store->warm_up(keys_of(1, range(0, 16)));
        if (i % 2 == 0) ending.reader->pause();
        if (i % 3 == 0) {
            ExpertStream stream = ending.store->stream(1, std::vector<int>{15});
            ending.store->go_on_warming();
        }
    }
}

TEST_F(WarmStartTest, StreamsOfManyThreadsGetTheirBytes) {
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 3; ++thread) {
        threads.emplace_back([&, thread] {
            std::mt19937 random(static_cast<unsigned>(thread));
            for (int i = 0; i < 300; ++i) {
                const int first = static_cast<int>(random() % 12), layer = static_cast<int>(random() % 3);
                use(layer, range(first, first + 4));
                if (i % 7 == 0) store.warm_up(keys_of(static_cast<int>(random() % 3), range(0, 16)));
                store.go_on_warming();
                if (i % 50 == 0) store.resize(model.bytes_of(12 + random() % 12));
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(counters().failed_reads, 0u);
    EXPECT_EQ(counters().hits + counters().misses, 3 * 300 * 4u);
}

TEST_F(WarmStartTest, StreamsAreCountedForTheNextRun) {
    use(0, {1, 2});
    use(0, {2});
    store.warm_up(keys_of(1, {3}));
    wait_for_warm(1);
    EXPECT_DOUBLE_EQ(store.used().share({0, 2}), 1.0);
    EXPECT_DOUBLE_EQ(store.used().share({0, 1}), 0.5);
    EXPECT_DOUBLE_EQ(store.used().share({1, 3}), 0.0) << "what is read ahead was not asked for";
}

TEST(WarmStart, ReadsTheHottestFirst) {
    const FileModel model{{.experts = 64}};
    PausableStore pausable(model, 40);
    std::vector<ExpertKey> keys = keys_of(1, range(0, 32));
    for (int expert = 63; expert >= 0; --expert) keys.push_back({0, expert});
    pausable.store->warm_up(keys);
    while (pausable.store->counters().warm_reads < 40) std::this_thread::yield();
    ExpertStream stream = pausable.store->stream(1, range(0, 32));
    EXPECT_EQ(drain(stream).size(), 32u);
    EXPECT_EQ(pausable.store->counters().warm_hits, 32u);
}

TEST(WarmStart, OfEveryPoolOfRecordSizes) {
    const FileModel model{{.record_bytes = {8192, 16384, 0, 8192}}};
    ExpertStoreOptions options;
    options.cache_bytes = model.catalogue().all_bytes();
    ExpertStore store(model.catalogue(), tiered(options, model.bytes_of(kFewHostSlots)), make_slots);
    std::vector<ExpertKey> keys;
    for (const int layer : {0, 1, 3})
        for (int expert = 0; expert < 16; ++expert) keys.push_back({layer, expert});
    store.warm_up(keys);
    while (store.counters().warm_reads < keys.size()) std::this_thread::yield();
    for (const int layer : {0, 1, 3}) {
        ExpertStream stream = store.stream(layer, range(0, 16));
        drain(stream, [&](const HeldExpert& ready) { EXPECT_TRUE(model.matches(layer, ready)); });
    }
    EXPECT_EQ(store.counters().misses, 0u);
}

// What was read warm and not used goes before what decoding has used, whatever the policy.
TEST(WarmStart, IsTheFirstToBeThrownOut) {
    for (const EvictionPolicy policy : kAllPolicies) {
        ExpertCache cache(8, 2, 16, policy);
        for (int expert = 8; expert < 12; ++expert) {
            const Lease lease = cache.take(0, expert, true);
            cache.release(lease.slot);
            cache.landed(lease.slot);
        }
        BatchPlan plan;
        for (int token = 0; token < 3; ++token) {
            for (int layer = 0; layer < 2; ++layer) {
                cache.plan(layer, range(0, 2), false, 2, plan);
                for (const Lease& lease : plan.taken) {
                    if (lease.found == Found::kMiss) cache.landed(lease.slot);
                    cache.release(lease.slot);
                }
            }
        }
        for (const int first : {2, 4}) {
            cache.plan(1, range(first, first + 2), false, 2, plan);
            for (const Lease& lease : plan.taken) {
                cache.landed(lease.slot);
                cache.release(lease.slot);
            }
        }
        for (int expert = 8; expert < 12; ++expert)
            EXPECT_EQ(cache.find(0, expert), kNoSlot) << eviction_policy_name(policy);
        for (int layer = 0; layer < 2; ++layer)
            for (int expert = 0; expert < 2; ++expert)
                EXPECT_NE(cache.find(layer, expert), kNoSlot) << eviction_policy_name(policy);
    }
}

}  // namespace
}  // namespace sluice::testing
