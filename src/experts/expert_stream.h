#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <vector>

#include "device/buffer.h"
#include "device/event.h"

namespace sluice {

class ExpertStore;
class HeldExpert;

// The experts that one batch needs of one layer, delivered as they become available: hits first, then misses as their
// reads land. All misses that slots allow are issued at once (of a scan: scan_window() at a time); the rest as slots
// are given back. One thread. Destroying the stream cancels reads that nobody else waits for; what it handed out stays.
//
// While it waits in next(), a caller may hold at most min(distinct ids, experts_per_token) experts of each stream; what
// is beyond must be given back first. Each stream is promised that many slots before it takes any, and streams that
// cannot be promised theirs wait in the order they came. So any number of streams in any number of threads get through
// a cache of floor_bytes(); a thread that holds experts of one stream while it waits for another one needs room for
// both.
class ExpertStream {
  public:
    ExpertStream(ExpertStream&&) noexcept;
    ~ExpertStream();
    // What is ready and was not returned yet; blocks until there is something; empty when all have been returned.
    std::vector<HeldExpert> next();
    // Whether the drive still has something to bring. When it has not, it stands idle unless something is hinted.
    bool reading() const;
    // Whether it has been promised its slots, so that it gets through whatever others hold.
    bool admitted() const;

    struct Impl;

  private:
    friend class ExpertStore;
    explicit ExpertStream(std::shared_ptr<Impl> impl);
    std::shared_ptr<Impl> impl_;
};

// An expert that is in memory and stays there as long as this, or as what keep_until() was told. It may outlive its
// stream, but not the store.
class HeldExpert {
  public:
    HeldExpert(HeldExpert&&) noexcept;
    HeldExpert& operator=(HeldExpert&&) noexcept;
    ~HeldExpert() { keep_until(nullptr); }

    int expert() const { return expert_; }
    size_t index() const { return index_; }  // in the ids that were asked for
    size_t slot() const { return slot_; }    // of the layer's memory
    // Set: the read failed and there is no record; only this expert is affected.
    const std::exception_ptr& error() const { return error_; }
    const BufferPtr& record() const { return record_; }
    // Operations that read the record must begin after it (Queue::after); null: at once.
    const EventPtr& arrived() const { return arrived_; }

    // The caller has handed over all operations that read the record; they are finished when `use` is done (null: now).
    // The slot is not filled with another before. The expert stays cached. Ends the hold: once.
    void keep_until(EventPtr use);

  private:
    friend class ExpertStore;
    HeldExpert(int expert, size_t index) : expert_(expert), index_(index) {}

    int expert_ = 0;
    size_t index_ = 0;
    size_t slot_ = 0;
    std::shared_ptr<ExpertStream::Impl> stream_;  // null: nothing is held
    BufferPtr record_;
    EventPtr arrived_;
    std::exception_ptr error_;
};

}  // namespace sluice
