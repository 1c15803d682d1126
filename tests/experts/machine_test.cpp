// What is measured or decided from the machine: memory budget, drive speed.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/error.h"
#include "base/memory.h"
#include "experts/disk_benchmark.h"
#include "experts/memory_budget.h"
#include "experts/read_depth.h"
#include "tests/experts/support.h"

namespace sluice::testing {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kMegabyte = 1 << 20;

TEST(MemoryBudget, TheDefaultLeavesTheSystemRoom) {
    const uint64_t ceiling = default_memory_ceiling();
    EXPECT_GT(ceiling, 0u);
    EXPECT_LT(ceiling, available_memory_bytes() + resident_bytes());
    EXPECT_LE(ceiling, cgroup_memory_limit_bytes().value_or(UINT64_MAX));
}

TEST(MemoryGovernor, ShrinksByWhatIsMissingAndGrowsByParts) {
    constexpr uint64_t kFull = 1600, kFloor = 100, kReserve = 200;
    const auto next = [&](uint64_t current, uint64_t available, double stalled = 0) {
        return next_cache_bytes(current, kFull, kFloor, {available, stalled}, kReserve);
    };
    EXPECT_EQ(next(1600, 1000), 1600u);
    EXPECT_EQ(next(1600, 300), 1600u);  // enough, not plenty
    EXPECT_EQ(next(1600, 190), 1500u);  // at least a sixteenth
    EXPECT_EQ(next(1600, 0), 1400u);
    EXPECT_EQ(next(150, 0), kFloor);
    EXPECT_EQ(next(1000, 450), 1000u);
    EXPECT_EQ(next(1000, 501), 1100u);
    EXPECT_EQ(next(1550, 501), kFull);
    // Whoever waits for memory counts as well as what is left of it.
    EXPECT_EQ(next(1600, 1000, 0.2), 1500u);
    EXPECT_EQ(next(1600, 0, 0.2), 1400u);
    EXPECT_EQ(next(120, 1000, 0.2), kFloor);
    EXPECT_EQ(next(1000, 1000, 0.05), 1000u);  // not while some wait
}

TEST(MemoryGovernor, WhatIsGivenBackIsTheSystemsAgain) {
    constexpr int kExperts = 64;
    const FileModel model({.record_bytes = {kMegabyte}, .experts = kExperts, .top_k = 4});
    ExpertStore store(model.catalogue(), {.cache_bytes = model.bytes_of(kExperts)}, make_host_slots);
    const auto use_all = [&] {
        for (int first = 0; first < kExperts; first += 4) {
            const std::vector<int> ids{first, first + 1, first + 2, first + 3};
            ExpertStream stream = store.stream(0, ids);
            drain(stream, [&](const HeldExpert& expert) { EXPECT_TRUE(model.matches(0, expert)); });
        }
    };
    use_all();
    const uint64_t full = resident_bytes();
    store.resize(8 * kMegabyte);
    EXPECT_EQ(store.cache_bytes(), 8 * kMegabyte);
    const uint64_t small = resident_bytes();
    EXPECT_LE(small + 50 * kMegabyte, full);  // of 56 MB
    use_all();
    EXPECT_LE(resident_bytes(), small + 6 * kMegabyte);  // the small cache serves all of them
    store.resize(UINT64_MAX);
    use_all();
    EXPECT_GE(resident_bytes() + 6 * kMegabyte, full);
}

TEST(MemoryGovernor, FollowsThePressure) {
    std::atomic<uint64_t> available{4000 * kMegabyte}, bytes{1600 * kMegabyte};
    const auto becomes = [&](auto condition) {
        for (int i = 0; i < 2000 && !condition(bytes.load()); ++i) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        return condition(bytes.load());
    };
    MemoryGovernor governor(
        {.bytes = [&] { return bytes.load(); },
         .resize = [&](uint64_t wanted) { bytes = wanted; },
         .full = 1600 * kMegabyte,
         .floor = 100 * kMegabyte},
        [&] {
            return MemoryState{available.load(), 0};
        },
        0.001);
    available = 10 * kMegabyte;
    EXPECT_TRUE(becomes([](uint64_t now) { return now == 100 * kMegabyte; }));
    available = 4000 * kMegabyte;
    EXPECT_TRUE(becomes([](uint64_t now) { return now == 1600 * kMegabyte; }));
}

TEST(DiskBenchmark, MeasuresEveryReaderAndDepth) {
    const TemporaryFolder folder;
    DiskBenchmarkOptions options;
    options.record_bytes = 100000;  // rounded to pages
    options.seconds_per_row = 0.02;
    options.depths = {1, 4};
    options.temporary_bytes = 8 * kMegabyte;
    size_t steps = 0;
    options.progress = [&](size_t done, size_t rows) {
        steps += done > 0;
        EXPECT_GE(rows, 6u);
        return true;
    };
    const DiskBenchmark result = run_disk_benchmark(folder.path(), options);
    EXPECT_TRUE(result.temporary);
    EXPECT_EQ(result.record_bytes, 102400u);
    EXPECT_EQ(result.rows.size(), steps);
    EXPECT_EQ(result.rows.size(), (result.direct_works ? 5u : 3u) * 2);
    for (const DiskBenchmarkRow& row : result.rows) {
        if (!row.error.empty()) {
            EXPECT_EQ(row.kind, ReaderKind::kUring);
            continue;
        }
        EXPECT_GE(row.reads, row.depth) << row.reader;
        EXPECT_GT(row.bytes_per_second, 0) << row.reader;
        EXPECT_LE(row.median_seconds, row.slowest_percent_seconds) << row.reader;
    }
    ASSERT_NE(result.best(), nullptr);
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));  // the file is gone
}

TEST(DiskBenchmark, RefusesWhatIsTooSmallOrMissing) {
    const TemporaryFolder folder;
    write_text_file(folder / "small", std::string(5000, 'x'));
    try {
        run_disk_benchmark(folder / "small");
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kInvalidFile);
        EXPECT_THAT(error.what(), HasSubstr("small"));
    }
    EXPECT_THROW(run_disk_benchmark(folder / "missing"), Error);
    DiskBenchmarkOptions large;
    large.record_bytes = 1ull << 40;
    EXPECT_THROW(run_disk_benchmark(folder.path(), large), Error);
    EXPECT_THROW(run_disk_benchmark("/proc"), Error) << "no file can be made there";
}

TEST(DiskBenchmark, StopsWhenToldAndLeavesNothingBehind) {
    const TemporaryFolder folder;
    DiskBenchmarkOptions options;
    options.record_bytes = 65536;
    options.seconds_per_row = 0.01;
    options.temporary_bytes = 8 * kMegabyte;
    for (const size_t after : {size_t{0}, size_t{2}}) {
        size_t rows = 0;
        options.progress = [&](size_t done, size_t) {
            rows = done;
            return done < after;
        };
        try {
            run_disk_benchmark(folder.path(), options);
            ADD_FAILURE() << "went on";
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::kCancelled);
        }
        EXPECT_EQ(rows, after);
        EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
    }
}

TEST(DiskBenchmark, MeasuresADriveQuickly) {
    const FileModel model({.record_bytes = {65536}, .experts = 64, .files = 1});
    EXPECT_GT(measure_drive(model.catalogue().files[0], 65536, 0.02), 0);
}

}  // namespace
}  // namespace sluice::testing
