#include "experts/expert_cache.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace sluice {
namespace {

BatchPlan plan_of(ExpertCache& cache, int layer, const std::vector<int>& ids, size_t limit, bool scan = false) {
    BatchPlan plan;
    cache.plan(layer, ids, scan, limit, plan);
    return plan;
}

TEST(ExpertCache, PlansHitsThenMisses) {
    ExpertCache cache(4, 2, 8, EvictionPolicy::kLru);
    for (const Lease& lease : plan_of(cache, 1, {2, 5}, 2).taken) {
        EXPECT_EQ(lease.found, Found::kMiss);
        EXPECT_EQ(cache.state(lease.slot), SlotState::kInFlight);
        cache.landed(lease.slot);
        cache.release(lease.slot);
    }
    const BatchPlan plan = plan_of(cache, 1, {0, 2, 3, 5}, 4);
    ASSERT_EQ(plan.taken.size(), 4u);
    EXPECT_EQ(plan.taken[0].expert, 2);
    EXPECT_EQ(plan.taken[0].found, Found::kHit);
    EXPECT_EQ(plan.taken[1].expert, 5);
    EXPECT_EQ(plan.taken[2].expert, 0);
    EXPECT_EQ(plan.taken[2].found, Found::kMiss);
    EXPECT_EQ(plan.taken[3].expert, 3);
    EXPECT_TRUE(plan.waiting.empty());
    // The same number in another layer is another expert.
    EXPECT_EQ(cache.find(0, 2), kNoSlot);
}

TEST(ExpertCache, MissesDoNotEvictHitsOfTheSameBatch) {
    ExpertCache cache(3, 1, 8, EvictionPolicy::kLru);
    for (const Lease& lease : plan_of(cache, 0, {0, 1, 2}, 3).taken) {
        cache.landed(lease.slot);
        cache.release(lease.slot);
    }
    // 0 is the oldest, and would be the first to go.
    const BatchPlan plan = plan_of(cache, 0, {6, 7, 0}, 3);
    EXPECT_EQ(plan.taken[0].expert, 0);
    EXPECT_EQ(plan.taken[0].found, Found::kHit);
}

TEST(ExpertCache, ReadsAndHitsShareALimitThatIsTooSmall) {
    ExpertCache cache(8, 1, 16, EvictionPolicy::kLru);
    for (const Lease& lease : plan_of(cache, 0, {0, 1, 2, 3, 4, 5}, 8).taken) {
        cache.landed(lease.slot);
        cache.release(lease.slot);
    }
    const BatchPlan plan = plan_of(cache, 0, {0, 1, 2, 3, 4, 5, 10, 11, 12, 13}, 4, true);
    ASSERT_EQ(plan.taken.size(), 4u);
    EXPECT_EQ(plan.taken[0].found, Found::kHit);
    EXPECT_EQ(plan.taken[1].found, Found::kHit);
    EXPECT_EQ(plan.taken[2].found, Found::kMiss);
    EXPECT_EQ(plan.taken[3].found, Found::kMiss);
    ASSERT_EQ(plan.waiting.size(), 6u);
    EXPECT_EQ(plan.waiting[0], 12);  // reads before hits
    EXPECT_EQ(plan.waiting[1], 13);
}

TEST(ExpertCache, FailureLeavesTheSlotEmptyAndTheNextRequestReadsAgain) {
    ExpertCache cache(1, 1, 4, EvictionPolicy::kFrequencyLru);
    const Lease first = cache.take(0, 3, false);
    EXPECT_EQ(cache.take(0, 3, false).found, Found::kJoined);
    cache.failed(first.slot);
    EXPECT_EQ(cache.state(first.slot), SlotState::kFailed);
    EXPECT_EQ(cache.find(0, 3), kNoSlot);
    cache.release(first.slot);
    EXPECT_EQ(cache.take(0, 1, false).found, Found::kFull);  // one who waited has not heard yet
    cache.release(first.slot);
    EXPECT_EQ(cache.state(first.slot), SlotState::kEmpty);
    EXPECT_EQ(cache.take(0, 3, false).found, Found::kMiss);
}

TEST(ExpertCache, RetiredSlotsHoldNothing) {
    ExpertCache cache(2, 1, 4, EvictionPolicy::kLru);
    const Lease held = cache.take(0, 0, false);
    cache.landed(held.slot);
    const Lease idle = cache.take(0, 1, false);
    cache.landed(idle.slot);
    cache.release(idle.slot);
    EXPECT_EQ(cache.retire(), idle.slot);
    EXPECT_EQ(cache.retire(), kNoSlot);
    EXPECT_EQ(cache.find(0, 1), kNoSlot);
    EXPECT_EQ(cache.take(0, 1, false).found, Found::kFull);
    cache.restore(idle.slot);
    EXPECT_EQ(cache.take(0, 1, false).found, Found::kMiss);
}

TEST(ExpertCache, ScansAreBatchesThatTouchMostExperts) {
    EXPECT_FALSE(is_scan(8, 128, 8));
    EXPECT_FALSE(is_scan(64, 128, 8));
    EXPECT_TRUE(is_scan(65, 128, 8));
    EXPECT_FALSE(is_scan(8, 8, 2));  // so few experts that a few tokens touch all
    EXPECT_EQ(scan_window(1000, 8), 64u);
    EXPECT_EQ(scan_window(100, 8), 25u);
    EXPECT_EQ(scan_window(8, 8), 8u);
}

// Random work against a plain model of what must be true.
TEST(ExpertCache, StaysConsistentUnderRandomWork) {
    for (const auto policy : kAllPolicies) {
        std::mt19937 random(11);
        ExpertCache cache(12, 3, 10, policy);
        std::multiset<size_t> leased;
        std::set<size_t> flying;
        for (int step = 0; step < 20000; ++step) {
            const unsigned what = random() % 4;
            if (what == 0 && !flying.empty()) {
                const size_t slot = *std::next(flying.begin(), random() % flying.size());
                flying.erase(slot);
                if (random() % 5 == 0) {
                    const ExpertKey key = cache.key(slot);
                    cache.failed(slot);
                    ASSERT_EQ(cache.find(key.layer, key.expert), kNoSlot);
                } else {
                    cache.landed(slot);
                }
            } else if (what == 1 && !leased.empty()) {
                const auto lease = std::next(leased.begin(), random() % leased.size());
                cache.release(*lease);
                leased.erase(lease);
            } else {
                const int layer = static_cast<int>(random() % 3), expert = static_cast<int>(random() % 10);
                const size_t before = cache.find(layer, expert);
                const Lease lease = cache.take(layer, expert, random() % 3 == 0);
                if (lease.found == Found::kFull) {
                    ASSERT_EQ(before, kNoSlot);
                    for (size_t slot = 0; slot < cache.slots(); ++slot) {
                        ASSERT_TRUE(leased.count(slot) > 0 || flying.count(slot) > 0) << "slot " << slot << " was free";
                    }
                    continue;
                }
                ASSERT_EQ(lease.found == Found::kMiss, before == kNoSlot);
                if (lease.found == Found::kMiss) {
                    ASSERT_EQ(leased.count(lease.slot), 0u);
                    ASSERT_TRUE(flying.insert(lease.slot).second);
                }
                leased.insert(lease.slot);
                ASSERT_EQ(cache.find(layer, expert), lease.slot);
                ASSERT_EQ(cache.key(lease.slot), (ExpertKey{layer, expert}));
            }
            for (size_t slot = 0; slot < cache.slots(); ++slot) ASSERT_EQ(cache.leases(slot), leased.count(slot));
        }
    }
}

}  // namespace
}  // namespace sluice
