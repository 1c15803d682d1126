#include "experts/eviction.h"

#include <gtest/gtest.h>

#include "experts/expert_cache.h"

namespace sluice {
namespace {

// Uses one expert of layer 0 the way a batch of one does; returns what was found.
Found touch(ExpertCache& cache, int expert, bool scan = false) {
    BatchPlan plan;
    const std::vector<int> ids{expert};
    cache.plan(0, ids, scan, 1, plan);
    const Lease lease = plan.taken.at(0);
    if (lease.found == Found::kMiss) cache.landed(lease.slot);
    cache.release(lease.slot);
    return lease.found;
}

std::vector<int> present(const ExpertCache& cache, int experts) {
    std::vector<int> ids;
    for (int expert = 0; expert < experts; ++expert) {
        if (cache.find(0, expert) != kNoSlot) ids.push_back(expert);
    }
    return ids;
}

TEST(Lru, EvictsWhatWasUsedLongestAgo) {
    ExpertCache cache(3, 1, 8, EvictionPolicy::kLru);
    for (const int expert : {0, 1, 2, 0, 3}) touch(cache, expert);
    EXPECT_EQ(present(cache, 8), (std::vector<int>{0, 2, 3}));
    touch(cache, 4);
    EXPECT_EQ(present(cache, 8), (std::vector<int>{0, 3, 4}));
}

TEST(Lru, ScanGoesFirstAndLeavesTheWorkingSetAlone) {
    ExpertCache cache(4, 1, 16, EvictionPolicy::kLru);
    for (const int expert : {0, 1, 2}) touch(cache, expert);
    for (int expert = 8; expert < 16; ++expert) touch(cache, expert, true);
    EXPECT_EQ(present(cache, 16), (std::vector<int>{0, 1, 2, 15}));
}

TEST(FrequencyLru, KeepsWhatIsUsedOften) {
    ExpertCache cache(3, 1, 8, EvictionPolicy::kFrequencyLru);
    for (const int expert : {0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 3, 4}) touch(cache, expert);
    // LRU would hold 2, 3 and 4.
    EXPECT_EQ(present(cache, 8), (std::vector<int>{0, 1, 4}));
}

TEST(FrequencyLru, ForgetsWithTime) {
    ExpertCache cache(3, 1, 64, EvictionPolicy::kFrequencyLru);
    for (const int expert : {0, 0, 0, 0}) touch(cache, expert);
    for (int i = 0; i < 100; ++i) touch(cache, 1 + i % 2);
    touch(cache, 3);
    EXPECT_EQ(present(cache, 64), (std::vector<int>{1, 2, 3}));
}

TEST(FrequencyLru, RemembersUsesBeforeEviction) {
    ExpertCache cache(3, 1, 8, EvictionPolicy::kFrequencyLru);
    for (int i = 0; i < 30; ++i) touch(cache, 0);
    for (const int expert : {1, 1, 1, 1, 1, 2, 2, 2, 2, 2}) touch(cache, expert);
    touch(cache, 3);  // takes the place of 1: as many uses as 2, but older ones
    EXPECT_EQ(present(cache, 8), (std::vector<int>{0, 2, 3}));
    for (const int expert : {0, 0, 1}) touch(cache, expert);
    touch(cache, 4);  // 1 came back with all its uses: 2 goes, although five uses beat one
    EXPECT_EQ(present(cache, 8), (std::vector<int>{0, 1, 4}));
}

TEST(FrequencyLru, OfEqualUseTheLayerWithTheLongestWaitGoesFirst) {
    ExpertCache cache(3, 3, 4, EvictionPolicy::kFrequencyLru);
    BatchPlan plan;
    const auto use = [&](int layer, int expert) {
        const std::vector<int> ids{expert};
        cache.plan(layer, ids, false, 1, plan);
        if (plan.taken.at(0).found == Found::kMiss) cache.landed(plan.taken[0].slot);
        cache.release(plan.taken[0].slot);
    };
    for (int layer = 0; layer < 3; ++layer) use(layer, 0);
    // The next token: layer 0's turn. Its own new expert replaces its old one rather than layer 1's, which LRU would
    // take next although its turn is the nearest.
    use(0, 1);
    EXPECT_EQ(cache.find(0, 0), kNoSlot);
    EXPECT_NE(cache.find(1, 0), kNoSlot);
    use(1, 1);
    EXPECT_EQ(cache.find(1, 0), kNoSlot);
    EXPECT_NE(cache.find(2, 0), kNoSlot);
}

// Tokens of two kinds in turns, each with experts of its own in every layer; the kind shows in layer 0 alone.
class TwoKindsOfTokens {
  public:
    static constexpr int kLayers = 4, kExperts = 8;
    explicit TwoKindsOfTokens(EvictionPolicy policy) : cache_(5, kLayers, kExperts, policy) {}

    // Returns the hits.
    int token(int kind, bool scan = false) {
        int hits = 0;
        for (int layer = 0; layer < kLayers; ++layer) {
            const std::vector<int> ids{kind};
            cache_.plan(layer, ids, scan, 1, plan_);
            const Lease lease = plan_.taken.at(0);
            hits += lease.found == Found::kHit;
            if (lease.found == Found::kMiss) cache_.landed(lease.slot);
            cache_.release(lease.slot);
        }
        return hits;
    }

    // A scan of experts that are all here: none comes or goes.
    void scan_what_is_here() {
        for (int layer = 0; layer < kLayers; ++layer) {
            for (int expert = 0; expert < kExperts; ++expert) {
                if (cache_.find(layer, expert) == kNoSlot) continue;
                const std::vector<int> ids{expert};
                cache_.plan(layer, ids, true, 1, plan_);
                cache_.release(plan_.taken.at(0).slot);
            }
        }
    }

    const ExpertCache& cache() const { return cache_; }

  private:
    ExpertCache cache_;
    BatchPlan plan_;
};

// Hits of tokens [begin, end) of a sequence in which kind 1 comes after two of kind 0, again and again.
int hits_of_turns(TwoKindsOfTokens& model, int begin, int end) {
    int hits = 0;
    for (int i = begin; i < end; ++i) hits += model.token(i % 3 == 2 ? 1 : 0);
    return hits;
}

TEST(SimilarTokens, ForeseesWhatFollowsALikeToken) {
    TwoKindsOfTokens model(EvictionPolicy::kSimilarTokens);
    TwoKindsOfTokens by_frequency(EvictionPolicy::kFrequencyLru);
    // Both kinds' experts do not fit.
    hits_of_turns(model, 0, 60);
    hits_of_turns(by_frequency, 0, 60);
    EXPECT_GT(hits_of_turns(model, 60, 120), hits_of_turns(by_frequency, 60, 120));
}

TEST(SimilarTokens, AScanIsNoToken) {
    TwoKindsOfTokens alone(EvictionPolicy::kSimilarTokens), beside_scans(EvictionPolicy::kSimilarTokens);
    for (int i = 0; i < 120; ++i) {
        EXPECT_EQ(hits_of_turns(beside_scans, i, i + 1), hits_of_turns(alone, i, i + 1)) << i;
        beside_scans.scan_what_is_here();
    }
}

// A token's place is used again after 2,048 others: what stood there says nothing of the present one, whose second
// layer is still to come.
TEST(SimilarTokens, WhatWasAtATokensPlaceBeforeHasNoVote) {
    constexpr int kPlaces = 2048, kOld = 2, kLessOld = 3, kNew = 4;
    ExpertCache cache(4, 2, 8, EvictionPolicy::kSimilarTokens);
    BatchPlan plan;
    const auto use = [&](int layer, int expert) {
        const std::vector<int> ids{expert};
        cache.plan(layer, ids, false, 1, plan);
        const Lease lease = plan.taken.at(0);
        if (lease.found == Found::kMiss) cache.landed(lease.slot);
        cache.release(lease.slot);
    };
    for (int token = 0; token < kPlaces; ++token) {
        use(0, 0);
        use(1, token == 0 ? kOld : token == kPlaces / 2 ? kLessOld : 0);
    }
    use(0, kNew);
    EXPECT_EQ(cache.find(1, kOld), kNoSlot) << "it was used longest ago";
    EXPECT_NE(cache.find(1, kLessOld), kNoSlot);
}

TEST(SimilarTokens, AScanLeavesTheWorkingSetAlone) {
    TwoKindsOfTokens model(EvictionPolicy::kSimilarTokens);
    for (int i = 0; i < 20; ++i) model.token(0);
    for (int kind = 1; kind < TwoKindsOfTokens::kExperts; ++kind) model.token(kind, true);
    for (int layer = 0; layer < TwoKindsOfTokens::kLayers; ++layer)
        EXPECT_NE(model.cache().find(layer, 0), kNoSlot) << layer;
    EXPECT_EQ(model.token(0), TwoKindsOfTokens::kLayers);
}

TEST(SimilarTokens, OfEqualUseTheLayerWithTheLongestWaitGoesFirst) {
    TwoKindsOfTokens model(EvictionPolicy::kSimilarTokens);
    model.token(0);
    model.token(1);  // one slot was free: layer 0's new expert takes it, then each layer's takes its own old one's
    EXPECT_EQ(model.cache().find(1, 0), kNoSlot);
    EXPECT_NE(model.cache().find(3, 1), kNoSlot);
}

TEST(S3Fifo, OneHitWondersLeaveTheSmallQueueFirst) {
    // 10 slots: a small queue of 1, a main queue of 9.
    ExpertCache cache(10, 1, 64, EvictionPolicy::kS3Fifo);
    for (int expert = 0; expert < 10; ++expert) touch(cache, expert);
    for (const int expert : {0, 1, 2}) EXPECT_EQ(touch(cache, expert), Found::kHit);
    touch(cache, 20);  // 0, 1, 2 move to the main queue, 3 goes
    EXPECT_EQ(present(cache, 64), (std::vector<int>{0, 1, 2, 4, 5, 6, 7, 8, 9, 20}));
    for (int expert = 21; expert < 40; ++expert) touch(cache, expert);
    for (const int expert : {0, 1, 2}) EXPECT_NE(cache.find(0, expert), kNoSlot) << expert;
}

TEST(S3Fifo, WhatTheGhostRemembersEntersTheMainQueue) {
    ExpertCache cache(10, 1, 64, EvictionPolicy::kS3Fifo);
    for (int expert = 0; expert < 11; ++expert) touch(cache, expert);
    ASSERT_EQ(cache.find(0, 0), kNoSlot);
    EXPECT_EQ(touch(cache, 0), Found::kMiss);  // now in the main queue
    for (int expert = 20; expert < 60; ++expert) touch(cache, expert);
    EXPECT_NE(cache.find(0, 0), kNoSlot);
}

TEST(EveryPolicy, NeverEvictsWhatIsLeasedOrInFlight) {
    for (const auto policy : kAllPolicies) {
        ExpertCache cache(2, 1, 8, policy);
        const Lease held = cache.take(0, 0, false);
        cache.landed(held.slot);
        const Lease flying = cache.take(0, 1, false);
        EXPECT_EQ(cache.take(0, 2, false).found, Found::kFull);
        cache.release(held.slot);
        EXPECT_EQ(cache.take(0, 2, false).slot, held.slot);
        cache.release(flying.slot);  // nobody wants it, but its read still writes there
        EXPECT_EQ(cache.take(0, 3, false).found, Found::kFull);
        cache.landed(flying.slot);
        EXPECT_EQ(cache.take(0, 3, false).slot, flying.slot);
    }
}

}  // namespace
}  // namespace sluice
