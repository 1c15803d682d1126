#include "experts/wishes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "experts/landings.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;

constexpr size_t kSlots[] = {8, 8};

struct WishesTest : ::testing::Test {
    // Begins the reads of all hints that may be under way, in slots 0, 1, ... of pool 0. Returns how many.
    size_t begin_hints() {
        size_t begun = 0;
        for (; const auto key = wishes.next_hint(); ++begun) {
            wishes.take_hint();
            wishes.begin({0, begun}, *key, ReadFor::kHint, true);
        }
        return begun;
    }
    size_t begin_warm() {
        size_t begun = 0;
        for (; const auto key = wishes.next_warm(); ++begun) {
            wishes.take_warm();
            wishes.begin({1, begun}, *key, ReadFor::kWarm, true);
        }
        return begun;
    }

    Wishes wishes{kSlots};
};

TEST_F(WishesTest, TheFirstNamedIsNext) {
    wishes.hint(std::vector<ExpertKey>{{1, 5}, {1, 7}});
    EXPECT_EQ(wishes.next_hint(), (ExpertKey{1, 5}));
    wishes.take_hint();
    EXPECT_EQ(wishes.next_hint(), (ExpertKey{1, 7}));
    wishes.hint(std::vector<ExpertKey>{{2, 1}});
    EXPECT_EQ(wishes.next_hint(), (ExpertKey{2, 1})) << "in place of those named before";
    wishes.warm(std::vector<ExpertKey>{{0, 3}, {0, 4}});
    EXPECT_EQ(wishes.next_warm(), (ExpertKey{0, 3}));
}

TEST_F(WishesTest, AFewAreUnderWayAtOnce) {
    wishes.hint(std::vector<ExpertKey>(6, {1, 5}));
    wishes.warm(std::vector<ExpertKey>(6, {0, 3}));
    EXPECT_EQ(begin_hints(), 4u);
    EXPECT_EQ(begin_warm(), 4u);
    EXPECT_EQ(wishes.unasked(), 8u);
    EXPECT_FALSE(wishes.end({0, 1}, false, false));
    EXPECT_TRUE(wishes.end({1, 2}, false, false)) << "one of the warm start's";
    EXPECT_EQ(wishes.unasked(), 6u);
    EXPECT_TRUE(wishes.next_hint().has_value());
    EXPECT_TRUE(wishes.next_warm().has_value());
}

TEST_F(WishesTest, NothingIsNextWhileAReadIsDemanded) {
    wishes.hint(std::vector<ExpertKey>{{1, 5}});
    wishes.warm(std::vector<ExpertKey>{{0, 3}});
    wishes.begin({0, 6}, {0, 1}, ReadFor::kDemand, false);
    wishes.demand({0, 6});
    wishes.demand({0, 6});  // by two
    EXPECT_FALSE(wishes.next_hint());
    EXPECT_FALSE(wishes.next_warm());
    wishes.end({0, 6}, false, false);
    EXPECT_TRUE(wishes.next_hint().has_value());
    EXPECT_TRUE(wishes.next_warm().has_value());
}

TEST_F(WishesTest, AWishIsGrantedOnce) {
    wishes.hint(std::vector<ExpertKey>{{1, 5}});
    begin_hints();
    EXPECT_EQ(wishes.grant({0, 0}), ReadFor::kHint);
    EXPECT_EQ(wishes.grant({0, 0}), ReadFor::kDemand);
}

TEST_F(WishesTest, ALayerThatCameEndsItsHints) {
    wishes.hint(std::vector<ExpertKey>{{1, 5}, {2, 3}, {1, 6}, {2, 4}, {1, 7}, {2, 8}});
    begin_hints();
    wishes.grant({0, 0});
    EXPECT_THAT(wishes.end_hints(1), ElementsAre(SlotPlace{0, 2})) << "not the granted one, nor the other layer's";
    wishes.end({0, 0}, false, false);
    EXPECT_EQ(wishes.next_hint(), (ExpertKey{2, 8})) << "{1, 7} is forgotten";
}

TEST_F(WishesTest, TheWarmStartIsPutOffAndGoesOn) {
    wishes.warm(std::vector<ExpertKey>{{0, 1}, {0, 2}, {0, 3}, {0, 4}, {0, 5}});
    begin_warm();
    wishes.grant({1, 3});
    EXPECT_THAT(wishes.pause_warming(), ElementsAre(SlotPlace{1, 0}, SlotPlace{1, 1}, SlotPlace{1, 2}));
    wishes.end({1, 0}, false, true);
    EXPECT_FALSE(wishes.next_warm());
    wishes.go_on_warming();
    EXPECT_EQ(wishes.next_warm(), (ExpertKey{0, 1})) << "what was cancelled comes back";
}

TEST_F(WishesTest, AFailureEndsTheWarmStart) {
    wishes.warm(std::vector<ExpertKey>{{0, 1}, {0, 2}, {0, 3}, {0, 4}, {0, 5}});
    begin_warm();
    wishes.end({1, 0}, true, false);
    wishes.end({1, 1}, false, true);
    wishes.go_on_warming();
    EXPECT_FALSE(wishes.next_warm());
}

TEST_F(WishesTest, AFailedHintEndsNothing) {
    wishes.hint(std::vector<ExpertKey>(5, {1, 5}));
    begin_hints();
    wishes.end({0, 0}, true, false);
    EXPECT_TRUE(wishes.next_hint().has_value());
}

class HandEvent final : public Event {
  public:
    bool done() const override { return done_; }
    void wait() override {}
    void finish() { done_ = true; }

  private:
    bool done_ = false;
};

TEST(Landings, AreFreeOnceTheRecordIsInItsSlot) {
    Landings landings(2);
    const size_t first = landings.take();
    const size_t second = landings.take();
    EXPECT_NE(first, second);
    EXPECT_EQ(landings.take(), kNoSlot);
    const auto arrived = std::make_shared<HandEvent>();
    landings.give_back(first, arrived);
    EXPECT_EQ(landings.take(), kNoSlot);
    arrived->finish();
    EXPECT_EQ(landings.take(), first);
    landings.give_back(second, nullptr);
    EXPECT_EQ(landings.take(), second);
}

}  // namespace
}  // namespace sluice
