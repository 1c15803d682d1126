// Streams of the expert store: what they ask for, which slots they get, what they are handed and give back.

#include <algorithm>

#include "base/clock.h"
#include "base/error.h"
#include "experts/expert_store.h"
#include "experts/stream_state.h"

namespace sluice {

ExpertStream::ExpertStream(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
ExpertStream::ExpertStream(ExpertStream&&) noexcept = default;
ExpertStream::~ExpertStream() {
    if (impl_) impl_->store->close(*impl_);
}

std::vector<HeldExpert> ExpertStream::next() {
    return impl_->store->next(impl_);
}

bool ExpertStream::reading() const {
    return impl_->store->reading(*impl_);
}

bool ExpertStream::admitted() const {
    return impl_->store->admitted(*impl_);
}

HeldExpert::HeldExpert(HeldExpert&&) noexcept = default;

HeldExpert& HeldExpert::operator=(HeldExpert&& other) noexcept {
    if (this == &other) return *this;
    keep_until(nullptr);
    expert_ = other.expert_;
    index_ = other.index_;
    slot_ = other.slot_;
    stream_ = std::move(other.stream_);
    record_ = std::move(other.record_);
    arrived_ = std::move(other.arrived_);
    error_ = std::move(other.error_);
    return *this;
}

void HeldExpert::keep_until(EventPtr use) {
    const auto stream = std::exchange(stream_, nullptr);
    if (stream) stream->store->give_back(*stream, slot_, std::move(use));
}

// Notes the ids, ascending: as they lie on the drive, and as the simulator replays them.
void ExpertStore::check_ids(Stream& stream, std::span<const int> ids) const {
    stream.index_of.assign(static_cast<size_t>(catalogue_.experts), 0);
    for (size_t i = 0; i < ids.size(); ++i) {
        const int expert = ids[i];
        if (expert < 0 || expert >= catalogue_.experts) {
            fail(ErrorCode::kUsage, "layer {} has experts 0 to {}, not {}", stream.layer, catalogue_.experts - 1,
                 expert);
        }
        if (catalogue_.held && !catalogue_.held(stream.layer, expert)) {
            fail(ErrorCode::kUsage, "expert {} of layer {} is held elsewhere", expert, stream.layer);
        }
        if (std::exchange(stream.index_of[static_cast<size_t>(expert)], static_cast<uint32_t>(i + 1)) != 0) {
            fail(ErrorCode::kUsage, "expert {} of layer {} is asked for twice in one batch", expert, stream.layer);
        }
    }
    stream.plan.waiting.assign(ids.begin(), ids.end());
    std::sort(stream.plan.waiting.begin(), stream.plan.waiting.end());
}

ExpertStream ExpertStore::stream(int layer, std::span<const int> ids, ExpertUse use, std::span<const int32_t> choices) {
    const bool scan =
        use == ExpertUse::kScan || is_scan(ids.size(), catalogue_.held_experts(layer), catalogue_.experts_per_token);
    auto stream = std::make_shared<Stream>();
    stream->store = this;
    stream->layer = layer;
    stream->pool = pool_of(layer);
    stream->scan = scan;
    check_ids(*stream, ids);
    if (ids.empty()) return ExpertStream(std::move(stream));
    const auto one_row = static_cast<size_t>(catalogue_.experts_per_token);
    if (!scan && choices.size() > one_row) stream->choices.assign(choices.begin(), choices.end());
    ExpertPool& pool = *pools_[stream->pool];
    stream->share.promised = std::min(ids.size(), static_cast<size_t>(catalogue_.experts_per_token));
    stream->share.window = scan ? scan_window(pool.cache.top().slots(), catalogue_.experts_per_token) : ids.size();
    SlotPlaces submitted, unwanted;
    {
        const Locked locked(mutex_);
        used_.note(layer, stream->plan.waiting);
        stream->open = true;
        pool.streams.push_back(stream.get());
        pool.admission.arrive(stream->share);
        pump(locked, stream->pool, submitted);
        unwanted = wishes_.end_hints(layer);
        const SlotPlaces put_off = wishes_.pause_warming();
        unwanted.insert(unwanted.end(), put_off.begin(), put_off.end());
    }
    cancel(unwanted);
    reads_.submit(submitted);
    return ExpertStream(std::move(stream));
}

ExpertStream ExpertStore::hint_scan(int layer, std::span<const int> ids) {
    auto stream = std::make_shared<Stream>();
    stream->store = this;
    stream->layer = layer;
    stream->pool = pool_of(layer);
    stream->scan = true;
    stream->hint = true;
    check_ids(*stream, ids);
    ExpertPool& pool = *pools_[stream->pool];
    StreamShare& share = stream->share;
    share.window = scan_window(pool.cache.top().slots(), catalogue_.experts_per_token);
    std::vector<int>& missing = stream->plan.waiting;
    missing.clear();
    SlotPlaces submitted;
    {
        const Locked locked(mutex_);
        for (const int expert : ids) {
            if (missing.size() < share.window && pool.cache.top().find(layer, expert) == kNoSlot)
                missing.push_back(expert);
        }
        pool.sweep_copied();
        const size_t spare = pool.admission.spare(static_cast<size_t>(catalogue_.experts_per_token));
        if (look_ahead_.off() || pool.admission.anyone_waits() || spare == 0) missing.clear();
        if (missing.empty()) return ExpertStream(std::move(stream));
        std::sort(missing.begin(), missing.end());
        share.admitted = true;
        share.promised = std::min(missing.size(), static_cast<size_t>(catalogue_.experts_per_token));
        stream->open = true;
        pool.streams.push_back(stream.get());
        pool.admission.arrive(share);
        // Not planned as a batch: in the order of eviction the present layer stays the one that is over.
        take_waiting(locked, *stream, std::min(share.window, spare), submitted);
        missing.resize(stream->next_waiting);
        settle(*stream);
    }
    reads_.submit(submitted);
    return ExpertStream(std::move(stream));
}

// Promised slots first, to whoever came first; what nobody was promised goes to streams that can use more, unless
// somebody still waits to be promised anything.
void ExpertStore::pump(const Locked& locked, size_t pool_index, SlotPlaces& submitted) {
    ExpertPool& pool = *pools_[pool_index];
    pool.sweep_copied();
    reads_.go_on(locked, pool_index, submitted);
    if (!pool.admission.anyone_waits()) return;
    pool.sweep_uses();
    bool all_admitted = true;
    for (Stream* stream : pool.streams) {
        if (!stream->share.admitted) {
            all_admitted = all_admitted && pool.admission.can_admit(stream->share);
            if (!all_admitted) break;
            admit(locked, *stream, submitted);
        } else if (stream->waiting()) {
            take_waiting(locked, *stream, stream->share.promised, submitted);
        }
    }
    if (!all_admitted) return;
    for (Stream* stream : pool.streams) {
        if (stream->waiting()) take_waiting(locked, *stream, pool.admission.room(stream->share), submitted);
    }
}

void ExpertStore::admit(const Locked& locked, Stream& stream, SlotPlaces& submitted) {
    ExpertPool& pool = *pools_[stream.pool];
    const size_t limit = pool.admission.admit(stream.share, pool.streams.back() == &stream);
    const std::vector<int> ids = std::move(stream.plan.waiting);
    const size_t per_row = stream.choices.empty() ? 0 : static_cast<size_t>(catalogue_.experts_per_token);
    pool.cache.plan(stream.layer, ids, stream.scan, limit, stream.plan, {stream.choices, per_row});
    stream.next_waiting = 0;
    for (const Lease& lease : stream.plan.taken) take_lease(locked, stream, lease, submitted);
    settle(stream);
}

void ExpertStore::take_waiting(const Locked& locked, Stream& stream, size_t limit, SlotPlaces& submitted) {
    ExpertPool& pool = *pools_[stream.pool];
    while (stream.waiting() && stream.share.leases < limit) {
        const Lease lease = pool.cache.take(stream.layer, stream.plan.waiting[stream.next_waiting], stream.scan);
        if (lease.found == Found::kFull) break;
        ++stream.next_waiting;
        take_lease(locked, stream, lease, submitted);
    }
    settle(stream);
}

void ExpertStore::take_lease(const Locked& locked, Stream& stream, const Lease& lease, SlotPlaces& submitted) {
    ++stream.share.leases;
    const SlotPlace place{stream.pool, lease.slot};
    if (!stream.hint) count_demand(locked, place, lease.found);
    if (lease.found == Found::kHit) {
        stream.ready.push_back({lease.expert, lease.slot, nullptr});
        stream.changed.notify_all();
        return;
    }
    stream.in_flight.push_back(lease.slot);
    if (lease.found != Found::kJoined) {
        counters_.prefetch_reads += stream.hint && lease.found == Found::kMiss;
        begin_read(locked, filling_of(locked, stream.pool, stream.layer, lease),
                   stream.hint ? ReadFor::kHint : ReadFor::kDemand, false, submitted);
    }
    wishes_.demand(place);
    pools_[stream.pool]->waiters[lease.slot].push_back(&stream);
}

void ExpertStore::count_demand(const Locked&, SlotPlace place, Found found) {
    const bool here = found == Found::kHit || found == Found::kJoined;
    const ReadFor wish = here ? wishes_.grant(place) : ReadFor::kDemand;
    counters_.prefetch_hits += wish == ReadFor::kHint;
    counters_.warm_hits += wish == ReadFor::kWarm;
    if (wish == ReadFor::kHint) meter_.hint_granted();
    const bool hit = found == Found::kHit || found == Found::kBelow;
    counters_.hits += hit;
    counters_.host_hits += found == Found::kBelow;
    counters_.misses += !hit;
    counters_.joined += found == Found::kJoined;
    counters_.reads += found == Found::kMiss;
}

// After a change of leases or of what waits.
void ExpertStore::settle(Stream& stream) {
    pools_[stream.pool]->admission.settle(stream.share, stream.waiting());
}

bool ExpertStore::reading(const Stream& stream) const {
    const Locked locked(mutex_);
    return stream.waiting() || !stream.in_flight.empty();
}

bool ExpertStore::admitted(const Stream& stream) const {
    const Locked locked(mutex_);
    return stream.share.admitted;
}

std::vector<HeldExpert> ExpertStore::next(const std::shared_ptr<Stream>& stream) {
    SlotPlaces given_up;
    std::vector<HeldExpert> held;
    {
        Locked locked(mutex_);
        if (stream->ready.empty() && (stream->waiting() || !stream->in_flight.empty())) {
            const Stopwatch watch;
            const uint64_t answers = answers_;
            while (stream->ready.empty()) {
                const double most = options_.stall_seconds_allowed;
                const double allowed = (drive_gone_ ? std::min(most, kSecondsForAGoneDrive) : most) - watch.seconds();
                if (allowed <= 0) give_up(locked, *stream, answers == answers_, given_up);
                if (stream->ready.empty()) wait(*stream, locked, std::max(allowed, 0.05));
            }
            counters_.stall_seconds += watch.seconds();
        }
        const auto end = stream->ready.begin() + static_cast<std::ptrdiff_t>(arrived_first(locked, *stream));
        for (auto ready = stream->ready.begin(); ready != end; ++ready) {
            held.push_back(hold(locked, stream, ready->expert, ready->slot));
            held.back().error_ = ready->error;
        }
        stream->ready.erase(stream->ready.begin(), end);
    }
    cancel(given_up);
    return held;
}

// How many of the ready ones are handed out now, in front of the others: what is still copied comes with a call of its
// own, so that the caller has something to compute meanwhile.
size_t ExpertStore::arrived_first(const Locked&, Stream& stream) {
    std::vector<Stream::Ready>& ready = stream.ready;
    ExpertPool& pool = *pools_[stream.pool];
    const auto first = std::stable_partition(ready.begin(), ready.end(), [&](const Stream::Ready& each) {
        return each.error || pool.arrival(each.slot) == nullptr;
    });
    return static_cast<size_t>((first == ready.begin() ? ready.end() : first) - ready.begin());
}

// Without a slot the handle holds nothing.
HeldExpert ExpertStore::hold(const Locked&, const std::shared_ptr<Stream>& stream, int expert, size_t slot) {
    HeldExpert held(expert, stream->index_of[static_cast<size_t>(expert)] - 1);
    if (slot == kNoSlot) return held;
    ExpertPool& pool = *pools_[stream->pool];
    held.slot_ = slot;
    held.stream_ = stream;
    held.record_ = pool.memory->buffer(slot);
    held.arrived_ = pool.arrival(slot);
    counters_.copies_waited += held.arrived_ != nullptr;
    return held;
}

// Waits until something of the stream may have changed, at most so long.
void ExpertStore::wait(Stream& stream, Locked& locked, double seconds) {
    ExpertPool& pool = *pools_[stream.pool];
    const bool for_use = stream.waiting() && !pool.uses.empty();
    if (!for_use && !reads_.any_waits_for_landing(locked, stream.pool)) {
        locked.wait_for(stream.changed, seconds);
        return;
    }
    // A slot or a landing area may come free without anybody telling: an operation on a device ends.
    if (for_use && stream.in_flight.empty()) {
        const EventPtr use = pool.uses.front().done;
        locked.unlocked([&] { use->wait(); });
    } else {
        locked.wait_for(stream.changed, kPollSeconds);
    }
    SlotPlaces submitted;
    pump(locked, stream.pool, submitted);
    locked.unlocked([&] { reads_.submit(submitted); });
}

void ExpertStore::give_back(Stream& stream, size_t slot, EventPtr use) {
    SlotPlaces submitted;
    {
        const Locked locked(mutex_);
        ExpertPool& pool = *pools_[stream.pool];
        if (use && !use->done()) {
            pool.uses.push_back({slot, std::move(use)});
            // Who waits for any slot now has something to watch.
            for (Stream* other : pool.streams) {
                if (other->waiting()) other->changed.notify_all();
            }
        } else {
            pool.cache.release(slot);
        }
        --stream.share.leases;
        settle(stream);
        pump(locked, stream.pool, submitted);
        pool.retire_slots();
        pool.retire_host_slots();
    }
    reads_.submit(submitted);
}

void ExpertStore::close(Stream& stream) {
    if (!stream.open) return;  // asked for nothing
    SlotPlaces submitted, unwanted;
    {
        const Locked locked(mutex_);
        ExpertPool& pool = *pools_[stream.pool];
        for (const Stream::Ready& ready : stream.ready) {
            if (ready.error) continue;
            pool.cache.release(ready.slot);
            --stream.share.leases;
        }
        for (const size_t slot : stream.in_flight) {
            std::erase(pool.waiters[slot], &stream);
            pool.cache.release(slot);
            --stream.share.leases;
            if (pool.cache.top().leases(slot) == 0) unwanted.push_back({stream.pool, slot});
        }
        stream.ready.clear();
        stream.in_flight.clear();
        stream.plan.waiting.clear();
        stream.next_waiting = 0;
        pool.admission.leave(stream.share);
        pool.streams.remove(&stream);
        // What a prompt has read and waited for says nothing about decoding.
        if (stream.scan) meter_.restart(counters_.stall_seconds);
        pump(locked, stream.pool, submitted);
        pool.retire_slots();
        pool.retire_host_slots();
    }
    cancel(unwanted);
    reads_.submit(submitted);
}

}  // namespace sluice
