#pragma once

// The inside of the expert store: scheduling of streams over slots and reads. Only expert_store.cpp includes this.

#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "experts/expert_cache.h"
#include "experts/expert_store.h"
#include "experts/hot_list.h"

namespace sluice {

struct ExpertStream::Impl {
    ExpertStoreCore* core = nullptr;
    int layer = 0;
    size_t pool = 0;
    bool scan = false;
    bool ahead = false;     // nobody has asked for its experts yet, and nobody calls next()
    bool admitted = false;  // its promised slots are reserved
    size_t promised = 0;    // slots it may always have while experts wait
    size_t window = 0;      // slots it may have at most
    size_t reserved = 0;    // what the pool counts for it: max(promised, leases), or leases when none waits
    size_t leases = 0;      // in flight, ready and held
    BatchPlan plan;
    size_t next_waiting = 0;         // into plan.waiting
    std::vector<size_t> in_flight;   // slots
    std::vector<ReadyExpert> ready;  // not returned yet
    std::vector<size_t> held;        // slots returned and not released
    std::condition_variable changed;

    bool waiting() const { return next_waiting < plan.waiting.size(); }
};

// One mutex, held for bookkeeping only: never while a read is prepared, submitted, checked or waited for.
class ExpertStoreCore {
  public:
    using Stream = ExpertStream::Impl;

    ExpertStoreCore(ExpertCatalogue catalogue, const ExpertStoreOptions& options,
                    const ExpertStore::MakeSlots& make_slots, const ExpertStore::MakeReader& make_reader);
    ~ExpertStoreCore();
    ExpertStoreCore(const ExpertStoreCore&) = delete;
    ExpertStoreCore& operator=(const ExpertStoreCore&) = delete;

    std::unique_ptr<Stream> open(int layer, std::span<const int> ids, ExpertUse use);
    std::unique_ptr<Stream> open_ahead(int layer, std::span<const int> ids);
    bool reads_ahead() const { return options_.look_ahead != LookAhead::kOff; }
    bool reading(const Stream& stream) const;
    bool admitted(const Stream& stream) const;
    std::vector<ReadyExpert> next(Stream& stream);
    void release(Stream& stream, const ReadyExpert& ready, std::shared_ptr<Event> use);
    void close(Stream& stream);
    void look_ahead(std::span<const ExpertKey> experts);
    bool looks_ahead();
    void warm_up(std::span<const ExpertKey> experts);
    void go_on_warming();
    HotList used() const;

    SlotMemory& slots(size_t pool) { return *pools_[pool]->memory; }
    size_t pools() const { return pools_.size(); }
    size_t pool_of(int layer) const;
    ExpertCounters counters() const;
    const Reader& reader() const { return *reader_; }
    uint64_t cache_bytes() const;
    void resize(uint64_t bytes);

  private:
    // Why a read failed: text, so that each request gets an exception of its own and none is shared between threads.
    struct Failure {
        ErrorCode code = ErrorCode::kIo;
        std::string text;
    };
    // The warm start: paused since a stream was opened, over when a read of it has failed or the store ends.
    enum class Warm : uint8_t { kOver, kPaused, kGoesOn };
    // Whose wish a read is.
    enum class ReadFor : uint8_t { kDemand, kLookAhead, kWarmStart };
    // The read that fills a slot.
    struct SlotRead {
        ExpertKey key;
        size_t parts_left = 0;
        uint64_t transferred = 0;  // bytes, by the parts that are done
        bool cancelled = false;
        bool demanded = false;               // counted in demand_reads_
        ReadFor purpose = ReadFor::kDemand;  // until somebody has asked for what it brings or brought
        std::optional<Failure> failure;
        std::vector<Stream*> waiters;
    };
    // A released slot whose operations are not finished; it keeps its lease until then.
    struct PendingUse {
        size_t slot;
        std::shared_ptr<Event> use;
    };
    struct Pool {
        Pool(size_t slots, uint64_t bytes, int layers, int experts, EvictionPolicy policy)
            : record_bytes(bytes), cache(slots, layers, experts, policy), reads(slots), target(slots) {}
        size_t in_service() const { return cache.slots() - retired.size(); }

        uint64_t record_bytes;
        ExpertCache cache;
        std::unique_ptr<SlotMemory> memory;
        std::vector<SlotRead> reads;   // [slots]
        std::vector<PendingUse> uses;  // oldest first
        std::list<Stream*> streams;    // in the order they came; those not admitted are the last
        std::vector<size_t> retired;   // slots out of service, their memory given back
        size_t target;                 // slots that should be in service
        size_t reserved = 0;           // of all streams; at most in_service()
        size_t wanting = 0;            // streams in which experts wait for slots
    };
    // What happened since the last judgement of whether look-ahead pays.
    struct DriveUse {
        Stopwatch wall;
        Stopwatch busy;            // since the first of the reads now in flight began
        double busy_seconds = 0;   // with a read in flight
        size_t in_flight = 0;      // records
        uint64_t reads = 0;        // records that began
        uint64_t ahead = 0;        // of them, those that nobody had asked for
        uint64_t wasted = 0;       // of those, the ones that nobody has asked for so far
        double stalls_before = 0;  // counters_.stall_seconds when it began
        int layers = 0;            // calls of looks_ahead()
    };
    // A slot that must be read, noted under the lock and submitted after it.
    using ReadList = std::vector<std::pair<size_t, size_t>>;  // pool, slot

    static uint64_t tag_of(size_t pool, size_t slot) { return static_cast<uint64_t>(pool) << 32 | slot; }

    void make_pools(const ExpertStore::MakeSlots& make_slots);
    void order_by_drive();
    uint64_t full_bytes() const;
    std::vector<int> check_ids(int layer, std::span<const int> ids) const;

    // All of these under the lock.
    void pump(size_t pool, ReadList& reads);
    void admit(Stream& stream, ReadList& reads);
    void take_waiting(Stream& stream, size_t limit, ReadList& reads);
    void take_lease(Stream& stream, const Lease& lease, ReadList& reads);
    void settle(Stream& stream, bool was_waiting);
    void sweep_uses(Pool& pool);
    void retire_slots(Pool& pool);
    void hand_out(size_t pool, size_t slot, const std::optional<Failure>& failure);
    void give_up(Stream& stream, std::vector<uint64_t>& cancel);
    ReadyExpert stalled(int layer, int expert) const;
    void issue_foreseen(ReadList& reads);
    bool issue_foreseen(const ExpertKey& key, ReadList& reads);
    void end_look_ahead(int layer, std::vector<uint64_t>& cancel);
    bool has_slot_to_spare(const Pool& pool) const;
    void issue_warm(ReadList& reads);
    void pause_warm(std::vector<uint64_t>& cancel);
    bool end_warm(size_t pool, size_t slot, bool failed);
    void stop_warm();
    void count_demand(SlotRead& read, Found found);
    void count_wish_granted(SlotRead& read);
    void begin_read(size_t pool, size_t slot, ReadFor purpose, ReadList& reads);
    void end_read(size_t pool, size_t slot, bool failed);
    void judge_look_ahead();
    void restart_drive_use();

    // None of these under the lock.
    void wait(Stream& stream, std::unique_lock<std::mutex>& lock, double allowed);
    void submit(ReadList& reads);
    void submit_one(size_t pool, size_t slot, size_t pieces);
    void completed(const ReadResult& result);
    std::optional<Failure> finish_record(const Pool& pool, size_t slot, const ExpertKey& key);
    void check_record(const Pool& pool, size_t slot, const ExpertKey& key);
    std::string where(const ExpertKey& key) const;
    size_t index(const ExpertKey& key) const {
        return static_cast<size_t>(key.layer) * static_cast<size_t>(catalogue_.experts) +
               static_cast<size_t>(key.expert);
    }
    static Failure failure_of(const std::exception_ptr& error);

    ExpertCatalogue catalogue_;
    ExpertStoreOptions options_;
    std::vector<std::unique_ptr<Pool>> pools_;
    std::vector<size_t> pool_of_layer_;  // kNoSlot: a layer without experts
    std::vector<uint8_t> verified_;      // [layers * experts]
    std::vector<uint32_t> drive_order_;  // [layers * experts]: rank of the record by file and offset
    mutable std::mutex mutex_;
    ExpertCounters counters_;
    DriveUse drive_use_;
    bool ahead_pays_ = false;
    size_t demand_reads_ = 0;                             // in flight, asked for by a stream
    std::vector<ExpertKey> foreseen_;                     // look-ahead reads to issue, the next one last
    std::vector<std::pair<size_t, size_t>> ahead_reads_;  // look-ahead reads in flight: pool, slot
    Warm warm_ = Warm::kOver;
    std::vector<ExpertKey> warm_left_;                   // the warm start's reads to issue, the next one last
    std::vector<std::pair<size_t, size_t>> warm_reads_;  // those in flight: pool, slot
    HotList used_;
    size_t submitting_ = 0;  // of the reader's threads, those that hand it another read
    std::condition_variable submitted_;
    std::unique_ptr<Reader> reader_;
};

}  // namespace sluice
