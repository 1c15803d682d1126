#include "experts/look_ahead.h"

#include <algorithm>

namespace sluice {

namespace {

// Above this share of the time in which the drive reads what is needed, and below this one that is waited or was saved
// by hints, look-ahead loses.
constexpr double kBusyShare = 0.65;
constexpr double kWaitShare = 0.06;
// Layers of a stretch: some tokens.
constexpr int kStretchLayers = 256;
constexpr int64_t kMostSequences = 4;
// Tokens of a prompt from which on most experts that a part of them names are needed.
constexpr int64_t kLongPromptRows = 64;

}  // namespace

bool LookAhead::depends_on_use(const BatchShape& shape) const {
    return mode_ == When::kAuto && !everything_cached_ && !shape.last_layer && !shape.is_prompt() &&
           shape.rows <= kMostSequences;
}

LookAhead::Decision LookAhead::decide(const DriveUse& use, const BatchShape& shape) const {
    if (off()) return {false, Reason::kOff};
    if (shape.last_layer) return {false, Reason::kLastLayer};
    if (shape.is_prompt()) {
        if (shape.rows < kLongPromptRows) return {false, Reason::kShortPrompt};
        return {true, Reason::kLongPrompt};
    }
    if (shape.rows > kMostSequences) return {false, Reason::kManySequences};
    if (everything_cached_) return {false, Reason::kEverythingCached};
    if (mode_ == When::kOn) return {true, Reason::kOn};
    return by_use(use);
}

LookAhead::Decision LookAhead::by_use(const DriveUse& use) const {
    if (use.busy - use.wasted >= kBusyShare * use.wall) return {false, Reason::kDriveBusy};
    if (use.waited <= kWaitShare * use.wall) return {false, Reason::kWaitsAreShort};
    return {true, Reason::kWaitsAreFelt};
}

void DriveMeter::read_began(bool hint) {
    if (under_way_++ == 0) busy_.restart();
    ++reads_;
    hints_ += hint;
    wasted_ += hint;
}

void DriveMeter::read_ended() {
    if (--under_way_ == 0) busy_seconds_ += busy_.seconds();
}

void DriveMeter::layer_begins(double stalled) {
    if (++layers_ < kStretchLayers) return;
    const double busy = busy_seconds_ + (under_way_ > 0 ? busy_.seconds() : 0.0);
    const double per_read = busy / static_cast<double>(std::max<uint64_t>(reads_, 1));
    const double wasted = per_read * static_cast<double>(wasted_);
    const double saved = per_read * static_cast<double>(hints_) - wasted;
    last_ = {.wall = wall_.seconds(), .busy = busy, .wasted = wasted, .waited = stalled - stalled_before_ + saved};
    restart(stalled);
}

void DriveMeter::restart(double stalled) {
    wall_.restart();
    busy_.restart();
    busy_seconds_ = 0;
    reads_ = hints_ = wasted_ = 0;
    stalled_before_ = stalled;
    layers_ = 0;
}

}  // namespace sluice
