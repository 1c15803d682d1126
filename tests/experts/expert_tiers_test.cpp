#include "experts/expert_tiers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <random>

#include "experts/cache_simulator.h"

namespace sluice {
namespace {

constexpr EvictionPolicy kLru = EvictionPolicy::kLru;

// Asks for one expert of layer 0, waits for it and gives it back.
Found touch(ExpertTiers& tiers, int expert) {
    const Lease lease = tiers.take(0, expert, false);
    if (lease.found != Found::kHit) tiers.landed(lease.slot);
    tiers.release(lease.slot);
    return lease.found;
}

TEST(ExpertTiers, WhatTheUpperOneEvictsIsBelow) {
    ExpertTiers tiers(std::vector<size_t>{2, 4}, 1, 8, kLru);
    for (const int expert : {0, 1, 2}) EXPECT_EQ(touch(tiers, expert), Found::kMiss);
    EXPECT_EQ(touch(tiers, 2), Found::kHit);
    EXPECT_EQ(touch(tiers, 0), Found::kBelow);
    EXPECT_EQ(touch(tiers, 0), Found::kHit) << "it is in the upper one now";
    EXPECT_NE(tiers.lower()->top().find(0, 0), kNoSlot) << "and below still";
    EXPECT_EQ(tiers.lower()->lower(), nullptr);
}

TEST(ExpertTiers, ASlotInFlightHoldsItsSourceBelow) {
    ExpertTiers tiers(std::vector<size_t>{2, 2}, 1, 8, kLru);
    touch(tiers, 0);
    touch(tiers, 1);
    touch(tiers, 2);  // 0 is gone from both
    const Lease first = tiers.take(0, 0, false);
    EXPECT_EQ(first.found, Found::kMiss);
    const Lease second = tiers.take(0, 1, false);
    EXPECT_EQ(second.found, Found::kMiss);
    EXPECT_NE(tiers.below(first.slot), kNoSlot);
    EXPECT_EQ(tiers.lower()->top().leases(tiers.below(first.slot)), 1u);
    EXPECT_EQ(tiers.lower()->top().state(tiers.below(first.slot)), SlotState::kInFlight);
    EXPECT_EQ(tiers.take(0, 5, false).found, Found::kFull);
    const size_t source = tiers.below(first.slot);
    tiers.landed(first.slot);
    EXPECT_EQ(tiers.lower()->top().leases(source), 0u);
    EXPECT_EQ(tiers.lower()->top().state(source), SlotState::kReady);
    EXPECT_EQ(tiers.below(first.slot), kNoSlot);
}

TEST(ExpertTiers, AFailedReadLeavesBothEmpty) {
    ExpertTiers tiers(std::vector<size_t>{2, 4}, 1, 8, kLru);
    const Lease lease = tiers.take(0, 3, false);
    tiers.failed(lease.slot);
    tiers.release(lease.slot);
    EXPECT_EQ(tiers.top().find(0, 3), kNoSlot);
    EXPECT_EQ(tiers.lower()->top().find(0, 3), kNoSlot);
    EXPECT_EQ(touch(tiers, 3), Found::kMiss);
}

TEST(ExpertTiers, AFailedCopyLeavesWhatIsBelow) {
    ExpertTiers tiers(std::vector<size_t>{1, 4}, 1, 8, kLru);
    touch(tiers, 3);
    touch(tiers, 4);
    const Lease lease = tiers.take(0, 3, false);
    EXPECT_EQ(lease.found, Found::kBelow);
    tiers.failed(lease.slot);
    tiers.release(lease.slot);
    EXPECT_EQ(touch(tiers, 3), Found::kBelow);
}

TEST(ExpertTiers, WithNoRoomBelowARecordComesToTheUpperOneAlone) {
    ExpertTiers tiers(std::vector<size_t>{3, 1}, 1, 8, kLru);
    const Lease first = tiers.take(0, 0, false);
    const Lease second = tiers.take(0, 1, false);
    EXPECT_EQ(second.found, Found::kMiss);
    EXPECT_EQ(tiers.below(second.slot), kNoSlot);
    tiers.landed(second.slot);
    tiers.landed(first.slot);
    EXPECT_EQ(tiers.take(0, 1, false).found, Found::kHit);
    EXPECT_EQ(tiers.lower()->top().find(0, 1), kNoSlot);
}

TEST(ExpertTiers, ABatchTakesNoPlaceBelowOfWhatItFindsThere) {
    ExpertTiers tiers(std::vector<size_t>{4, 6}, 1, 16, kLru);
    for (int expert = 0; expert < 6; ++expert) touch(tiers, expert);
    // The oldest below are wanted, but named last.
    BatchPlan plan;
    tiers.plan(0, std::vector<int>{6, 7, 0, 1}, false, 4, plan);
    ASSERT_EQ(plan.taken.size(), 4u);
    for (const Lease& lease : plan.taken) {
        EXPECT_EQ(lease.found, lease.expert < 2 ? Found::kBelow : Found::kMiss) << lease.expert;
    }
}

// Two lists, each in the order of its last use.
class TwoLists {
  public:
    TwoLists(size_t upper, size_t lower) : sizes_{upper, lower} {}
    Found touch(int expert) {
        if (use(0, expert)) return Found::kHit;
        return use(1, expert) ? Found::kBelow : Found::kMiss;
    }

  private:
    bool use(size_t tier, int expert) {
        std::list<int>& list = lists_[tier];
        const auto found = std::ranges::find(list, expert);
        const bool there = found != list.end();
        if (there) {
            list.erase(found);
        } else if (list.size() == sizes_[tier]) {
            list.pop_front();
        }
        list.push_back(expert);
        return there;
    }

    size_t sizes_[2];
    std::list<int> lists_[2];
};

TEST(ExpertTiers, AgreeWithTwoLists) {
    std::mt19937 random(5);
    for (const auto& [upper, lower] : {std::pair<size_t, size_t>{3, 9}, {5, 5}, {9, 3}}) {
        ExpertTiers tiers(std::vector<size_t>{upper, lower}, 1, 24, kLru);
        TwoLists lists(upper, lower);
        for (int i = 0; i < 3000; ++i) {
            const int expert = static_cast<int>(std::min(random() % 24, random() % 24));
            ASSERT_EQ(touch(tiers, expert), lists.touch(expert)) << "touch " << i;
        }
    }
}

RoutingTrace skewed_trace(int layers, int experts, int top_k, int tokens) {
    std::mt19937 random(8);
    RoutingTrace trace(layers, experts, top_k);
    for (int32_t token = 0; token < tokens; ++token) {
        for (int layer = 0; layer < layers; ++layer) {
            std::vector<int32_t> ids;
            while (ids.size() < static_cast<size_t>(top_k)) {
                const auto bound = static_cast<unsigned>(experts);
                const auto id = static_cast<int32_t>(std::min(random() % bound, random() % bound));
                if (std::ranges::find(ids, id) == ids.end()) ids.push_back(id);
            }
            trace.append(layer, ids, {&token, 1});
        }
    }
    return trace;
}

TEST(SimulatedTiers, TheUpperOneDoesAsItDoesAlone) {
    const RoutingTrace trace = skewed_trace(4, 32, 4, 200);
    for (const EvictionPolicy policy : kAllPolicies) {
        const SimulatedCache alone = simulate_cache(trace, policy, 16);
        const SimulatedTiers tiers = simulate_tiers(trace, policy, std::vector<uint64_t>{16, 64});
        EXPECT_EQ(tiers.hits[0], alone.hits) << tiers.policy;
        EXPECT_EQ(tiers.hits[1] + tiers.misses, alone.misses) << tiers.policy;
        EXPECT_GT(tiers.hits[1], 0u) << tiers.policy;
        const SimulatedTiers three = simulate_tiers(trace, policy, std::vector<uint64_t>{16, 64, 128});
        EXPECT_EQ(three.hits[1], tiers.hits[1]) << tiers.policy;
        EXPECT_EQ(three.hits[2] + three.misses, tiers.misses) << tiers.policy;
    }
}

TEST(SimulatedTiers, ALowerOneForAllMissesEachExpertOnce) {
    const RoutingTrace trace = skewed_trace(3, 16, 2, 300);
    const uint64_t all = experts_of(trace);
    const SimulatedTiers tiers = simulate_tiers(trace, EvictionPolicy::kSimilarTokens, std::vector<uint64_t>{8, all});
    EXPECT_EQ(tiers.misses, simulate_cache(trace, kLru, all).misses);
    EXPECT_LE(tiers.misses, all);
}

}  // namespace
}  // namespace sluice
