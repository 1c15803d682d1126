#pragma once

#include <cstddef>
#include <cstdint>

#include "base/clock.h"
#include "sluice/choices.h"

namespace sluice {

// What the drive and those who wait for it did in a stretch of decoding, in seconds. All zero: not measured yet.
struct DriveUse {
    double wall = 0;
    double busy = 0;    // with a read under way
    double wasted = 0;  // of busy, for hints that nobody has asked for
    double waited = 0;  // for reads, had there been no hints
};

// The rows of a forward pass, at the layer that is about to run.
struct BatchShape {
    int64_t rows = 1;
    int64_t sequences = 1;
    bool last_layer = false;

    // Whether a sequence brings more than the one token of a step of decoding.
    bool is_prompt() const { return rows > sequences; }
};

// Whether a layer should guess the next one's experts and hint at them. A wrong hint costs time of the drive, and
// guessing costs time of the processor. The limits are from measurements: docs/experiments.md.
class LookAhead {
  public:
    enum class Reason : uint8_t {
        kOff,               // by the options
        kEverythingCached,  // there is a slot for every expert
        kLastLayer,         // nothing follows
        kManySequences,     // they miss so often that the drive has no idle time, and their guesses crowd the cache
        kShortPrompt,       // too few rows name too many experts
        kDriveBusy,         // with what is needed; also before anything was measured
        kWaitsAreShort,     // nothing to be gained would be felt
        kWaitsAreFelt,      // and the drive has time to spare
        kLongPrompt,        // nearly all experts are needed anyway
        kOn,                // by the options
    };
    struct Decision {
        bool hints = false;
        Reason reason = Reason::kOff;
    };

    LookAhead(When mode, bool everything_cached) : mode_(mode), everything_cached_(everything_cached) {}

    Decision decide(const DriveUse& use, const BatchShape& shape) const;
    // Whether the decision depends on the drive's use.
    bool depends_on_use(const BatchShape& shape) const;

    bool off() const { return mode_ == When::kOff; }
    bool may_help() const { return mode_ == When::kOn || (mode_ == When::kAuto && !everything_cached_); }

  private:
    Decision by_use(const DriveUse& use) const;

    When mode_;
    bool everything_cached_;
};

// Measures DriveUse, stretch by stretch.
class DriveMeter {
  public:
    void read_began(bool hint);
    void read_ended();
    void hint_granted() { wasted_ -= wasted_ > 0 ? 1 : 0; }
    // A layer of decoding begins; `stalled`: seconds that streams have waited since the start.
    void layer_begins(double stalled);
    // What was measured of the present stretch does not count.
    void restart(double stalled);
    const DriveUse& last() const { return last_; }  // of the last stretch that was completed

  private:
    DriveUse last_;
    Stopwatch wall_;
    Stopwatch busy_;           // since the first of the reads now under way began
    double busy_seconds_ = 0;  // with a read under way, of those that are over
    size_t under_way_ = 0;
    uint64_t reads_ = 0, hints_ = 0, wasted_ = 0;  // that began; of them hints; of those not asked for so far
    double stalled_before_ = 0;
    int layers_ = 0;
};

}  // namespace sluice
