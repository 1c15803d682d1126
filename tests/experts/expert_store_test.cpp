#include "experts/expert_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <optional>
#include <set>

#include "base/error.h"
#include "experts/expert_cache.h"
#include "tests/experts/support.h"

namespace sluice::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAreArray;

std::string message_of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const Error& caught) {
        return caught.what();
    }
}

struct StoreCase {
    ReaderKind reader;
    When direct;
    uint64_t front;
    int parts;
    size_t slots;
};

class EveryStore : public ::testing::TestWithParam<StoreCase> {};

// Whatever only moves bytes: every way of reading, every cache size, the same bytes.
TEST_P(EveryStore, DeliversTheRecordsOfTheModel) {
    const StoreCase& c = GetParam();
    const FileModel model({.front = c.front, .parts = c.parts, .checksums = c.front == 0});
    for (const auto policy : kAllPolicies) {
        ExpertStoreOptions options;
        options.cache_bytes = model.bytes_of(c.slots);
        options.reader = c.reader;
        options.direct_io = c.direct;
        options.policy = policy;
        options.read_threads = 4;
        options.verify_every_read = true;
        ExpertStore store(model.catalogue(), tiered(options, model.bytes_of(kFewHostSlots)), make_slots);
        EXPECT_EQ(store.cache_bytes(), model.bytes_of(c.slots));
        std::mt19937 random(17);
        uint64_t asked = 0;
        for (int round = 0; round < 60; ++round) {
            const int layer = round % 3;
            std::vector<int> ids = range(0, 16);
            std::shuffle(ids.begin(), ids.end(), random);
            ids.resize(round % 10 == 9 ? 16 : 4);
            asked += ids.size();
            ExpertStream stream = store.stream(layer, ids);
            const auto came = drain(stream, [&](const HeldExpert& ready) {
                ASSERT_FALSE(ready.error()) << message_of(ready.error());
                EXPECT_TRUE(model.matches(layer, ready)) << layer << " " << ready.expert();
            });
            EXPECT_THAT(came, UnorderedElementsAreArray(ids));
        }
        const ExpertCounters stats = store.counters();
        EXPECT_EQ(stats.hits + stats.misses, asked);
        EXPECT_EQ(stats.reads, stats.misses);
        EXPECT_GE(stats.bytes_read, stats.reads * 8192);
        EXPECT_EQ(stats.failed_reads, 0u);
        EXPECT_LE(stats.reads, c.slots == 48 ? 48u : asked);  // all fit: each is read once
    }
}

INSTANTIATE_TEST_SUITE_P(Ways, EveryStore,
                         ::testing::Values(StoreCase{ReaderKind::kPread, When::kOff, 0, 1, 4},
                                           StoreCase{ReaderKind::kPread, When::kOff, 0, 1, 48},
                                           StoreCase{ReaderKind::kPread, When::kOn, 0, 1, 12},
                                           StoreCase{ReaderKind::kPread, When::kOn, 1000, 3, 12},
                                           StoreCase{ReaderKind::kUring, When::kOff, 1000, 3, 12},
                                           StoreCase{ReaderKind::kUring, When::kOn, 0, 1, 12},
                                           StoreCase{ReaderKind::kUring, When::kOn, 1000, 3, 4},
                                           StoreCase{ReaderKind::kMmap, When::kOff, 1000, 3, 12},
                                           StoreCase{ReaderKind::kAuto, When::kAuto, 7, 2, 30}));

TEST(ExpertStore, HitsComeFirstAndStayCached) {
    const FileModel model({});
    PausableStore paused(model, 12);
    {
        ExpertStream warm = paused.store->stream(0, range(0, 4));
        drain(warm);
    }
    paused.reader->pause();
    const std::vector<int> ids{2, 9, 3, 8};
    ExpertStream stream = paused.store->stream(0, ids);
    auto hits = stream.next();  // at once, although nothing can be read
    ASSERT_EQ(hits.size(), 2u);
    EXPECT_EQ(hits[0].expert(), 2);
    EXPECT_EQ(hits[1].expert(), 3);
    EXPECT_EQ(hits[0].index(), 0u);
    EXPECT_EQ(hits[1].index(), 2u);
    hits.clear();
    std::thread drive([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        paused.reader->resume();
    });
    EXPECT_THAT(drain(stream), UnorderedElementsAreArray({8, 9}));
    drive.join();
    const auto stats = paused.store->counters();
    EXPECT_EQ(stats.hits, 2u);
    EXPECT_EQ(stats.misses, 6u);
    EXPECT_GT(stats.stall_seconds, 0.0);
    EXPECT_EQ(stats.prefetch_reads, 0u);
}

TEST(ExpertStore, AReadInFlightIsJoined) {
    const FileModel model({});
    PausableStore paused(model, 12);
    paused.reader->pause();
    ExpertStream first = paused.store->stream(1, range(0, 4));
    std::vector<int> second_got;
    std::thread other([&] {
        ExpertStream second = paused.store->stream(1, range(2, 6));
        second_got = drain(second, [&](const HeldExpert& ready) { EXPECT_TRUE(model.matches(1, ready)); });
    });
    while (paused.store->counters().joined < 2) std::this_thread::yield();
    paused.reader->resume();
    EXPECT_THAT(drain(first), UnorderedElementsAreArray(range(0, 4)));
    other.join();
    EXPECT_THAT(second_got, UnorderedElementsAreArray(range(2, 6)));
    EXPECT_EQ(paused.store->counters().reads, 6u);
    EXPECT_EQ(paused.store->counters().misses, 8u);
}

TEST(ExpertStore, ASlotIsNotReusedBeforeItsUseIsDone) {
    const FileModel model({.top_k = 2});
    PausableStore paused(model, 2);
    auto use = std::make_shared<ManualCompletion>();
    ExpertStream stream = paused.store->stream(0, range(0, 4));
    std::vector<HeldExpert> first = take(stream, 2);
    for (HeldExpert& held : first) held.keep_until(use);
    std::atomic<bool> finished{false};
    std::thread device([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(30));
        for (const auto& ready : first) EXPECT_TRUE(model.matches(0, ready));
        finished = true;
        use->finish();
    });
    auto later = stream.next();
    EXPECT_TRUE(finished);
    device.join();
    later.clear();
    drain(stream);
}

TEST(ExpertStore, ReleasedExpertsAreHitsWhileTheirUseGoesOn) {
    const FileModel model({});
    PausableStore paused(model, 12);
    auto use = std::make_shared<ManualCompletion>();
    for (int round = 0; round < 2; ++round) {
        ExpertStream stream = paused.store->stream(0, range(0, 4));
        std::vector<int> got;
        while (true) {
            auto batch = stream.next();
            if (batch.empty()) break;
            for (HeldExpert& held : batch) held.keep_until(use);
        }
    }
    EXPECT_EQ(paused.store->counters().hits, 4u);
    use->finish();
}

TEST(ExpertStore, DestroyingAStreamCancelsItsReads) {
    const FileModel model({});
    PausableStore paused(model, 4);
    paused.reader->pause();
    { ExpertStream dropped = paused.store->stream(0, range(0, 4)); }
    // The slots are free although nothing was ever read.
    ExpertStream next = paused.store->stream(1, range(0, 4));
    paused.reader->resume();
    EXPECT_THAT(drain(next, [&](const HeldExpert& ready) { EXPECT_TRUE(model.matches(1, ready)); }),
                UnorderedElementsAreArray(range(0, 4)));
    EXPECT_EQ(paused.store->counters().bytes_read, 4u * 8192);
    EXPECT_EQ(paused.store->counters().failed_reads, 0u);
}

TEST(ExpertStore, ErrorsNameTheExpertAndTheNextRequestRetries) {
    const FileModel model({.checksums = true});
    const auto path = model.catalogue().files[0];
    ExpertStoreOptions options;
    options.cache_bytes = model.bytes_of(8);
    options.reader = ReaderKind::kPread;
    options.direct_io = When::kOff;
    ExpertStore store(model.catalogue(), tiered(options, model.bytes_of(kFewHostSlots)), make_slots);
    const auto source = model.catalogue().reads(2, 4).front().source;
    const std::byte right = model.record(2, 4)[100];
    const auto write = [&](std::byte value) {
        std::FILE* file = std::fopen(path.c_str(), "r+b");
        std::fseek(file, static_cast<long>(source.offset + 100), SEEK_SET);
        std::fputc(static_cast<int>(value), file);
        std::fclose(file);
    };
    write(right ^ std::byte{4});
    const std::vector<int> ids{4, 6};
    {
        ExpertStream stream = store.stream(2, ids);
        std::string message;
        const auto good = drain(stream, [&](const HeldExpert& ready) {
            if (ready.error()) message = message_of(ready.error());
        });
        EXPECT_THAT(good, ElementsAre(6));
        EXPECT_THAT(message, HasSubstr(path.string()));
        EXPECT_THAT(message, HasSubstr("expert 4 of layer 2"));
        EXPECT_THAT(message, HasSubstr("checksum"));
    }
    EXPECT_EQ(store.counters().failed_reads, 1u);
    write(right);
    ExpertStream again = store.stream(2, ids);
    EXPECT_THAT(drain(again, [&](const HeldExpert& ready) { EXPECT_TRUE(model.matches(2, ready)); }),
                UnorderedElementsAreArray(ids));
}

TEST(ExpertStore, ATruncatedFileIsAnErrorForItsExpertsAlone) {
    for (const auto kind : {ReaderKind::kPread, ReaderKind::kMmap, ReaderKind::kUring}) {
        const FileModel model({.files = 1});
        ExpertStoreOptions options;
        options.cache_bytes = model.bytes_of(8);
        options.reader = kind;
        ExpertStore store(model.catalogue(), tiered(options, model.bytes_of(kFewHostSlots)), make_slots);
        std::filesystem::resize_file(model.catalogue().files[0], 8192 * 18 + 100);
        ExpertStream stream = store.stream(1, range(0, 4));
        int failed = 0;
        EXPECT_THAT(drain(stream,
                          [&](const HeldExpert& ready) {
                              if (!ready.error()) return;
                              ++failed;
                              EXPECT_THAT(message_of(ready.error()), HasSubstr("ends at byte"));
                          }),
                    UnorderedElementsAreArray({0, 1}));
        EXPECT_EQ(failed, 2);
    }
}

TEST(ExpertStore, AStalledDriveIsAnErrorNotAHang) {
    const FileModel model({.top_k = 4});
    PausableStore paused(model, 4, {}, 0.1);
    paused.reader->pause();
    ExpertStream stream = paused.store->stream(0, range(0, 6));
    int errors = 0;
    drain(stream, [&](const HeldExpert& ready) {
        ASSERT_TRUE(ready.error());
        EXPECT_THAT(message_of(ready.error()), HasSubstr("no answer from the drive"));
        ++errors;
    });
    EXPECT_EQ(errors, 6);
    paused.reader->resume();
    ExpertStream next = paused.store->stream(0, range(0, 4));
    EXPECT_EQ(drain(next).size(), 4u);
}

TEST(ExpertStore, APrefillReadsEachExpertOnceAndLeavesTheWorkingSet) {
    for (const auto policy : kAllPolicies) {
        const FileModel model({.record_bytes = {4096, 4096, 4096}, .experts = 64, .top_k = 4});
        ExpertStoreOptions options;
        options.cache_bytes = model.bytes_of(40);
        options.policy = policy;
        ExpertStore store(model.catalogue(), tiered(options, model.bytes_of(kFewHostSlots)), make_slots);
        const auto decode = [&] {
            for (int layer = 0; layer < 3; ++layer) {
                ExpertStream stream = store.stream(layer, range(10, 14));
                drain(stream);
            }
        };
        for (int token = 0; token < 5; ++token) decode();
        const uint64_t before = store.counters().reads;
        for (int layer = 0; layer < 3; ++layer) {
            ExpertStream stream = store.stream(layer, range(0, 64));
            EXPECT_EQ(drain(stream).size(), 64u);
        }
        EXPECT_LE(store.counters().reads - before, 3u * 64);
        const uint64_t after = store.counters().misses;
        decode();
        EXPECT_EQ(store.counters().misses, after) << eviction_policy_name(policy);
    }
}

TEST(ExpertStore, ACacheBelowTheFloorIsRefusedWithTheNumber) {
    const FileModel model({.top_k = 4});
    ExpertStoreOptions options;
    options.cache_bytes = model.bytes_of(4) - 1;
    try {
        ExpertStore store(model.catalogue(), tiered(options, model.bytes_of(kFewHostSlots)), make_slots);
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
        EXPECT_THAT(error.what(), HasSubstr("32768 bytes"));
    }
}

TEST(ExpertStore, TheCacheIsNeverLargerThanAllExperts) {
    const FileModel model({.record_bytes = {4096, 8192}});
    ExpertStoreOptions options;
    options.cache_bytes = 1ull << 40;
    ExpertStore store(model.catalogue(), tiered(options, model.bytes_of(kFewHostSlots)), make_slots);
    EXPECT_EQ(store.cache_bytes(), model.catalogue().all_bytes());
}

TEST(ExpertStore, MemoryIsGivenBackAndTakenAgain) {
    const FileModel model({});
    PausableStore paused(model, 24);
    ExpertStore& store = *paused.store;
    for (int layer = 0; layer < 2; ++layer) {
        ExpertStream stream = store.stream(layer, range(0, 8));
        drain(stream);
    }
    ExpertStream holder = store.stream(2, range(0, 4));
    std::vector<HeldExpert> held = take(holder, 4);
    store.resize(0);  // the floor, which the holder has for itself
    EXPECT_EQ(store.cache_bytes(), model.bytes_of(4));
    for (const auto& ready : held) EXPECT_TRUE(model.matches(2, ready));
    held.clear();
    for (int round = 0; round < 2; ++round) {
        ExpertStream stream = store.stream(0, range(0, 16));
        EXPECT_EQ(drain(stream, [&](const HeldExpert& ready) { EXPECT_TRUE(model.matches(0, ready)); }).size(), 16u);
    }
    store.resize(UINT64_MAX);
    EXPECT_EQ(store.cache_bytes(), model.bytes_of(24));
    const uint64_t before = store.counters().hits;
    for (int round = 0; round < 2; ++round) {
        ExpertStream stream = store.stream(1, range(4, 12));
        drain(stream);
    }
    EXPECT_EQ(store.counters().hits - before, 8u);
}

TEST(ExpertStore, WrongRequestsAreRefused) {
    const FileModel model({.record_bytes = {4096, 0}});
    PausableStore paused(model, 8);
    const auto code = [&](int layer, const std::vector<int>& ids) {
        try {
            ExpertStream stream = paused.store->stream(layer, ids);
        } catch (const Error& error) {
            return error.code();
        }
        return ErrorCode::kIo;
    };
    EXPECT_EQ(code(1, {0}), ErrorCode::kUsage);
    EXPECT_EQ(code(-1, {0}), ErrorCode::kUsage);
    EXPECT_EQ(code(2, {0}), ErrorCode::kUsage);
    EXPECT_EQ(code(0, {16}), ErrorCode::kUsage);
    EXPECT_EQ(code(0, {-1}), ErrorCode::kUsage);
    EXPECT_EQ(code(0, {3, 3}), ErrorCode::kUsage);
    ExpertStream nothing = paused.store->stream(0, {});
    EXPECT_TRUE(nothing.next().empty());
}

TEST(ExpertStore, AnExpertIsHeldUntilItsHandleGoes) {
    const FileModel model({.top_k = 1});
    PausableStore paused(model, 2);
    std::vector<HeldExpert> held;
    {
        ExpertStream stream = paused.store->stream(0, std::vector<int>{3});
        held = take(stream, 1);
    }
    const auto use_others = [&] {
        for (int expert = 4; expert < 8; ++expert) {
            ExpertStream stream = paused.store->stream(0, std::vector<int>{expert});
            EXPECT_EQ(drain(stream).size(), 1u);
        }
    };
    use_others();
    EXPECT_TRUE(model.matches(0, held[0])) << "it outlives its stream";
    HeldExpert moved = std::move(held[0]);
    held.clear();
    use_others();
    EXPECT_TRUE(model.matches(0, moved)) << "what was moved from holds nothing";
    moved.keep_until(nullptr);
    moved.keep_until(nullptr);  // ends nothing more
    use_others();
    EXPECT_FALSE(model.matches(0, moved));
}

TEST(ExpertStore, AClosedStreamGivesItsSlotsToTheSystemThatWantsThemBack) {
    const FileModel model({});
    PausableStore paused(model, 24);
    ExpertStore& store = *paused.store;
    std::optional<ExpertStream> stream = store.stream(0, range(0, 8));
    while (store.counters().bytes_read < 8 * 8192) std::this_thread::yield();
    store.resize(0);
    EXPECT_EQ(store.cache_bytes(), model.bytes_of(8)) << "the stream has its experts";
    stream.reset();
    EXPECT_EQ(store.cache_bytes(), model.bytes_of(4));
}

}  // namespace
}  // namespace sluice::testing
