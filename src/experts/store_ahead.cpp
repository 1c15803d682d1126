// Look-ahead of the expert store: reads that nobody has asked for yet, in time that the drive has to spare.

#include <algorithm>

#include "experts/store_core.h"

namespace sluice {

namespace {

// Look-ahead reads in flight at once. One that has started delays the demand read that comes after it, so they are
// fewer than a drive can take.
constexpr size_t kReadsAhead = 4;
// Above this share of the time in which the drive reads what is needed, and below this one that is waited or was saved
// by reading ahead, look-ahead loses (docs/experiments.md).
constexpr double kBusyShare = 0.65;
constexpr double kWaitShare = 0.06;
// Layers between judgements: some tokens.
constexpr int kJudgedLayers = 256;

}  // namespace

bool ExpertStoreCore::looks_ahead() {
    if (options_.look_ahead == LookAhead::kOff || full_bytes() >= catalogue_.all_bytes()) return false;
    if (options_.look_ahead == LookAhead::kOn) return true;
    const std::scoped_lock lock(mutex_);
    judge_look_ahead();
    return ahead_pays_;
}

void ExpertStoreCore::look_ahead(std::span<const ExpertKey> experts) {
    ReadList reads;
    {
        const std::scoped_lock lock(mutex_);
        foreseen_.assign(experts.rbegin(), experts.rend());
        issue_foreseen(reads);
    }
    submit(reads);
}

std::unique_ptr<ExpertStoreCore::Stream> ExpertStoreCore::open_ahead(int layer, std::span<const int> ids) {
    auto stream = std::make_unique<Stream>();
    stream->core = this;
    stream->layer = layer;
    stream->pool = pool_of(layer);
    stream->scan = true;
    stream->ahead = true;
    Pool& pool = *pools_[stream->pool];
    stream->window = scan_window(pool.cache.slots(), catalogue_.experts_per_token);
    check_ids(layer, ids);
    ReadList reads;
    {
        const std::scoped_lock lock(mutex_);
        std::vector<int>& missing = stream->plan.waiting;
        for (const int expert : ids) {
            if (missing.size() < stream->window && pool.cache.find(layer, expert) == kNoSlot) missing.push_back(expert);
        }
        const size_t kept_free = pool.reserved + static_cast<size_t>(catalogue_.experts_per_token);
        if (missing.empty() || !reads_ahead() || pool.wanting > 0 || pool.in_service() <= kept_free) return stream;
        std::sort(missing.begin(), missing.end());
        stream->admitted = true;
        stream->promised = std::min(missing.size(), static_cast<size_t>(catalogue_.experts_per_token));
        pool.streams.push_back(stream.get());
        ++pool.wanting;
        // Not planned as a batch: in the order of eviction the present layer stays the one that is over.
        take_waiting(*stream, std::min(stream->window, pool.in_service() - kept_free), reads);
        if (stream->waiting()) {
            missing.resize(stream->next_waiting);
            settle(*stream, true);
        }
    }
    submit(reads);
    return stream;
}

void ExpertStoreCore::issue_foreseen(ReadList& reads) {
    while (demand_reads_ == 0 && !foreseen_.empty() && ahead_reads_.size() < kReadsAhead) {
        const ExpertKey key = foreseen_.back();
        foreseen_.pop_back();
        if (!issue_foreseen(key, reads)) foreseen_.clear();
    }
}

// False when there is no slot to spare.
bool ExpertStoreCore::issue_foreseen(const ExpertKey& key, ReadList& reads) {
    const size_t pool_index = pool_of(key.layer);
    Pool& pool = *pools_[pool_index];
    if (pool.wanting > 0 || !has_slot_to_spare(pool)) return false;
    if (pool.cache.find(key.layer, key.expert) != kNoSlot) return true;
    const Lease lease = pool.cache.take(key.layer, key.expert, true);
    if (lease.found == Found::kFull) return false;
    pool.cache.release(lease.slot);
    pool.reads[lease.slot].key = key;
    ++counters_.prefetch_reads;
    ahead_reads_.emplace_back(pool_index, lease.slot);
    begin_read(pool_index, lease.slot, ReadFor::kLookAhead, reads);
    return true;
}

// What the next token's layer is promised must not wait for a guess.
bool ExpertStoreCore::has_slot_to_spare(const Pool& pool) const {
    const size_t unasked = ahead_reads_.size() + warm_reads_.size();
    return pool.reserved + static_cast<size_t>(catalogue_.experts_per_token) + unasked < pool.in_service();
}

// A stream of `layer` has said what it wants.
void ExpertStoreCore::end_look_ahead(int layer, std::vector<uint64_t>& cancel) {
    std::erase_if(foreseen_, [layer](const ExpertKey& key) { return key.layer == layer; });
    for (const auto& [pool, slot] : ahead_reads_) {
        const SlotRead& read = pools_[pool]->reads[slot];
        if (read.purpose == ReadFor::kLookAhead && read.key.layer == layer) cancel.push_back(tag_of(pool, slot));
    }
}

// Somebody asks for what a read has brought or is bringing.
void ExpertStoreCore::count_wish_granted(SlotRead& read) {
    switch (std::exchange(read.purpose, ReadFor::kDemand)) {
        case ReadFor::kLookAhead:
            ++counters_.prefetch_hits;
            drive_use_.wasted -= std::min<uint64_t>(drive_use_.wasted, 1);
            break;
        case ReadFor::kWarmStart:
            ++counters_.warm_hits;
            break;
        case ReadFor::kDemand:
            break;
    }
}

void ExpertStoreCore::begin_read(size_t pool, size_t slot, ReadFor purpose, ReadList& reads) {
    pools_[pool]->reads[slot].purpose = purpose;
    reads.emplace_back(pool, slot);
    if (purpose == ReadFor::kWarmStart) return;  // says nothing about whether look-ahead pays
    const bool ahead = purpose == ReadFor::kLookAhead;
    if (drive_use_.in_flight++ == 0) drive_use_.busy.restart();
    ++drive_use_.reads;
    drive_use_.ahead += ahead;
    drive_use_.wasted += ahead;
}

// A read is over, whatever came of it.
void ExpertStoreCore::end_read(size_t pool, size_t slot, bool failed) {
    SlotRead& read = pools_[pool]->reads[slot];
    if (std::exchange(read.demanded, false)) --demand_reads_;
    if (end_warm(pool, slot, failed)) return;
    std::erase(ahead_reads_, std::pair(pool, slot));
    if (--drive_use_.in_flight == 0) drive_use_.busy_seconds += drive_use_.busy.seconds();
}

// Wrong guesses cost time of the drive, and guessing costs time of the processor: they are worth it only while what is
// needed leaves the drive time to spare, and the waits that they save would be felt.
void ExpertStoreCore::judge_look_ahead() {
    if (++drive_use_.layers < kJudgedLayers) return;
    const double wall = drive_use_.wall.seconds();
    const double busy = drive_use_.busy_seconds + (drive_use_.in_flight > 0 ? drive_use_.busy.seconds() : 0.0);
    const double per_read = busy / static_cast<double>(std::max<uint64_t>(drive_use_.reads, 1));
    const double wasted = per_read * static_cast<double>(drive_use_.wasted);
    const double saved = per_read * static_cast<double>(drive_use_.ahead) - wasted;
    const double waited = counters_.stall_seconds - drive_use_.stalls_before + saved;
    ahead_pays_ = busy - wasted < kBusyShare * wall && waited > kWaitShare * wall;
    restart_drive_use();
}

void ExpertStoreCore::restart_drive_use() {
    drive_use_.wall.restart();
    drive_use_.busy.restart();
    drive_use_.busy_seconds = 0;
    drive_use_.reads = drive_use_.ahead = drive_use_.wasted = 0;
    drive_use_.stalls_before = counters_.stall_seconds;
    drive_use_.layers = 0;
}

}  // namespace sluice
