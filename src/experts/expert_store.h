#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "experts/eviction.h"
#include "experts/expert_catalogue.h"
#include "experts/expert_pool.h"
#include "experts/expert_stream.h"
#include "experts/hot_list.h"
#include "experts/look_ahead.h"
#include "experts/reached_places.h"
#include "experts/reader.h"
#include "experts/reads.h"
#include "experts/wishes.h"
#include "sluice/expert_counters.h"

namespace sluice {

struct ExpertStoreOptions {
    uint64_t cache_bytes = 0;  // for all slots together; the slots are made once, at construction
    TierMemory host = {};      // of a tier in the host's memory between slots of a device and the drive
    ReaderKind reader = ReaderKind::kAuto;
    When direct_io = When::kAuto;
    EvictionPolicy policy = EvictionPolicy::kSimilarTokens;
    size_t read_threads = 0;         // or the depth of the queue; 0: chosen by the reader
    bool verify_checksums = true;    // of packed records, when they are first read
    bool verify_every_read = false;  // of packed records, whenever they are read
    When look_ahead = When::kOff;
    // Which formats' matrices a slot holds in tiles, whatever way they are stored; empty: none.
    std::function<bool(const WeightFormat&)> in_tiles = {};
    std::function<bool(int layer, int expert)> held = {};  // which experts; empty: all
    double stall_seconds_allowed = 60;  // a read that lands later is an error for those who wait for it
};

// Where decoding must not be disturbed by a long prompt: see EvictionOrder.
enum class ExpertUse {
    kAuto,  // a scan when the batch touches most experts of the layer (is_scan)
    kScan,  // passes by once
};

// The cache of experts over the drive: one pool of slots per record size across all layers, of a device with a tier in
// the host's memory below, where there is one. Thread-safe. One mutex, held for bookkeeping only: never while a read or
// a copy is submitted, checked or waited for.
class ExpertStore {
  public:
    // Makes the memory of one pool: `slots` places of `slot_bytes`. Supplied by a backend.
    using MakeSlots = sluice::MakeSlots;

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
    // `choices`, [rows, experts_per_token], says what each row of the batch chose of them (negative: nothing), for the
    // eviction order; without it the batch counts as one row.
    ExpertStream stream(int layer, std::span<const int> ids, ExpertUse use = ExpertUse::kAuto,
                        std::span<const int32_t> choices = {});

    // Whether a layer that begins should hint at what the next one needs, judged from what the last ones did. Asked
    // once a layer.
    LookAhead::Decision look_ahead(const BatchShape& shape);
    // Whether it may hint at what is certain.
    bool looks_ahead() const { return look_ahead_.may_help(); }

    // Names experts that will probably be needed soon, the next ones first, in place of those named before. They are
    // read only while the drive is idle (no stream waits for a read), into slots that no stream needs, and are evicted
    // like any other. A stream of their layer ends their hints: what it does not want and has not started is cancelled.
    void hint(std::span<const ExpertKey> experts);

    // The same of a long prompt, the likeliest first: those that are not here yet, as many as a scan may hold at once,
    // none while others wait for slots. The stream that comes back is only for keeping, until the layer's own is done:
    // a scan evicts its own layer first. Whoever has to wait until a stream is admitted drops it before, or two may
    // wait for each other.
    ExpertStream hint_scan(int layer, std::span<const int> experts);

    // Names experts that earlier runs used, the most used first, in place of those named before. They are read into
    // free slots alone, until those are used up or a read fails. The next stream that is opened puts off what has not
    // started until go_on_warming(): nobody who evaluates waits for it.
    void warm_up(std::span<const ExpertKey> experts);
    void go_on_warming();
    // What streams have asked for so far.
    HotList used() const;

    // Whether every expert of the layer has a slot for itself, so that none is evicted once it is there; and the memory
    // of those slots, one after the other. Throw kUsage for a layer without experts.
    bool holds_all_of(int layer) const;
    void keep_all_of(int layer);  // from now on resize() leaves them
    const SlotMemory& memory(int layer) const { return *pools_[pool_of(layer)]->memory; }
    // So many choices found their expert in memory without being asked for.
    void count_hits(uint64_t choices);

    // Steps of a device whose operations take experts from both tiers by themselves, store_reach.cpp.
    //
    // Whether the host's tier has room for every expert; keep_all_below() saves there what only the device has, and
    // waits for it.
    bool has_room_for_all() const;
    std::vector<int> on_drive(int layer) const;  // experts that no tier has
    void keep_all_below();
    // Where everything is, brought up to date; until end_reach() nothing leaves the place that is named. False: the
    // host's tier has to get an expert first, or operations do not reach it there.
    bool begin_reach(ReachedPlaces& places);
    void end_reach();
    // While such a step runs, what one before it chose: its experts come to the device as far as there are slots that
    // no step reads; those that `came` there by themselves stay. `next`: where everything is for the step after the
    // running one; empty where it has to be found anew.
    void move_by(std::span<const StepChoices> step, std::span<const StagedExpert> came, ReachedPlaces& next);
    // Whether a step may fill slots by itself. Behind begin_reach(): those which it may, beside those that an earlier
    // one filled, which keep what `came`; what has gone meanwhile leaves the list. All are given back.
    bool lends() const { return pools_.size() == 1; }
    std::vector<int32_t> lend(std::vector<StagedExpert>& came);
    void take_back();
    // Slots of the layer's memory that are kept empty: up to `wanted`, as far as a half of all does. Before
    // begin_reach().
    std::vector<int32_t> reserve(int layer, size_t wanted);
    // While such a step runs: copies records to slots of the reserve, once `after` is done; null: now. Operations find
    // them there when the event is done.
    EventPtr stage(std::span<const StagedExpert> experts, const EventPtr& after);
    // So many choices found their expert on the device or in the host's memory, whence so many bytes were read.
    void count_reached(uint64_t on_device, uint64_t on_host, uint64_t bytes);
    const SlotMemory& host_memory(int layer) const { return *pools_[pool_of(layer)]->host->memory; }

    // What the host's tier has and the device's has not, for operations of the host.
    BelowLease lease_below(const ExpertKey& key);
    void release_below(const BelowLease& lease);

    // How the records of a layer stand in their slots. Throws kUsage for a layer without experts.
    const ExpertLayout& layout(int layer) const;

    ExpertCounters counters() const;                                    // since construction
    std::string reader_name() const { return reads_.reader().name(); }  // "pread x8", "io_uring depth 32", "mmap"
    bool direct_io() const { return reads_.reader().direct(); }         // what is in use, after the probe
    uint64_t cache_bytes() const;                                       // of all slots in service
    // Gives the memory of unused slots back to the system until those in service take at most `bytes`, but never less
    // than the floor and what streams hold (slots follow as they are given back); or takes it again, up to the size at
    // construction.
    void resize(uint64_t bytes);
    // The same of the host's tier, of which all may go.
    uint64_t host_bytes() const;
    void resize_host(uint64_t bytes);

  private:
    friend class ExpertStream;
    friend class HeldExpert;
    using Stream = ExpertStream::Impl;

    // Streams: store_streams.cpp.
    void check_ids(Stream& stream, std::span<const int> ids) const;
    bool reading(const Stream& stream) const;
    bool admitted(const Stream& stream) const;
    std::vector<HeldExpert> next(const std::shared_ptr<Stream>& stream);
    void give_back(Stream& stream, size_t slot, EventPtr use);
    void close(Stream& stream);
    void pump(const Locked& locked, size_t pool, SlotPlaces& submitted);
    void admit(const Locked& locked, Stream& stream, SlotPlaces& submitted);
    void take_waiting(const Locked& locked, Stream& stream, size_t limit, SlotPlaces& submitted);
    void take_lease(const Locked& locked, Stream& stream, const Lease& lease, SlotPlaces& submitted);
    void count_demand(const Locked& locked, SlotPlace place, Found found);
    void settle(Stream& stream);
    void wait(Stream& stream, Locked& locked, double seconds);
    size_t arrived_first(const Locked& locked, Stream& stream);
    HeldExpert hold(const Locked& locked, const std::shared_ptr<Stream>& stream, int expert, size_t slot);

    // Reads and wishes: store_reads.cpp.
    Filling filling_of(const Locked& locked, size_t pool, int layer, const Lease& lease) const;
    void begin_read(const Locked& locked, const Filling& filling, ReadFor wish, bool listed, SlotPlaces& submitted);
    void completed(const ReadResult& result);
    void go_on_after(const Reads::Stuck& stuck);
    void end_read(const Locked& locked, const ReadOutcome& outcome, SlotPlaces& submitted);
    void hand_out(const Locked& locked, const ReadOutcome& outcome);
    void give_up(const Locked& locked, Stream& stream, bool drive_silent, SlotPlaces& cancelled);
    void cancel(const SlotPlaces& places);
    void issue_hints(const Locked& locked, SlotPlaces& submitted);
    bool issue_hint(const Locked& locked, const ExpertKey& key, SlotPlaces& submitted);
    void issue_warm(const Locked& locked, SlotPlaces& submitted);
    bool has_slot_to_spare(const ExpertPool& pool) const;

    // Steps that reach both tiers: store_reach.cpp.
    uint64_t moves(const Locked& locked) const;
    bool find_all(const Locked& locked, ReachedPlaces& places);
    bool find_one(const Locked& locked, const ExpertKey& key, size_t index, ReachedPlaces& places);
    void bring(const Locked& locked, const StepChoices& choices, std::span<const StagedExpert> came,
               SlotPlaces& submitted);
    static void keep(const Locked& locked, ExpertPool& pool, const StagedExpert& came);

    size_t pool_of(int layer) const;  // throws kUsage for a layer without experts
    uint64_t full_bytes() const;
    uint64_t full_host_bytes() const;
    std::exception_ptr stalled(int layer, int expert) const;

    const ExpertCatalogue catalogue_;
    const ExpertStoreOptions options_;
    std::vector<std::unique_ptr<ExpertPool>> pools_;
    std::vector<size_t> pool_of_layer_;  // kNoSlot: a layer without experts
    const LookAhead look_ahead_;
    mutable std::mutex mutex_;
    ExpertCounters counters_;
    DriveMeter meter_;
    Wishes wishes_;
    HotList used_;
    uint64_t answers_ = 0;     // of the drive
    bool drive_gone_ = false;  // it has not answered for as long as is allowed, nor since
    size_t submitting_ = 0;    // of the reader's threads, those that hand it another read
    std::condition_variable submitted_;
    Reads reads_;
};

}  // namespace sluice
