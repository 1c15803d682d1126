#include "experts/expert_tiers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/error.h"
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
    ExpertTiers tiers(2, 4, 1, 8, kLru);
    for (const int expert : {0, 1, 2}) EXPECT_EQ(touch(tiers, expert), Found::kMiss);
    EXPECT_EQ(tiers.lower()->find(0, 1), kNoSlot) << "what is above alone is not below";
    EXPECT_EQ(touch(tiers, 2), Found::kHit);
    EXPECT_EQ(touch(tiers, 0), Found::kBelow);
    EXPECT_EQ(touch(tiers, 0), Found::kHit) << "it is in the upper one now";
    EXPECT_NE(tiers.lower()->find(0, 0), kNoSlot) << "and below as long as there is room";
    EXPECT_EQ(ExpertTiers(2, 0, 1, 8, kLru).lower(), nullptr);
}

TEST(ExpertTiers, ASlotInFlightHoldsWhatItIsFilledFromAndSavedTo) {
    ExpertTiers tiers(2, 2, 1, 8, kLru);
    for (int expert = 0; expert < 4; ++expert) touch(tiers, expert);
    const Lease first = tiers.take(0, 0, false);
    EXPECT_EQ(first.found, Found::kBelow);
    const size_t source = tiers.below(first.slot), saved_to = tiers.saved_to(first.slot);
    ASSERT_NE(source, kNoSlot);
    ASSERT_NE(saved_to, kNoSlot);
    EXPECT_EQ(tiers.lower()->leases(source), 1u);
    EXPECT_EQ(tiers.lower()->state(saved_to), SlotState::kInFlight);
    EXPECT_EQ(tiers.lower()->key(saved_to).expert, 2);
    const Lease second = tiers.take(0, 1, false);
    EXPECT_EQ(second.found, Found::kMiss) << "it had to go for 2";
    EXPECT_EQ(tiers.saved_to(second.slot), kNoSlot) << "and 3 finds no room";
    EXPECT_EQ(tiers.take(0, 5, false).found, Found::kFull);
    const auto [from, to] = tiers.landed_above(first.slot, true);
    EXPECT_EQ(from, source);
    EXPECT_EQ(to, saved_to);
    EXPECT_EQ(tiers.lower()->leases(source), 1u) << "it may still be copied";
    tiers.release_below(from);
    tiers.release_below(to);
    EXPECT_EQ(tiers.lower()->leases(source), 0u);
    EXPECT_EQ(tiers.lower()->state(saved_to), SlotState::kReady);
}

TEST(ExpertTiers, AFailedReadForgetsWhatItTookTheSlotFrom) {
    ExpertTiers tiers(1, 4, 1, 8, kLru);
    touch(tiers, 2);
    const Lease lease = tiers.take(0, 3, false);
    tiers.failed(lease.slot);
    tiers.release(lease.slot);
    EXPECT_FALSE(tiers.has(0, 3));
    EXPECT_FALSE(tiers.has(0, 2)) << "it was not saved";
    EXPECT_EQ(touch(tiers, 3), Found::kMiss);
}

TEST(ExpertTiers, AFailedCopyLeavesWhatIsBelow) {
    ExpertTiers tiers(1, 4, 1, 8, kLru);
    touch(tiers, 3);
    touch(tiers, 4);
    const Lease lease = tiers.take(0, 3, false);
    EXPECT_EQ(lease.found, Found::kBelow);
    tiers.failed(lease.slot);
    tiers.release(lease.slot);
    EXPECT_EQ(touch(tiers, 3), Found::kBelow);
}

TEST(ExpertTiers, WhatCouldNotBeSavedIsNotBelow) {
    ExpertTiers tiers(1, 4, 1, 8, kLru);
    touch(tiers, 3);
    const Lease lease = tiers.take(0, 4, false);
    const auto [from, to] = tiers.landed_above(lease.slot, false);
    EXPECT_EQ(to, kNoSlot);
    tiers.release_below(from);
    tiers.release(lease.slot);
    EXPECT_FALSE(tiers.has(0, 3));
    EXPECT_TRUE(tiers.has(0, 4));
}

TEST(ExpertTiers, WhatIsOnItsWayDownIsReadAgain) {
    ExpertTiers tiers(2, 4, 1, 8, kLru);
    touch(tiers, 0);
    touch(tiers, 1);
    const Lease lease = tiers.take(0, 2, false);  // 0 goes down
    const Lease again = tiers.take(0, 0, false);
    EXPECT_EQ(again.found, Found::kMiss);
    tiers.landed(lease.slot);
    tiers.landed(again.slot);
}

TEST(ExpertTiers, ABatchTakesNoPlaceBelowOfWhatItFindsThere) {
    ExpertTiers tiers(4, 6, 1, 16, kLru);
    for (int expert = 0; expert < 10; ++expert) touch(tiers, expert);
    // The oldest below are wanted, but named last.
    BatchPlan plan;
    tiers.plan(0, std::vector<int>{10, 11, 0, 1}, false, 4, plan);
    ASSERT_EQ(plan.taken.size(), 4u);
    for (const Lease& lease : plan.taken) {
        EXPECT_EQ(lease.found, lease.expert < 2 ? Found::kBelow : Found::kMiss) << lease.expert;
    }
}

// A tier is no copy of the other: nearly as many experts are here as there are slots.
TEST(ExpertTiers, HoldDifferentExperts) {
    std::mt19937 random(5);
    for (const EvictionPolicy policy : kAllPolicies) {
        for (const auto& [upper, lower] : {std::pair<size_t, size_t>{3, 9}, {5, 5}, {9, 3}}) {
            ExpertTiers tiers(upper, lower, 1, 24, policy);
            for (int i = 0; i < 2000; ++i) touch(tiers, static_cast<int>(std::min(random() % 24, random() % 24)));
            size_t here = 0;
            for (int expert = 0; expert < 24; ++expert) here += tiers.has(0, expert);
            EXPECT_GE(here, upper + lower - 1) << eviction_policy_name(policy);
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
    }
}

TEST(SimulatedTiers, ALowerOneForAllMissesEachExpertOnce) {
    const RoutingTrace trace = skewed_trace(3, 16, 2, 300);
    const uint64_t all = experts_of(trace);
    const SimulatedTiers tiers = simulate_tiers(trace, EvictionPolicy::kSimilarTokens, std::vector<uint64_t>{8, all});
    EXPECT_EQ(tiers.misses, simulate_cache(trace, kLru, all).misses);
    EXPECT_LE(tiers.misses, all);
    EXPECT_THROW(simulate_tiers(trace, kLru, std::vector<uint64_t>{8, 8, 8}), Error);
}

}  // namespace
}  // namespace sluice
