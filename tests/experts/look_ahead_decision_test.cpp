#include "experts/look_ahead.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

using Reason = LookAhead::Reason;

constexpr DriveUse kPays{.wall = 1, .busy = 0.5, .wasted = 0, .waited = 0.2};

struct Case {
    When mode = When::kAuto;
    bool everything_cached = false;
    DriveUse use = kPays;
    BatchShape shape = {};
    bool hints = false;
    Reason reason = Reason::kOff;
};

TEST(LookAheadDecision, NamesItsReason) {
    const Case cases[] = {
        {.mode = When::kOff, .reason = Reason::kOff},
        {.mode = When::kOff, .shape = {.rows = 512}, .reason = Reason::kOff},
        {.hints = true, .reason = Reason::kWaitsAreFelt},
        {.shape = {.rows = 4, .sequences = 4}, .hints = true, .reason = Reason::kWaitsAreFelt},
        {.shape = {.rows = 5, .sequences = 5}, .reason = Reason::kManySequences},
        {.mode = When::kOn, .shape = {.rows = 5, .sequences = 5}, .reason = Reason::kManySequences},
        {.shape = {.last_layer = true}, .reason = Reason::kLastLayer},
        {.everything_cached = true, .reason = Reason::kEverythingCached},
        {.mode = When::kOn, .everything_cached = true, .reason = Reason::kEverythingCached},
        {.mode = When::kOn, .use = {}, .hints = true, .reason = Reason::kOn},
        {.shape = {.rows = 63}, .reason = Reason::kShortPrompt},
        {.use = {}, .shape = {.rows = 64}, .hints = true, .reason = Reason::kLongPrompt},
        {.shape = {.rows = 64, .last_layer = true}, .reason = Reason::kLastLayer},
        {.use = {}, .reason = Reason::kDriveBusy},
        {.use = {.wall = 1, .busy = 0.66, .wasted = 0, .waited = 0.2}, .reason = Reason::kDriveBusy},
        {.use = {.wall = 1, .busy = 0.9, .wasted = 0.3, .waited = 0.2}, .hints = true, .reason = Reason::kWaitsAreFelt},
        {.use = {.wall = 1, .busy = 0.5, .wasted = 0, .waited = 0.06}, .reason = Reason::kWaitsAreShort},
    };
    for (const Case& c : cases) {
        const LookAhead::Decision decision = LookAhead(c.mode, c.everything_cached).decide(c.use, c.shape);
        EXPECT_EQ(decision.hints, c.hints) << "case " << &c - cases;
        EXPECT_EQ(decision.reason, c.reason) << "case " << &c - cases;
    }
}

TEST(LookAheadDecision, AsksTheDriveOnlyWhereItSaysSomething) {
    const LookAhead automatic(When::kAuto, false);
    EXPECT_TRUE(automatic.depends_on_use({.rows = 4, .sequences = 4}));
    EXPECT_FALSE(automatic.depends_on_use({.rows = 5, .sequences = 5}));
    EXPECT_FALSE(automatic.depends_on_use({.rows = 64}));
    EXPECT_FALSE(automatic.depends_on_use({.last_layer = true}));
    EXPECT_FALSE(LookAhead(When::kAuto, true).depends_on_use({}));
    EXPECT_FALSE(LookAhead(When::kOn, false).depends_on_use({}));
}

TEST(DriveMeter, MeasuresWholeStretches) {
    DriveMeter meter;
    for (int i = 0; i < 4; ++i) meter.read_began(i > 0);
    meter.hint_granted();
    for (int i = 0; i < 4; ++i) meter.read_ended();
    for (int layer = 0; layer < 255; ++layer) meter.layer_begins(1.0);
    EXPECT_EQ(meter.last().wall, 0) << "the stretch is not complete";
    meter.layer_begins(3.0);
    const DriveUse use = meter.last();
    EXPECT_GT(use.busy, 0);
    EXPECT_GE(use.wall, use.busy);
    EXPECT_DOUBLE_EQ(use.wasted, use.busy * 2 / 4) << "two hints of four reads were not asked for";
    EXPECT_DOUBLE_EQ(use.waited, 3.0 + use.busy * 1 / 4) << "what a granted hint saved would have been waited for";
    for (int layer = 0; layer < 255; ++layer) meter.layer_begins(4.0);
    meter.restart(4.0);
    meter.layer_begins(4.5);
    EXPECT_EQ(meter.last().waited, use.waited) << "what was cut short does not count";
}

}  // namespace
}  // namespace sluice
