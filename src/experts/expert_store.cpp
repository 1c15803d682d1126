#include "experts/expert_store.h"

#include <algorithm>
#include <numeric>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "base/memory.h"
#include "experts/stream_state.h"

namespace sluice {

namespace {

// For a question that ends before the checkpoint does: it owns nothing.
ExpertCatalogue borrowed_catalogue(const Checkpoint& checkpoint) {
    return ExpertCatalogue::of(std::shared_ptr<const Checkpoint>(std::shared_ptr<void>(), &checkpoint));
}

ExpertCatalogue catalogue_of(std::shared_ptr<const Checkpoint> checkpoint, const ExpertStoreOptions& options) {
    ExpertCatalogue catalogue = ExpertCatalogue::of(std::move(checkpoint), options.in_tiles);
    if (options.held) catalogue.held = options.held;
    return catalogue;
}

using Pools = std::vector<std::unique_ptr<ExpertPool>>;

uint64_t sum_of(const Pools& pools, uint64_t (ExpertPool::*bytes)() const) {
    return std::accumulate(pools.begin(), pools.end(), uint64_t{0},
                           [bytes](uint64_t sum, const auto& pool) { return sum + ((*pool).*bytes)(); });
}

std::vector<size_t> slots_of(const Pools& pools) {
    std::vector<size_t> slots;
    for (const auto& pool : pools) slots.push_back(pool->memory->slots());
    return slots;
}

// kNoSlot: a layer without experts.
std::vector<size_t> pools_of_layers(const ExpertCatalogue& catalogue) {
    const std::vector<uint64_t> sizes = catalogue.record_sizes();
    std::vector<size_t> pools;
    for (const uint64_t size : catalogue.record_bytes) {
        const auto found = std::find(sizes.begin(), sizes.end(), size);
        pools.push_back(found == sizes.end() ? kNoSlot : static_cast<size_t>(found - sizes.begin()));
    }
    return pools;
}

}  // namespace

ExpertStore::ExpertStore(std::shared_ptr<const Checkpoint> checkpoint, const ExpertStoreOptions& options,
                         const MakeSlots& make_slots)
    : ExpertStore(catalogue_of(std::move(checkpoint), options), options, make_slots) {}

ExpertStore::ExpertStore(ExpertCatalogue catalogue, const ExpertStoreOptions& options, const MakeSlots& make_slots,
                         const MakeReader& make_reader)
    : catalogue_(std::move(catalogue)),
      options_(options),
      pools_(make_pools(catalogue_, options.policy, {options.cache_bytes, make_slots}, options.host)),
      pool_of_layer_(pools_of_layers(catalogue_)),
      look_ahead_(options.look_ahead, full_bytes() >= catalogue_.all_bytes()),
      wishes_(slots_of(pools_)),
      used_(static_cast<int>(catalogue_.record_bytes.size()), catalogue_.experts),
      reads_(catalogue_, {.checksums = options.verify_checksums, .every_read = options.verify_every_read}) {
    for (const auto& pool : pools_) reads_.add_pool(*pool->memory, pool->host ? pool->host->memory.get() : nullptr);
    const auto answer = [this](const ReadResult& result) { completed(result); };
    if (make_reader) {
        reads_.use_reader(make_reader(answer), answer);
        return;
    }
    const std::vector<uint64_t> sizes = catalogue_.record_sizes();
    ReaderOptions reading{.kind = options_.reader, .direct = options_.direct_io, .depth = options_.read_threads};
    reading.record_bytes = sizes.empty() ? kPageBytes : sizes.back();
    reading.read_bytes = catalogue_.all_bytes();
    reading.reserved_bytes = full_bytes() + full_host_bytes();
    reads_.use_reader(open_reader(catalogue_.files, reading, answer), answer);
}

// Nothing is issued any more, and what was is with the reader before that goes.
ExpertStore::~ExpertStore() {
    {
        Locked locked(mutex_);
        wishes_.drop_hints();
        wishes_.stop_warming();
        reads_.withdraw_all(locked);
        locked.wait(submitted_, [this] { return submitting_ == 0; });
    }
    reads_.close();
}

uint64_t ExpertStore::floor_bytes(const Checkpoint& checkpoint) {
    return borrowed_catalogue(checkpoint).floor_bytes();
}

uint64_t ExpertStore::full_bytes(const Checkpoint& checkpoint) {
    return borrowed_catalogue(checkpoint).all_bytes();
}

size_t ExpertStore::pool_of(int layer) const {
    if (layer < 0 || static_cast<size_t>(layer) >= pool_of_layer_.size() ||
        pool_of_layer_[static_cast<size_t>(layer)] == kNoSlot) {
        fail(ErrorCode::kUsage, "layer {} has no experts", layer);
    }
    return pool_of_layer_[static_cast<size_t>(layer)];
}

uint64_t ExpertStore::cache_bytes() const {
    const Locked locked(mutex_);
    return sum_of(pools_, &ExpertPool::bytes_in_service);
}

uint64_t ExpertStore::host_bytes() const {
    const Locked locked(mutex_);
    return sum_of(pools_, &ExpertPool::host_bytes_in_service);
}

const ExpertLayout& ExpertStore::layout(int layer) const {
    std::ignore = pool_of(layer);
    return catalogue_.layouts.at(static_cast<size_t>(layer));
}

bool ExpertStore::holds_all_of(int layer) const {
    const size_t pool = pool_of(layer);
    const auto layers = static_cast<size_t>(std::ranges::count(pool_of_layer_, pool));
    const Locked locked(mutex_);
    return pools_[pool]->admission.slots() >= layers * static_cast<size_t>(catalogue_.experts);
}

void ExpertStore::keep_all_of(int layer) {
    const Locked locked(mutex_);
    pools_[pool_of(layer)]->fixed = true;
}

void ExpertStore::count_hits(uint64_t choices) {
    const Locked locked(mutex_);
    counters_.hits += choices;
}

uint64_t ExpertStore::full_bytes() const {
    return sum_of(pools_, &ExpertPool::all_bytes);
}

uint64_t ExpertStore::full_host_bytes() const {
    return sum_of(pools_, &ExpertPool::all_host_bytes);
}

void ExpertStore::resize(uint64_t bytes) {
    const uint64_t floor = catalogue_.floor_bytes();
    const uint64_t full = full_bytes();
    const double share =
        full <= floor ? 1.0
                      : static_cast<double>(std::clamp(bytes, floor, full) - floor) / static_cast<double>(full - floor);
    const auto per_token = static_cast<size_t>(catalogue_.experts_per_token);
    for (size_t i = 0; i < pools_.size(); ++i) {
        ExpertPool& pool = *pools_[i];
        SlotPlaces submitted;
        {
            const Locked locked(mutex_);
            const size_t beyond = pool.memory->slots() - per_token;
            pool.target = per_token + static_cast<size_t>(share * static_cast<double>(beyond));
            pool.restore_slots();
            pool.retire_slots();
            pump(locked, i, submitted);
        }
        reads_.submit(submitted);
    }
}

void ExpertStore::resize_host(uint64_t bytes) {
    const uint64_t full = full_host_bytes();
    const double share = full <= bytes ? 1.0 : static_cast<double>(bytes) / static_cast<double>(full);
    const Locked locked(mutex_);
    for (const auto& pool : pools_) {
        if (!pool->host) continue;
        pool->host->target = static_cast<size_t>(share * static_cast<double>(pool->host->memory->slots()));
        pool->sweep_copied();
        pool->restore_host_slots();
        pool->retire_host_slots();
    }
}

ExpertCounters ExpertStore::counters() const {
    const Locked locked(mutex_);
    return counters_;
}

HotList ExpertStore::used() const {
    const Locked locked(mutex_);
    return used_;
}

}  // namespace sluice
