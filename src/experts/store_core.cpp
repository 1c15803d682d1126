#include "experts/store_core.h"

#include <algorithm>
#include <chrono>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/size.h"

namespace sluice {

ExpertStoreCore::ExpertStoreCore(ExpertCatalogue catalogue, const ExpertStoreOptions& options,
                                 const ExpertStore::MakeSlots& make_slots, const ExpertStore::MakeReader& make_reader)
    : catalogue_(std::move(catalogue)),
      options_(options),
      used_(static_cast<int>(catalogue_.record_bytes.size()), catalogue_.experts) {
    make_pools(make_slots);
    verified_.resize(catalogue_.record_bytes.size() * static_cast<size_t>(catalogue_.experts));
    order_by_drive();
    const auto answer = [this](const ReadResult& result) { completed(result); };
    if (make_reader) {
        reader_ = make_reader(answer);
        return;
    }
    const std::vector<uint64_t> sizes = catalogue_.record_sizes();
    ReaderOptions reading{.kind = options_.reader, .direct = options_.direct_io, .depth = options_.read_threads};
    reading.record_bytes = sizes.empty() ? kPageBytes : sizes.back();
    reading.read_bytes = catalogue_.all_bytes();
    reading.reserved_bytes = full_bytes();
    reader_ = open_reader(catalogue_.files, reading, answer);
}

ExpertStoreCore::~ExpertStoreCore() {
    {
        std::unique_lock lock(mutex_);
        foreseen_.clear();  // nothing is issued any more, and what was is with the reader before that goes
        stop_warm();
        submitted_.wait(lock, [this] { return submitting_ == 0; });
    }
    reader_.reset();
}

void ExpertStoreCore::make_pools(const ExpertStore::MakeSlots& make_slots) {
    const uint64_t floor = catalogue_.floor_bytes();
    if (options_.cache_bytes < floor) {
        fail(ErrorCode::kOutOfMemory, "the expert cache got {}, but the experts of one token need {} ({} bytes)",
             format_size(options_.cache_bytes), format_size(floor), floor);
    }
    const std::vector<uint64_t> sizes = catalogue_.record_sizes();
    const auto per_token = static_cast<uint64_t>(catalogue_.experts_per_token);
    // Beyond the floor, each pool gets the same share of what it lacks to hold all of its experts.
    const uint64_t all = catalogue_.all_bytes();
    const double share =
        all <= floor
            ? 0.0
            : std::min(1.0, static_cast<double>(options_.cache_bytes - floor) / static_cast<double>(all - floor));
    const int layers = static_cast<int>(catalogue_.record_bytes.size());
    for (const uint64_t size : sizes) {
        const auto layers_here = std::count(catalogue_.record_bytes.begin(), catalogue_.record_bytes.end(), size);
        const uint64_t count = static_cast<uint64_t>(layers_here) * static_cast<uint64_t>(catalogue_.experts);
        const uint64_t slots = per_token + static_cast<uint64_t>(share * static_cast<double>(count - per_token));
        pools_.push_back(std::make_unique<Pool>(slots, size, layers, catalogue_.experts, options_.policy));
        pools_.back()->memory = make_slots(slots, size);
    }
    for (const uint64_t size : catalogue_.record_bytes) {
        const auto found = std::find(sizes.begin(), sizes.end(), size);
        pool_of_layer_.push_back(found == sizes.end() ? kNoSlot : static_cast<size_t>(found - sizes.begin()));
    }
}

void ExpertStoreCore::order_by_drive() {
    struct Place {
        uint32_t file;
        uint64_t offset;
        size_t index;
        auto operator<=>(const Place&) const = default;
    };
    std::vector<Place> places;
    for (int layer = 0; layer < static_cast<int>(catalogue_.record_bytes.size()); ++layer) {
        if (catalogue_.record_bytes[static_cast<size_t>(layer)] == 0) continue;
        for (int expert = 0; expert < catalogue_.experts; ++expert) {
            const std::vector<ExpertRead> parts = catalogue_.reads(layer, expert);
            if (parts.empty()) continue;
            places.push_back({parts.front().source.file, parts.front().source.offset, index({layer, expert})});
        }
    }
    std::sort(places.begin(), places.end());
    drive_order_.resize(verified_.size());
    for (size_t rank = 0; rank < places.size(); ++rank) drive_order_[places[rank].index] = static_cast<uint32_t>(rank);
}

size_t ExpertStoreCore::pool_of(int layer) const {
    if (layer < 0 || static_cast<size_t>(layer) >= pool_of_layer_.size() ||
        pool_of_layer_[static_cast<size_t>(layer)] == kNoSlot) {
        fail(ErrorCode::kUsage, "layer {} has no experts", layer);
    }
    return pool_of_layer_[static_cast<size_t>(layer)];
}

uint64_t ExpertStoreCore::cache_bytes() const {
    const std::scoped_lock lock(mutex_);
    uint64_t bytes = 0;
    for (const auto& pool : pools_) bytes += pool->record_bytes * pool->in_service();
    return bytes;
}

uint64_t ExpertStoreCore::full_bytes() const {
    uint64_t bytes = 0;
    for (const auto& pool : pools_) bytes += pool->record_bytes * pool->cache.slots();
    return bytes;
}

void ExpertStoreCore::resize(uint64_t bytes) {
    const uint64_t floor = catalogue_.floor_bytes();
    const uint64_t full = full_bytes();
    const double share =
        full <= floor ? 1.0
                      : static_cast<double>(std::clamp(bytes, floor, full) - floor) / static_cast<double>(full - floor);
    const auto per_token = static_cast<size_t>(catalogue_.experts_per_token);
    for (size_t i = 0; i < pools_.size(); ++i) {
        Pool& pool = *pools_[i];
        ReadList reads;
        {
            const std::scoped_lock lock(mutex_);
            pool.target = per_token + static_cast<size_t>(share * static_cast<double>(pool.cache.slots() - per_token));
            for (; pool.in_service() < pool.target; pool.retired.pop_back()) pool.cache.restore(pool.retired.back());
            retire_slots(pool);
            pump(i, reads);
        }
        submit(reads);
    }
}

// Takes slots out of service that no stream uses or is promised. Their memory goes back under the lock, lest a slot be
// restored and filled meanwhile.
void ExpertStoreCore::retire_slots(Pool& pool) {
    while (pool.in_service() > std::max(pool.target, pool.reserved)) {
        const size_t slot = pool.cache.retire();
        if (slot == kNoSlot) return;
        pool.memory->discard(slot);
        pool.retired.push_back(slot);
    }
}

ExpertCounters ExpertStoreCore::counters() const {
    const std::scoped_lock lock(mutex_);
    return counters_;
}

HotList ExpertStoreCore::used() const {
    const std::scoped_lock lock(mutex_);
    return used_;
}

std::vector<int> ExpertStoreCore::check_ids(int layer, std::span<const int> ids) const {
    std::vector<uint8_t> seen(static_cast<size_t>(catalogue_.experts));
    for (const int expert : ids) {
        if (expert < 0 || expert >= catalogue_.experts) {
            fail(ErrorCode::kUsage, "layer {} has experts 0 to {}, not {}", layer, catalogue_.experts - 1, expert);
        }
        if (std::exchange(seen[static_cast<size_t>(expert)], uint8_t{1}) != 0) {
            fail(ErrorCode::kUsage, "expert {} of layer {} is asked for twice in one batch", expert, layer);
        }
    }
    std::vector<int> sorted(ids.begin(), ids.end());
    std::sort(sorted.begin(), sorted.end());  // as they lie on the drive, and as the simulator replays them
    return sorted;
}

std::unique_ptr<ExpertStoreCore::Stream> ExpertStoreCore::open(int layer, std::span<const int> ids, ExpertUse use) {
    const bool scan = use == ExpertUse::kScan || (use == ExpertUse::kAuto && is_scan(ids.size(), catalogue_.experts,
                                                                                     catalogue_.experts_per_token));
    auto stream = std::make_unique<Stream>();
    stream->core = this;
    stream->layer = layer;
    stream->pool = pool_of(layer);
    stream->scan = scan;
    stream->plan.waiting = check_ids(layer, ids);
    if (ids.empty()) return stream;
    Pool& pool = *pools_[stream->pool];
    stream->promised = std::min(ids.size(), static_cast<size_t>(catalogue_.experts_per_token));
    stream->window = scan ? scan_window(pool.cache.slots(), catalogue_.experts_per_token) : ids.size();
    ReadList reads;
    std::vector<uint64_t> cancel;
    {
        const std::scoped_lock lock(mutex_);
        if (scan) restart_drive_use();  // a prompt says nothing about decoding
        used_.note(layer, stream->plan.waiting);
        pool.streams.push_back(stream.get());
        ++pool.wanting;
        pump(stream->pool, reads);
        end_look_ahead(layer, cancel);
        pause_warm(cancel);
    }
    for (const uint64_t tag : cancel) reader_->cancel(tag);
    submit(reads);
    return stream;
}

// Promised slots first, to whoever came first; what nobody was promised goes to streams that can use more, unless
// somebody still waits to be promised anything.
void ExpertStoreCore::pump(size_t pool_index, ReadList& reads) {
    Pool& pool = *pools_[pool_index];
    if (pool.wanting == 0) return;
    sweep_uses(pool);
    bool all_admitted = true;
    for (Stream* stream : pool.streams) {
        if (!stream->admitted) {
            all_admitted = all_admitted && pool.reserved + stream->promised <= pool.in_service();
            if (!all_admitted) break;
            admit(*stream, reads);
        } else if (stream->waiting()) {
            take_waiting(*stream, stream->promised, reads);
        }
    }
    if (!all_admitted) return;
    for (Stream* stream : pool.streams) {
        const size_t room = pool.in_service() - (pool.reserved - stream->reserved);
        if (stream->waiting()) take_waiting(*stream, std::min(stream->window, room), reads);
    }
}

void ExpertStoreCore::admit(Stream& stream, ReadList& reads) {
    Pool& pool = *pools_[stream.pool];
    stream.admitted = true;
    const bool last = pool.streams.back() == &stream;
    const size_t limit = last ? std::min(stream.window, pool.in_service() - pool.reserved) : stream.promised;
    const std::vector<int> ids = std::move(stream.plan.waiting);
    pool.cache.plan(stream.layer, ids, stream.scan, std::max(limit, stream.promised), stream.plan);
    stream.next_waiting = 0;
    for (const Lease& lease : stream.plan.taken) take_lease(stream, lease, reads);
    settle(stream, true);
}

void ExpertStoreCore::take_waiting(Stream& stream, size_t limit, ReadList& reads) {
    Pool& pool = *pools_[stream.pool];
    while (stream.waiting() && stream.leases < limit) {
        const Lease lease = pool.cache.take(stream.layer, stream.plan.waiting[stream.next_waiting], stream.scan);
        if (lease.found == Found::kFull) break;
        ++stream.next_waiting;
        take_lease(stream, lease, reads);
    }
    settle(stream, true);
}

void ExpertStoreCore::take_lease(Stream& stream, const Lease& lease, ReadList& reads) {
    ++stream.leases;
    SlotRead& read = pools_[stream.pool]->reads[lease.slot];
    if (!stream.ahead) count_demand(read, lease.found);
    if (lease.found == Found::kHit) {
        stream.ready.push_back({lease.expert, stream.pool, lease.slot, nullptr});
        stream.changed.notify_all();
        return;
    }
    stream.in_flight.push_back(lease.slot);
    if (lease.found == Found::kMiss) {
        counters_.prefetch_reads += stream.ahead;
        read.key = {stream.layer, lease.expert};
        begin_read(stream.pool, lease.slot, stream.ahead ? ReadFor::kLookAhead : ReadFor::kDemand, reads);
    }
    if (!std::exchange(read.demanded, true)) ++demand_reads_;
    read.waiters.push_back(&stream);
}

void ExpertStoreCore::count_demand(SlotRead& read, Found found) {
    if (found != Found::kMiss) count_wish_granted(read);
    counters_.hits += found == Found::kHit;
    counters_.misses += found != Found::kHit;
    counters_.joined += found == Found::kJoined;
    counters_.reads += found == Found::kMiss;
}

// After a change of leases or of what waits: keeps the pool's sums.
void ExpertStoreCore::settle(Stream& stream, bool was_waiting) {
    Pool& pool = *pools_[stream.pool];
    const size_t now = stream.waiting() ? std::max(stream.promised, stream.leases) : stream.leases;
    pool.reserved = pool.reserved - stream.reserved + now;
    stream.reserved = now;
    if (was_waiting && !stream.waiting()) --pool.wanting;
}

void ExpertStoreCore::sweep_uses(Pool& pool) {
    std::erase_if(pool.uses, [&](const PendingUse& pending) {
        if (!pending.use->done()) return false;
        pool.cache.release(pending.slot);
        return true;
    });
}

bool ExpertStoreCore::reading(const Stream& stream) const {
    const std::scoped_lock lock(mutex_);
    return stream.waiting() || !stream.in_flight.empty();
}

bool ExpertStoreCore::admitted(const Stream& stream) const {
    const std::scoped_lock lock(mutex_);
    return stream.admitted;
}

std::vector<ReadyExpert> ExpertStoreCore::next(Stream& stream) {
    std::unique_lock lock(mutex_);
    if (stream.ready.empty() && (stream.waiting() || !stream.in_flight.empty())) {
        const Stopwatch watch;
        std::vector<uint64_t> cancel;
        while (stream.ready.empty()) {
            const double allowed = options_.stall_seconds_allowed - watch.seconds();
            if (allowed <= 0) give_up(stream, cancel);
            if (stream.ready.empty()) wait(stream, lock, std::max(allowed, 0.05));
        }
        counters_.stall_seconds += watch.seconds();
        if (!cancel.empty()) {
            lock.unlock();
            for (const uint64_t tag : cancel) reader_->cancel(tag);
            lock.lock();
        }
    }
    std::vector<ReadyExpert> ready;
    ready.swap(stream.ready);
    for (const ReadyExpert& expert : ready) {
        if (!expert.error) stream.held.push_back(expert.slot);
    }
    return ready;
}

// Waits until something of the stream may have changed, at most `allowed` seconds.
void ExpertStoreCore::wait(Stream& stream, std::unique_lock<std::mutex>& lock, double allowed) {
    Pool& pool = *pools_[stream.pool];
    if (!stream.waiting() || pool.uses.empty()) {
        stream.changed.wait_for(lock, std::chrono::duration<double>(allowed));
        return;
    }
    // A slot may come free without anybody telling: an operation on a device ends.
    if (stream.in_flight.empty()) {
        const std::shared_ptr<Event> use = pool.uses.front().use;
        lock.unlock();
        use->wait();
        lock.lock();
    } else {
        constexpr std::chrono::microseconds kPoll(200);  // short against a read
        stream.changed.wait_for(lock, kPoll);
    }
    ReadList reads;
    pump(stream.pool, reads);
    lock.unlock();
    submit(reads);
    lock.lock();
}

void ExpertStoreCore::release(Stream& stream, const ReadyExpert& ready, std::shared_ptr<Event> use) {
    if (ready.error) return;
    ReadList reads;
    {
        const std::scoped_lock lock(mutex_);
        const auto held = std::find(stream.held.begin(), stream.held.end(), ready.slot);
        if (held == stream.held.end() || ready.pool != stream.pool) {
            fail(ErrorCode::kUsage, "expert {} of layer {} was released twice", ready.expert, stream.layer);
        }
        *held = stream.held.back();
        stream.held.pop_back();
        Pool& pool = *pools_[stream.pool];
        if (use && !use->done()) {
            pool.uses.push_back({ready.slot, std::move(use)});
            // Who waits for any slot now has something to watch.
            for (Stream* other : pool.streams) {
                if (other->waiting()) other->changed.notify_all();
            }
        } else {
            pool.cache.release(ready.slot);
        }
        --stream.leases;
        settle(stream, false);
        pump(stream.pool, reads);
        retire_slots(pool);
    }
    submit(reads);
}

void ExpertStoreCore::close(Stream& stream) {
    if (stream.promised == 0) return;  // asked for nothing
    ReadList reads;
    std::vector<uint64_t> cancel;
    {
        const std::scoped_lock lock(mutex_);
        Pool& pool = *pools_[stream.pool];
        for (const size_t slot : stream.held) pool.cache.release(slot);
        for (const ReadyExpert& expert : stream.ready) {
            if (!expert.error) pool.cache.release(expert.slot);
        }
        for (const size_t slot : stream.in_flight) {
            std::erase(pool.reads[slot].waiters, &stream);
            pool.cache.release(slot);
            if (pool.cache.leases(slot) == 0) cancel.push_back(tag_of(stream.pool, slot));
        }
        pool.reserved -= stream.reserved;
        pool.wanting -= stream.waiting();
        pool.streams.remove(&stream);
        pump(stream.pool, reads);
    }
    for (const uint64_t tag : cancel) reader_->cancel(tag);
    submit(reads);
}

}  // namespace sluice
