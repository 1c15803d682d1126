#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "device/event.h"
#include "device/slot_memory.h"
#include "experts/eviction.h"
#include "experts/expert_catalogue.h"
#include "experts/hot_list.h"
#include "experts/reader.h"
#include "sluice/expert_counters.h"

namespace sluice {

// Whether what look_ahead() names is read: never, while it pays (waits are noticeable and the drive has time to spare),
// or always.
enum class LookAhead { kOff, kAuto, kOn };

struct ExpertStoreOptions {
    uint64_t cache_bytes = 0;  // for all slots together; the slots are made once, at construction
    ReaderKind reader = ReaderKind::kAuto;
    DirectIo direct_io = DirectIo::kAuto;
    EvictionPolicy policy = EvictionPolicy::kSimilarTokens;
    size_t read_threads = 0;         // or the depth of the queue; 0: chosen by the reader
    bool verify_checksums = true;    // of packed records, when they are first read
    bool verify_every_read = false;  // of packed records, whenever they are read
    LookAhead look_ahead = LookAhead::kOff;
    double stall_seconds_allowed = 60;  // a read that lands later is an error for those who wait for it
};

// Where decoding must not be disturbed by a long prompt: see EvictionOrder.
enum class ExpertUse {
    kAuto,      // a scan when the batch touches most experts of the layer (is_scan)
    kRepeated,  // what is used now will be used again soon
    kScan,      // passes by once
};

// An expert that is in memory and held there by the stream that returned it.
struct ReadyExpert {
    int expert = 0;
    size_t pool = 0;  // index of the SlotMemory (one per record size)
    size_t slot = 0;
    // Set: the read failed, slot is meaningless, only this expert is affected.
    std::exception_ptr error = nullptr;
};

class ExpertStore;
class ExpertStoreCore;

// The experts that one batch needs of one layer, delivered as they become available: hits first, then misses as their
// reads land. All misses that slots allow are issued at once (of a scan: scan_window() at a time); the rest as slots
// are released. One thread. Destroying the stream releases what it holds and cancels reads that nobody else waits for.
//
// While it waits in next(), a caller may hold at most min(distinct ids, experts_per_token) experts of each stream; what
// is beyond must be released first. Each stream is promised that many slots before it takes any, and streams that
// cannot be promised theirs wait in the order they came. So any number of streams in any number of threads get through
// a cache of floor_bytes(); a thread that holds experts of one stream while it waits for another one needs room for
// both.
class ExpertStream {
  public:
    ExpertStream(ExpertStream&&) noexcept;
    ~ExpertStream();
    // What is ready and was not returned yet; blocks until there is something; empty when all have been returned.
    std::vector<ReadyExpert> next();
    // Whether the drive still has something to bring. When it has not, it stands idle unless somebody reads ahead.
    bool reading() const;
    // Whether it has been promised its slots, so that it gets through whatever others hold.
    bool admitted() const;
    // The caller has handed over all operations that read this expert; they are finished when `use` is done (null:
    // now). The slot is not reused before. The expert stays cached.
    void release(const ReadyExpert& ready, std::shared_ptr<Event> use);

  private:
    friend class ExpertStore;
    friend class ExpertStoreCore;
    struct Impl;
    explicit ExpertStream(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

// The cache of experts over the drive: one pool of slots per record size across all layers. Thread-safe.
class ExpertStore {
  public:
    // Makes the memory of one pool: `slots` places of `slot_bytes`. Supplied by a backend.
    using MakeSlots = std::function<std::unique_ptr<SlotMemory>(size_t slots, size_t slot_bytes)>;

    // Makes the reader of the catalogue's files; for tests and for readers of another kind.
    using MakeReader = std::function<std::unique_ptr<Reader>(Reader::Completed completed)>;

    // Throws kOutOfMemory, naming the bytes that would do, when cache_bytes cannot hold floor_bytes().
    ExpertStore(std::shared_ptr<const Checkpoint> checkpoint, const ExpertStoreOptions& options,
                const MakeSlots& make_slots);
    ExpertStore(ExpertCatalogue catalogue, const ExpertStoreOptions& options, const MakeSlots& make_slots,
                const MakeReader& make_reader = {});
    ~ExpertStore();
    ExpertStore(const ExpertStore&) = delete;
    ExpertStore& operator=(const ExpertStore&) = delete;

    // The least cache that can run: experts_per_token records of every record size.
    static uint64_t floor_bytes(const Checkpoint& checkpoint);
    // The cache that holds every expert: all records, rounded to pages.
    static uint64_t full_bytes(const Checkpoint& checkpoint);

    // Takes the experts `ids` (distinct) of `layer`. A prefill of more experts than slots streams through the cache.
    // Throws kUsage for a layer without experts, an id out of range or one that is there twice.
    ExpertStream stream(int layer, std::span<const int> ids, ExpertUse use = ExpertUse::kAuto);

    // Names experts that will probably be needed soon, the next ones first, in place of those named before. They are
    // read only while the drive is idle (no stream waits for a read), into slots that no stream needs, and are evicted
    // like any other. A stream of their layer ends their look-ahead: what it does not want and has not started is
    // cancelled.
    void look_ahead(std::span<const ExpertKey> experts);
    // Whether the layer that runs now should name any: asked once a layer in decoding, and judged from what the last
    // layers did.
    bool looks_ahead();

    // Reads experts of `layer` that a long prompt will probably ask for, the likeliest first: those that are not here
    // yet, as many as a scan may hold at once, none while others wait for slots. The stream that comes back is only for
    // keeping, until the layer's own is done: a scan evicts its own layer first. Whoever has to wait until a stream is
    // admitted drops it before, or two may wait for each other.
    ExpertStream read_ahead(int layer, std::span<const int> experts);
    bool reads_ahead() const;  // whether the options allow it

    // Names experts that earlier runs used, the most used first, in place of those named before. They are read into
    // free slots alone, until those are used up or a read fails. The next stream that is opened puts off what has not
    // started until go_on_warming(): nobody who evaluates waits for it.
    void warm_up(std::span<const ExpertKey> experts);
    void go_on_warming();
    // What streams have asked for so far.
    HotList used() const;

    SlotMemory& slots(size_t pool);
    size_t pools() const;
    size_t pool_of(int layer) const;
    ExpertCounters counters() const;
    std::string reader_name() const;  // "pread x8", "io_uring depth 32", "mmap"
    bool direct_io() const;           // what is in use, after the probe
    uint64_t cache_bytes() const;     // of all slots in service
    // Gives the memory of unused slots back to the system until those in service take at most `bytes`, but never less
    // than the floor and what streams hold (slots follow as they are released); or takes it again, up to the size at
    // construction.
    void resize(uint64_t bytes);

  private:
    std::unique_ptr<ExpertStoreCore> core_;
};

}  // namespace sluice
