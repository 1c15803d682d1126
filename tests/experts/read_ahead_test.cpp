// Reads of a prompt's next layer: kept until its stream is open, counted apart, in nobody's way.

#include <gtest/gtest.h>

#include <optional>

#include "tests/experts/support.h"

namespace sluice::testing {
namespace {

// Of the 24 slots a scan holds 6 at once.
using ReadAheadTest = PausedStoreTest;

TEST_F(ReadAheadTest, TheLikeliestAreHereWhenTheirLayerComes) {
    std::optional<ExpertStream> ahead = store.hint_scan(1, std::vector<int>{3, 15, 5, 9, 11, 13, 7, 1});
    wait_for(6 * 8192);
    EXPECT_EQ(counters().prefetch_reads, 6u);
    EXPECT_EQ(counters().hits + counters().misses, 0u);
    ExpertStream stream = store.stream(1, std::vector<int>{3, 5, 7, 9, 11, 13, 15}, ExpertUse::kScan);
    drain(stream, [&](const HeldExpert& ready) { EXPECT_TRUE(model.matches(1, ready)); });
    ahead.reset();
    EXPECT_EQ(counters().hits, 6u);
    EXPECT_EQ(counters().reads, 1u) << "expert 7 was the seventh";
    EXPECT_EQ(counters().prefetch_hits, 6u);
    EXPECT_EQ(counters().bytes_read, 7 * 8192u);
}

TEST_F(ReadAheadTest, WhatIsHereIsLeftOut) {
    ExpertStream before = store.stream(1, range(0, 4));
    drain(before);
    const ExpertStream ahead = store.hint_scan(1, range(0, 5));
    wait_for(5 * 8192);
    EXPECT_EQ(counters().prefetch_reads, 1u);
}

TEST_F(ReadAheadTest, ALongScanDoesNotEvictWhatWasReadForIt) {
    const ExpertStream ahead = store.hint_scan(1, range(10, 16));
    wait_for(6 * 8192);
    ExpertStream stream = store.stream(1, range(0, 16), ExpertUse::kScan);
    EXPECT_EQ(drain(stream).size(), 16u);
    EXPECT_EQ(counters().reads, 10u);
    EXPECT_EQ(counters().prefetch_hits, 6u);
}

TEST_F(ReadAheadTest, WaitsForNoSlotThatAStreamWaitsFor) {
    reader.pause();
    ExpertStream stream = store.stream(0, range(0, 16), ExpertUse::kScan);
    EXPECT_TRUE(stream.reading());
    const ExpertStream ahead = store.hint_scan(1, range(0, 4));
    EXPECT_EQ(counters().prefetch_reads, 0u);
    reader.resume();
    EXPECT_EQ(drain(stream).size(), 16u);
    EXPECT_FALSE(stream.reading());
}

TEST_F(ReadAheadTest, GivesItsSlotsToStreamsOnceItIsDropped) {
    std::optional<ExpertStream> ahead = store.hint_scan(2, range(0, 6));
    std::vector<ExpertStream> streams;
    std::vector<std::vector<HeldExpert>> held;
    for (int i = 0; i < 4; ++i) {
        streams.push_back(store.stream(i / 2, range(4 * i, 4 * i + 4)));
        held.push_back(take(streams.back(), 4));
    }
    ExpertStream waits = store.stream(2, range(8, 12));
    ahead.reset();
    EXPECT_EQ(drain(waits).size(), 4u);
}

TEST_F(ReadAheadTest, DroppedBeforeItBeganItReadsNothing) {
    reader.pause();
    { const ExpertStream ahead = store.hint_scan(1, range(0, 4)); }
    reader.resume();
    ExpertStream stream = store.stream(0, std::vector<int>{2});
    drain(stream);
    EXPECT_EQ(counters().bytes_read, 8192u);
}

TEST_F(ReadAheadTest, AFailureIsReadAgainByWhoWantsIt) {
    const FileModel own{{}};
    PausableStore broken(own, 24, {.error = 1});
    const ExpertStream ahead = broken.store->hint_scan(1, std::vector<int>{3});
    while (broken.store->counters().failed_reads == 0) std::this_thread::yield();
    broken.reader->heal();
    ExpertStream stream = broken.store->stream(1, std::vector<int>{3}, ExpertUse::kScan);
    drain(stream, [&](const HeldExpert& ready) {
        EXPECT_FALSE(ready.error());
        EXPECT_TRUE(own.matches(1, ready));
    });
    EXPECT_EQ(broken.store->counters().misses, 1u);
}

TEST(ReadAheadSmall, LeavesRoomForAToken) {
    const FileModel model{{}};
    for (const size_t slots : {4, 7}) {
        PausableStore small(model, slots);
        const ExpertStream ahead = small.store->hint_scan(1, range(0, 8));
        EXPECT_EQ(small.store->counters().prefetch_reads, slots - 4);
        ExpertStream stream = small.store->stream(0, range(0, 16));
        EXPECT_TRUE(stream.admitted());
        EXPECT_EQ(drain(stream).size(), 16u);
    }
}

TEST(ReadAheadOff, ReadsNothing) {
    const FileModel model{{}};
    PausableStore off(model, 24, {}, 60, When::kOff);
    EXPECT_FALSE(off.store->look_ahead({.rows = 512}).hints);
    const ExpertStream ahead = off.store->hint_scan(1, range(0, 4));
    EXPECT_EQ(off.store->counters().prefetch_reads, 0u);
}

}  // namespace
}  // namespace sluice::testing
