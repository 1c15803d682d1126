// Reads ahead of demand: only in idle drive time, counted apart, joined when wanted, cancelled when not.

#include <gtest/gtest.h>

#include <thread>

#include "tests/experts/support.h"

namespace sluice::testing {
namespace {

struct LookAheadTest : PausedStoreTest {
    void name(int layer, const std::vector<int>& experts) {
        std::vector<ExpertKey> keys;
        for (const int expert : experts) keys.push_back({layer, expert});
        store.hint(keys);
    }
};

TEST_F(LookAheadTest, WhatWasReadAheadIsAHitAndCountedApart) {
    name(1, {3, 7});
    wait_for(2 * 8192);
    EXPECT_EQ(counters().prefetch_reads, 2u);
    EXPECT_EQ(counters().reads, 0u);
    ExpertStream stream = store.stream(1, std::vector<int>{3, 5});
    drain(stream, [&](const HeldExpert& ready) { EXPECT_TRUE(model.matches(1, ready)); });
    EXPECT_EQ(counters().hits, 1u);
    EXPECT_EQ(counters().misses, 1u);
    EXPECT_EQ(counters().reads, 1u);
    EXPECT_EQ(counters().prefetch_hits, 1u);
    // Used once, it is an expert like any other.
    ExpertStream again = store.stream(1, std::vector<int>{3});
    drain(again);
    EXPECT_EQ(counters().hits, 2u);
    EXPECT_EQ(counters().prefetch_hits, 1u);
}

TEST_F(LookAheadTest, WaitsUntilNoStreamWaitsForARead) {
    reader.pause();
    ExpertStream stream = store.stream(0, range(0, 2));
    name(1, {3});
    EXPECT_EQ(counters().prefetch_reads, 0u);
    reader.resume();
    drain(stream);
    wait_for(3 * 8192);
    EXPECT_EQ(counters().prefetch_reads, 1u);
}

TEST_F(LookAheadTest, AStreamJoinsAReadAheadThatIsUnderWay) {
    reader.pause();
    name(1, {3});
    ExpertStream stream = store.stream(1, std::vector<int>{3});
    reader.resume();
    EXPECT_EQ(drain(stream), std::vector<int>{3});
    EXPECT_EQ(counters().reads, 0u);
    EXPECT_EQ(counters().joined, 1u);
    EXPECT_EQ(counters().prefetch_hits, 1u);
    EXPECT_EQ(counters().bytes_read, 8192u);
}

TEST_F(LookAheadTest, WhatTheLayerDoesNotWantIsCancelled) {
    reader.pause();
    name(1, {3, 4, 5, 6, 7, 8});
    const uint64_t issued = counters().prefetch_reads;
    EXPECT_GT(issued, 0u);
    EXPECT_LT(issued, 6u) << "a guess must not fill the queue of the drive";
    ExpertStream stream = store.stream(1, std::vector<int>{9});
    reader.resume();
    EXPECT_EQ(drain(stream), std::vector<int>{9});
    name(2, {0});
    wait_for(2 * 8192);
    EXPECT_EQ(counters().prefetch_reads, issued + 1) << "what was named for layer 1 is forgotten";
    EXPECT_EQ(counters().bytes_read, 2 * 8192u) << "nothing but expert 9 and the new guess was read";
    EXPECT_EQ(counters().prefetch_hits, 0u);
}

TEST_F(LookAheadTest, LeavesTheSlotsThatStreamsHold) {
    std::vector<ExpertStream> streams;
    std::vector<std::vector<HeldExpert>> held;
    for (int layer = 0; layer < 3; ++layer) {
        streams.push_back(store.stream(layer, range(0, 6)));
        held.push_back(take(streams.back(), 4));
    }
    name(1, {10, 11, 12, 13, 14, 15});
    ExpertStream stream = store.stream(0, range(6, 8));
    EXPECT_EQ(drain(stream).size(), 2u);
}

TEST_F(LookAheadTest, AFailedGuessIsNobodysError) {
    const FileModel own{{}};
    PausableStore broken(own, 24, {.error = 1});
    broken.store->hint(std::vector<ExpertKey>{{1, 3}});
    while (broken.store->counters().failed_reads == 0) std::this_thread::yield();
    broken.reader->heal();
    ExpertStream stream = broken.store->stream(1, std::vector<int>{3});
    drain(stream, [&](const HeldExpert& ready) {
        EXPECT_FALSE(ready.error());
        EXPECT_TRUE(own.matches(1, ready));
    });
    EXPECT_EQ(broken.store->counters().misses, 1u);
}

TEST(LookAheadOff, IsNotAskedFor) {
    const FileModel model{{}};
    for (const When when : {When::kOff, When::kAuto, When::kOn}) {
        ExpertStoreOptions options;
        options.look_ahead = when;
        // Off, or on but with a slot for every expert.
        options.cache_bytes = model.bytes_of(when == When::kOff ? 24 : 48);
        ExpertStore store(model.catalogue(), tiered(options, model.bytes_of(kFewHostSlots)), make_slots);
        for (int layer = 0; layer < 1000; ++layer) EXPECT_FALSE(store.look_ahead({}).hints);
    }
}

// Layers of decoding, with `experts` of each and one guess for the next, which is right; `other_work` is what a layer
// takes beside them. Returns how many of the last 350 were asked for a guess.
size_t layers_that_look_ahead(ExpertStore& store, int experts, std::chrono::microseconds other_work) {
    size_t asked = 0;
    for (int round = 0; round < 900; ++round) {
        const bool asks = store.look_ahead({}).hints;
        const int first = round % 11;
        ExpertStream stream = store.stream(round % 3, range(first, first + experts));
        if (asks) store.hint(std::vector<ExpertKey>{{(round + 1) % 3, (round + 1) % 11}});
        drain(stream);
        std::this_thread::sleep_for(other_work);
        asked += round >= 550 && asks;
    }
    return asked;
}

TEST(LookAheadAuto, IsGivenUpWhileDemandKeepsTheDriveBusy) {
    const FileModel model{{}};
    PausableStore slow(model, 8, {.delay = 1}, 60, When::kAuto);
    EXPECT_EQ(layers_that_look_ahead(*slow.store, 4, {}), 0u);
    EXPECT_EQ(slow.store->counters().prefetch_reads, 0u);
}

TEST(LookAheadAuto, IsNotWorthItWhereNothingIsWaitedFor) {
    const FileModel model{{}};
    PausableStore fast(model, 47, {}, 60, When::kAuto);
    EXPECT_EQ(layers_that_look_ahead(*fast.store, 2, std::chrono::microseconds(100)), 0u);
}

TEST(LookAheadAuto, PaysWhereWaitsAreFeltAndTheDriveHasTime) {
    const FileModel model{{}};
    PausableStore slow(model, 8, {.delay = 0.4}, 60, When::kAuto);
    EXPECT_GT(layers_that_look_ahead(*slow.store, 2, std::chrono::milliseconds(2)), 300u);
    EXPECT_GT(slow.store->counters().prefetch_hits, 0u);
}

// The waits of a prompt are none of decoding, whose experts are all here.
TEST(LookAheadAuto, APromptSaysNothingAboutDecoding) {
    const FileModel model({.record_bytes = {8192, 8192}});
    PausableStore store(model, 24, {}, 60, When::kAuto);
    const auto decode = [&store](int layers) {
        LookAhead::Decision decision;
        for (int i = 0; i < layers; ++i) {
            decision = store.store->look_ahead({});
            ExpertStream stream = store.store->stream(i % 2, range(0, 4));
            drain(stream);
            std::this_thread::sleep_for(std::chrono::microseconds(100));
        }
        return decision.reason;
    };
    decode(300);
    EXPECT_EQ(decode(400), LookAhead::Reason::kWaitsAreShort);
    {
        store.reader->pause();
        ExpertStream prompt = store.store->stream(0, range(4, 16), ExpertUse::kScan);
        std::thread drive([&store] {
            std::this_thread::sleep_for(std::chrono::milliseconds(60));
            store.reader->resume();
        });
        EXPECT_EQ(drain(prompt).size(), 12u);
        drive.join();
    }
    EXPECT_GT(store.store->counters().stall_seconds, 0.03);
    EXPECT_EQ(decode(300), LookAhead::Reason::kWaitsAreShort);
}

}  // namespace
}  // namespace sluice::testing
