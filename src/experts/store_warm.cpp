// Warm start of the expert store: what earlier runs used is read into slots that are still free.

#include <algorithm>

#include "experts/store_core.h"

namespace sluice {

namespace {

// Warm reads in flight at once. One that has started delays the demand read that comes after it.
constexpr size_t kWarmReads = 4;
// Experts of about the same heat are read in the order in which they lie on the drive.
constexpr size_t kWarmBatch = 32;

}  // namespace

void ExpertStoreCore::warm_up(std::span<const ExpertKey> experts) {
    ReadList reads;
    {
        const std::scoped_lock lock(mutex_);
        warm_ = Warm::kGoesOn;
        warm_left_.assign(experts.begin(), experts.end());
        for (auto batch = warm_left_.begin(); batch != warm_left_.end();) {
            const auto end = batch + std::min<std::ptrdiff_t>(kWarmBatch, warm_left_.end() - batch);
            std::sort(batch, end, [this](const ExpertKey& a, const ExpertKey& b) {
                return drive_order_[index(a)] < drive_order_[index(b)];
            });
            batch = end;
        }
        std::reverse(warm_left_.begin(), warm_left_.end());
        issue_warm(reads);
    }
    submit(reads);
}

void ExpertStoreCore::go_on_warming() {
    ReadList reads;
    {
        const std::scoped_lock lock(mutex_);
        if (warm_ == Warm::kPaused) warm_ = Warm::kGoesOn;
        issue_warm(reads);
    }
    submit(reads);
}

void ExpertStoreCore::issue_warm(ReadList& reads) {
    while (warm_ == Warm::kGoesOn && demand_reads_ == 0 && !warm_left_.empty() && warm_reads_.size() < kWarmReads) {
        const ExpertKey key = warm_left_.back();
        const size_t pool_index = pool_of(key.layer);
        Pool& pool = *pools_[pool_index];
        if (pool.wanting > 0 || !has_slot_to_spare(pool)) return;
        warm_left_.pop_back();
        if (!pool.cache.has_empty() || pool.cache.find(key.layer, key.expert) != kNoSlot) continue;
        const Lease lease = pool.cache.take(key.layer, key.expert, true);
        pool.cache.release(lease.slot);
        pool.reads[lease.slot].key = key;
        warm_reads_.emplace_back(pool_index, lease.slot);
        begin_read(pool_index, lease.slot, ReadFor::kWarmStart, reads);
    }
}

// Somebody evaluates: what has not started goes back to the list.
void ExpertStoreCore::pause_warm(std::vector<uint64_t>& cancel) {
    if (warm_ == Warm::kGoesOn) warm_ = Warm::kPaused;
    for (const auto& [pool, slot] : warm_reads_) {
        if (pools_[pool]->reads[slot].purpose == ReadFor::kWarmStart) cancel.push_back(tag_of(pool, slot));
    }
}

// False when the read was not one of the warm start's.
bool ExpertStoreCore::end_warm(size_t pool, size_t slot, bool failed) {
    if (std::erase(warm_reads_, std::pair(pool, slot)) == 0) return false;
    const SlotRead& read = pools_[pool]->reads[slot];
    if (failed) {
        stop_warm();  // who needs it will say what is wrong
    } else if (!read.cancelled) {
        ++counters_.warm_reads;
        counters_.warm_bytes += read.transferred;
    } else if (warm_ != Warm::kOver) {
        warm_left_.push_back(read.key);
    }
    return true;
}

void ExpertStoreCore::stop_warm() {
    warm_ = Warm::kOver;
    warm_left_.clear();
}

}  // namespace sluice
