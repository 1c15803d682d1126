// Reads of the expert store: whose they are, what becomes of them, and those that nobody has asked for yet.

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/error.h"
#include "experts/expert_store.h"
#include "experts/stream_state.h"

namespace sluice {

namespace {

// Experts of about the same heat are read in the order in which they lie on the drive.
constexpr size_t kWarmBatch = 32;

}  // namespace

// What a lease that was just taken has to be filled with.
Filling ExpertStore::filling_of(const Locked&, size_t pool, int layer, const Lease& lease) const {
    return {.place = {pool, lease.slot},
            .key = {layer, lease.expert},
            .below = pools_[pool]->cache.below(lease.slot),
            .saved_to = pools_[pool]->cache.saved_to(lease.slot)};
}

void ExpertStore::begin_read(const Locked& locked, const Filling& filling, ReadFor wish, bool listed,
                             SlotPlaces& submitted) {
    ++pools_[filling.place.pool]->moves;
    wishes_.begin(filling.place, filling.key, wish, listed);
    // The warm start says nothing about whether look-ahead pays, and a copy nothing about the drive.
    if (wish != ReadFor::kWarm && !filling.copied()) meter_.read_began(wish == ReadFor::kHint);
    reads_.begin(locked, filling, submitted);
}

void ExpertStore::completed(const ReadResult& result) {
    const SlotPlace place = Reads::place_of(result.tag);
    {
        const Locked locked(mutex_);
        if (!result.cancelled && !reads_.is_copy(locked, place)) {
            ++answers_;
            drive_gone_ = false;
        }
        if (!reads_.part_done(locked, result)) return;
    }
    const ReadOutcome outcome = reads_.finish(place);
    SlotPlaces submitted;
    Reads::Stuck stuck;
    {
        const Locked locked(mutex_);
        counters_.bytes_read += outcome.transferred;
        reads_.end(locked, outcome);
        end_read(locked, outcome, submitted);
        pump(locked, place.pool, submitted);
        issue_hints(locked, submitted);
        issue_warm(locked, submitted);
        if (!outcome.cancelled) stuck = reads_.stuck(locked);
        if (submitted.empty() && !stuck.copy) return;
        ++submitting_;
    }
    reads_.submit(submitted);
    if (stuck.copy) go_on_after(stuck);
    const Locked locked(mutex_);
    --submitting_;
    submitted_.notify_all();
}

// For reads whose landing areas are all copied from: nobody else may come to go on with them.
void ExpertStore::go_on_after(const Reads::Stuck& stuck) {
    while (!stuck.copy->done()) {
        std::this_thread::sleep_for(std::chrono::duration<double>(kPollSeconds));
        const Locked locked(mutex_);
        if (!reads_.stuck(locked).copy) return;
    }
    SlotPlaces submitted;
    {
        const Locked locked(mutex_);
        pump(locked, stuck.pool, submitted);
    }
    reads_.submit(submitted);
}

void ExpertStore::end_read(const Locked& locked, const ReadOutcome& outcome, SlotPlaces& submitted) {
    const auto [pool_index, slot] = outcome.place;
    ExpertPool& pool = *pools_[pool_index];
    const bool failed = outcome.failure.has_value();
    if (outcome.cancelled && !failed && !pool.waiters[slot].empty()) {
        // Somebody joined between the decision to cancel and the cancelling.
        ++counters_.reads;
        ++pool.moves;
        reads_.begin(locked, outcome, submitted);
        return;
    }
    const bool warm = wishes_.end(outcome.place, failed, outcome.cancelled);
    if (!warm && !outcome.copied()) meter_.read_ended();
    counters_.failed_reads += failed;
    if (failed || outcome.cancelled) {
        pool.cache.failed(slot);
    } else {
        if (warm && !outcome.copied()) {
            ++counters_.warm_reads;
            counters_.warm_bytes += outcome.transferred;
        }
        if (outcome.copied()) {
            ++counters_.copies;
            counters_.copied_bytes += pool.record_bytes();
        }
        pool.landed(outcome);
    }
    hand_out(locked, outcome);
}

// Tells everyone who waits for the slot; with a failure, each of them loses its lease.
void ExpertStore::hand_out(const Locked&, const ReadOutcome& outcome) {
    const size_t slot = outcome.place.slot;
    ExpertPool& pool = *pools_[outcome.place.pool];
    const auto& [layer, expert] = outcome.key;
    for (Stream* stream : pool.waiters[slot]) {
        std::erase(stream->in_flight, slot);
        if (!outcome.failure) {
            stream->ready.push_back({expert, slot, nullptr});
        } else {
            const Error error(outcome.failure->code,
                              fmt::format("{} (expert {} of layer {})", outcome.failure->text, expert, layer));
            stream->ready.push_back({expert, kNoSlot, std::make_exception_ptr(error)});
            --stream->share.leases;
            pool.cache.release(slot);
            settle(*stream);
        }
        stream->changed.notify_all();
    }
    pool.waiters[slot].clear();
}

// The drive did not answer in time: what the stream waits for becomes errors. Reads that have started keep their slots
// until they end, since the system may still write there.
void ExpertStore::give_up(const Locked&, Stream& stream, bool drive_silent, SlotPlaces& cancelled) {
    ExpertPool& pool = *pools_[stream.pool];
    for (const size_t slot : stream.in_flight) {
        const int expert = pool.cache.top().key(slot).expert;
        stream.ready.push_back({expert, kNoSlot, stalled(stream.layer, expert)});
        std::erase(pool.waiters[slot], &stream);
        pool.cache.release(slot);
        --stream.share.leases;
        if (pool.cache.top().leases(slot) == 0) cancelled.push_back({stream.pool, slot});
    }
    stream.in_flight.clear();
    drive_gone_ = drive_gone_ || drive_silent;
    // An admitted stream below its promise finds no slot only because abandoned reads hold them all.
    const bool no_slots = stream.share.admitted && stream.share.leases < stream.share.promised && stream.ready.empty();
    if (drive_silent || no_slots) {
        for (; stream.waiting(); ++stream.next_waiting) {
            const int expert = stream.plan.waiting[stream.next_waiting];
            stream.ready.push_back({expert, kNoSlot, stalled(stream.layer, expert)});
        }
    }
    counters_.failed_reads += stream.ready.size();
    settle(stream);
}

std::exception_ptr ExpertStore::stalled(int layer, int expert) const {
    const Error error(ErrorCode::kIo,
                      fmt::format("{}: no answer from the drive for {:.0f} s (expert {} of layer {})",
                                  reads_.where({layer, expert}), options_.stall_seconds_allowed, expert, layer));
    return std::make_exception_ptr(error);
}

// Reads that have not started. One that waits for a landing area is not with the reader.
void ExpertStore::cancel(const SlotPlaces& places) {
    for (const SlotPlace& place : places) {
        bool withdrawn = false;
        {
            const Locked locked(mutex_);
            withdrawn = reads_.withdraw(locked, place);
        }
        if (withdrawn) {
            completed({.tag = Reads::tag_of(place), .cancelled = true});
        } else {
            reads_.cancel(place);
        }
    }
}

LookAhead::Decision ExpertStore::look_ahead(const BatchShape& shape) {
    const Locked locked(mutex_);
    if (look_ahead_.depends_on_use(shape)) meter_.layer_begins(counters_.stall_seconds);
    return look_ahead_.decide(meter_.last(), shape);
}

void ExpertStore::hint(std::span<const ExpertKey> experts) {
    SlotPlaces submitted;
    {
        const Locked locked(mutex_);
        wishes_.hint(experts);
        issue_hints(locked, submitted);
    }
    reads_.submit(submitted);
}

void ExpertStore::issue_hints(const Locked& locked, SlotPlaces& submitted) {
    while (const std::optional<ExpertKey> key = wishes_.next_hint()) {
        wishes_.take_hint();
        if (!issue_hint(locked, *key, submitted)) wishes_.drop_hints();
    }
}

// False when there is no slot to spare.
bool ExpertStore::issue_hint(const Locked& locked, const ExpertKey& key, SlotPlaces& submitted) {
    const size_t pool_index = pool_of(key.layer);
    ExpertPool& pool = *pools_[pool_index];
    if (!has_slot_to_spare(pool)) return false;
    if (pool.cache.top().find(key.layer, key.expert) != kNoSlot) return true;
    pool.sweep_copied();
    const Lease lease = pool.cache.take(key.layer, key.expert, true);
    if (lease.found == Found::kFull) return false;
    pool.cache.release(lease.slot);
    counters_.prefetch_reads += lease.found == Found::kMiss;
    begin_read(locked, filling_of(locked, pool_index, key.layer, lease), ReadFor::kHint, true, submitted);
    return true;
}

// What the next token's layer is promised must not wait for a guess.
bool ExpertStore::has_slot_to_spare(const ExpertPool& pool) const {
    const auto of_token = static_cast<size_t>(catalogue_.experts_per_token);
    return !pool.admission.anyone_waits() && pool.admission.spare(of_token) > wishes_.unasked();
}

void ExpertStore::warm_up(std::span<const ExpertKey> experts) {
    std::vector<ExpertKey> ordered(experts.begin(), experts.end());
    for (auto batch = ordered.begin(); batch != ordered.end();) {
        const auto end = batch + std::min<std::ptrdiff_t>(kWarmBatch, ordered.end() - batch);
        std::sort(batch, end, [this](const ExpertKey& a, const ExpertKey& b) {
            return reads_.place_on_drive(a) < reads_.place_on_drive(b);
        });
        batch = end;
    }
    SlotPlaces submitted;
    {
        const Locked locked(mutex_);
        wishes_.warm(ordered);
        issue_warm(locked, submitted);
    }
    reads_.submit(submitted);
}

void ExpertStore::go_on_warming() {
    SlotPlaces submitted;
    {
        const Locked locked(mutex_);
        wishes_.go_on_warming();
        issue_warm(locked, submitted);
    }
    reads_.submit(submitted);
}

void ExpertStore::issue_warm(const Locked& locked, SlotPlaces& submitted) {
    while (const std::optional<ExpertKey> key = wishes_.next_warm()) {
        const size_t pool_index = pool_of(key->layer);
        ExpertPool& pool = *pools_[pool_index];
        if (!has_slot_to_spare(pool)) return;
        wishes_.take_warm();
        pool.sweep_copied();
        if (!pool.cache.top().has_empty() || pool.cache.has(key->layer, key->expert)) continue;
        const Lease lease = pool.cache.take(key->layer, key->expert, true);
        pool.cache.release(lease.slot);
        begin_read(locked, filling_of(locked, pool_index, key->layer, lease), ReadFor::kWarm, true, submitted);
    }
}

}  // namespace sluice
