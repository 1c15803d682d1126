#include "engine/pass_plan.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace sluice::testing {
namespace {

using Taken = std::vector<size_t>;

TEST(PassPlan, TakesAsManyAsThereIsRoomFor) {
    const PassCandidate candidates[] = {{.rows = 4}, {.rows = 0}, {.rows = 5}, {.rows = 3}, {.rows = 1}};
    EXPECT_EQ(choose_for_pass(candidates, 8), (Taken{0, 3, 4}));
    EXPECT_EQ(choose_for_pass(candidates, 13), (Taken{0, 2, 3, 4}));
    EXPECT_EQ(choose_for_pass(candidates, 7), (Taken{0, 3}));
}

TEST(PassPlan, TheFirstGoesWhateverItNeeds) {
    const PassCandidate candidates[] = {{.rows = 9}, {.rows = 1}};
    EXPECT_EQ(choose_for_pass(candidates, 4), (Taken{0}));
}

TEST(PassPlan, WhoHasWaitedLongestGoesFirst) {
    const PassCandidate candidates[] = {{.rows = 4, .last_pass = 7}, {.rows = 4, .last_pass = 5}};
    EXPECT_EQ(choose_for_pass(candidates, 6), (Taken{1}));
}

TEST(PassPlan, NobodyWaitsForMorePassesThanThereAreOthers) {
    for (const int64_t room : {1, 16, 70, 528}) {
        std::vector<PassCandidate> candidates;
        for (const int64_t rows : {512, 1, 1, 512, 40, 1, 300, 1, 1, 1, 17, 1}) candidates.push_back({.rows = rows});
        for (uint64_t pass = 1; pass < 200; ++pass) {
            const Taken taken = choose_for_pass(candidates, room);
            ASSERT_FALSE(taken.empty());
            int64_t rows = 0;
            for (const size_t i : taken) {
                rows += candidates[i].rows;
                candidates[i].last_pass = pass;
            }
            EXPECT_TRUE(rows <= room || taken.size() == 1) << rows << " of " << room;
            for (const PassCandidate& each : candidates) EXPECT_LE(pass - each.last_pass, candidates.size());
        }
    }
}

// As docs promise: a chunk leaves room for others who decode.
TEST(PassPlan, ThoseWhoDecodeGoBesideAChunk) {
    std::vector<PassCandidate> candidates(16, {.rows = 1, .last_pass = 3});
    candidates.push_back({.rows = 512, .last_pass = 3});
    EXPECT_EQ(choose_for_pass(candidates, pass_rows(512)).size(), 17u);
}

}  // namespace
}  // namespace sluice::testing
