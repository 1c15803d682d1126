#include "experts/expert_store.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/size.h"
#include "experts/store_core.h"

namespace sluice {

namespace {

// For a question that ends before the checkpoint does: it owns nothing.
ExpertCatalogue borrowed_catalogue(const Checkpoint& checkpoint) {
    return ExpertCatalogue::of(std::shared_ptr<const Checkpoint>(std::shared_ptr<void>(), &checkpoint));
}

}  // namespace

ExpertStream::ExpertStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ExpertStream::ExpertStream(ExpertStream&&) noexcept = default;
ExpertStream::~ExpertStream() {
    if (impl_) impl_->core->close(*impl_);
}

std::vector<ReadyExpert> ExpertStream::next() {
    return impl_->core->next(*impl_);
}

bool ExpertStream::reading() const {
    return impl_->core->reading(*impl_);
}

bool ExpertStream::admitted() const {
    return impl_->core->admitted(*impl_);
}

void ExpertStream::release(const ReadyExpert& ready, std::shared_ptr<Event> use) {
    impl_->core->release(*impl_, ready, std::move(use));
}

ExpertStore::ExpertStore(std::shared_ptr<const Checkpoint> checkpoint, const ExpertStoreOptions& options,
                         const MakeSlots& make_slots)
    : ExpertStore(ExpertCatalogue::of(std::move(checkpoint)), options, make_slots) {}

ExpertStore::ExpertStore(ExpertCatalogue catalogue, const ExpertStoreOptions& options, const MakeSlots& make_slots,
                         const MakeReader& make_reader)
    : core_(std::make_unique<ExpertStoreCore>(std::move(catalogue), options, make_slots, make_reader)) {}

ExpertStore::~ExpertStore() = default;

uint64_t ExpertStore::floor_bytes(const Checkpoint& checkpoint) {
    return borrowed_catalogue(checkpoint).floor_bytes();
}

uint64_t ExpertStore::full_bytes(const Checkpoint& checkpoint) {
    return borrowed_catalogue(checkpoint).all_bytes();
}

ExpertStream ExpertStore::stream(int layer, std::span<const int> ids, ExpertUse use) {
    return ExpertStream(core_->open(layer, ids, use));
}

void ExpertStore::look_ahead(std::span<const ExpertKey> experts) {
    core_->look_ahead(experts);
}
bool ExpertStore::looks_ahead() {
    return core_->looks_ahead();
}
ExpertStream ExpertStore::read_ahead(int layer, std::span<const int> experts) {
    return ExpertStream(core_->open_ahead(layer, experts));
}
bool ExpertStore::reads_ahead() const {
    return core_->reads_ahead();
}
void ExpertStore::warm_up(std::span<const ExpertKey> experts) {
    core_->warm_up(experts);
}
void ExpertStore::go_on_warming() {
    core_->go_on_warming();
}
HotList ExpertStore::used() const {
    return core_->used();
}

SlotMemory& ExpertStore::slots(size_t pool) {
    return core_->slots(pool);
}
size_t ExpertStore::pools() const {
    return core_->pools();
}
size_t ExpertStore::pool_of(int layer) const {
    return core_->pool_of(layer);
}
ExpertCounters ExpertStore::counters() const {
    return core_->counters();
}
std::string ExpertStore::reader_name() const {
    return core_->reader().name();
}
bool ExpertStore::direct_io() const {
    return core_->reader().direct();
}
uint64_t ExpertStore::cache_bytes() const {
    return core_->cache_bytes();
}
void ExpertStore::resize(uint64_t bytes) {
    core_->resize(bytes);
}

}  // namespace sluice
