#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "experts/eviction.h"
#include "experts/slot_place.h"

namespace sluice {

// Whose wish a read is: a stream's, a hint of what will be asked for, or the warm start's.
enum class ReadFor : uint8_t { kDemand, kHint, kWarm };

// What should be read although nobody has asked for it, and which slots hold or await such experts. Bookkeeping alone.
//
// Hints and the warm start are read only while no read is demanded, a few at a time, since one that has started delays
// the demanded read that comes after it.
class Wishes {
  public:
    explicit Wishes(std::span<const size_t> slots_of_pools);

    // The next ones first, in place of those named before.
    void hint(std::span<const ExpertKey> experts) { hints_.assign(experts.rbegin(), experts.rend()); }
    void drop_hints() { hints_.clear(); }
    // A stream of the layer has said what it wants. Returns hinted reads that it does not, so far.
    SlotPlaces end_hints(int layer);
    std::optional<ExpertKey> next_hint() const;
    void take_hint() { hints_.pop_back(); }

    // The most wanted first, in place of those named before.
    void warm(std::span<const ExpertKey> experts);
    void go_on_warming();
    // Somebody evaluates. Returns the reads that should be put off.
    SlotPlaces pause_warming();
    void stop_warming();
    std::optional<ExpertKey> next_warm() const;
    void take_warm() { warm_.pop_back(); }

    // A read has begun. `listed`: it came from the lists above, so that it counts against their limits.
    void begin(SlotPlace place, ExpertKey key, ReadFor wish, bool listed);
    // A stream waits for it.
    void demand(SlotPlace place);
    // A stream asks for what the slot holds or awaits. Returns whose wish it was, once.
    ReadFor grant(SlotPlace place);
    // The read is over. Returns whether it was one of the warm start's.
    bool end(SlotPlace place, bool failed, bool cancelled);

    size_t unasked() const { return hint_reads_.size() + warm_reads_.size(); }  // reads under way, of the lists

  private:
    // The warm start: paused since a stream was opened, over when a read of it has failed or the store ends.
    enum class Warming : uint8_t { kOver, kPaused, kGoesOn };
    struct Slot {
        ExpertKey key;
        ReadFor wish = ReadFor::kDemand;  // until somebody has asked for it
        bool demanded = false;            // counted in demanded_
    };

    Slot& at(SlotPlace place) { return slots_[place.pool][place.slot]; }
    SlotPlaces ungranted(const SlotPlaces& reads, ReadFor wish) const;

    std::vector<std::vector<Slot>> slots_;  // [pools][slots]
    std::vector<ExpertKey> hints_, warm_;   // to be read, the next one last
    SlotPlaces hint_reads_, warm_reads_;
    Warming warming_ = Warming::kOver;
    size_t demanded_ = 0;  // reads under way that streams wait for
};

}  // namespace sluice
