#include "experts/admission.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

StreamShare share_of(size_t promised, size_t window) {
    StreamShare share;
    share.promised = promised;
    share.window = window;
    return share;
}

// A stream that came, was admitted and took so many.
void take(Admission& admission, StreamShare& share, size_t leases, bool waiting) {
    share.leases += leases;
    admission.settle(share, waiting);
}

TEST(Admission, PromisesNoMoreThanThereIs) {
    Admission admission(8);
    StreamShare first = share_of(4, 16), second = share_of(4, 16), third = share_of(4, 16);
    for (StreamShare* share : {&first, &second, &third}) admission.arrive(*share);
    EXPECT_TRUE(admission.can_admit(first));
    EXPECT_EQ(admission.admit(first, false), 4u) << "others came later: its promise and no more";
    take(admission, first, 4, true);
    EXPECT_TRUE(admission.can_admit(second));
    admission.admit(second, false);
    take(admission, second, 1, true);
    EXPECT_EQ(admission.reserved(), 8u) << "what it was promised counts before it has it";
    EXPECT_FALSE(admission.can_admit(third));
    take(admission, first, -size_t{4}, false);
    EXPECT_EQ(admission.reserved(), 4u);
    EXPECT_TRUE(admission.can_admit(third));
}

TEST(Admission, TheLastOneTakesWhatNobodyWasPromised) {
    Admission admission(10);
    StreamShare scan = share_of(4, 6), wide = share_of(4, 100);
    admission.arrive(scan);
    EXPECT_EQ(admission.admit(scan, true), 6u) << "its window";
    take(admission, scan, 2, true);
    admission.arrive(wide);
    EXPECT_EQ(admission.admit(wide, true), 6u) << "all but the promised";
    take(admission, wide, 6, true);
    EXPECT_EQ(admission.room(wide), 6u);
    EXPECT_EQ(admission.room(scan), 4u);
    take(admission, scan, -size_t{2}, false);
    EXPECT_EQ(admission.room(wide), 10u);
}

TEST(Admission, KnowsWhetherAnyoneWaits) {
    Admission admission(8);
    StreamShare share = share_of(2, 2);
    EXPECT_FALSE(admission.anyone_waits());
    admission.arrive(share);
    EXPECT_TRUE(admission.anyone_waits());
    admission.admit(share, true);
    take(admission, share, 1, true);
    EXPECT_TRUE(admission.anyone_waits());
    take(admission, share, 1, false);
    EXPECT_FALSE(admission.anyone_waits());
}

TEST(Admission, WhoLeavesKeepsWhatItHolds) {
    Admission admission(8);
    StreamShare share = share_of(4, 8);
    admission.arrive(share);
    admission.admit(share, true);
    take(admission, share, 3, true);
    EXPECT_EQ(admission.reserved(), 4u);
    admission.leave(share);
    EXPECT_FALSE(admission.anyone_waits());
    EXPECT_EQ(admission.reserved(), 3u);
    take(admission, share, -size_t{3}, false);
    EXPECT_EQ(admission.reserved(), 0u);
}

TEST(Admission, SparesTheSlotsOfTheNextToken) {
    Admission admission(10);
    EXPECT_EQ(admission.spare(4), 6u);
    StreamShare share = share_of(4, 4);
    admission.arrive(share);
    take(admission, share, 0, true);
    EXPECT_EQ(admission.spare(4), 2u);
    admission.set_slots(8);
    EXPECT_EQ(admission.spare(4), 0u);
    admission.set_slots(3);
    EXPECT_EQ(admission.spare(4), 0u);
}

}  // namespace
}  // namespace sluice
