#include "model/sequence_state.h"

#include <fmt/format.h>

#include <atomic>

namespace sluice {

namespace {

uint64_t new_version() {
    static std::atomic<uint64_t> last = 0;
    return ++last;
}

int64_t page_count(int64_t tokens) {
    return (tokens + kKvPageTokens - 1) / kKvPageTokens;
}

}  // namespace

SequenceState::SequenceState(std::shared_ptr<StatePool> pool) : pool_(std::move(pool)) {
    clear();
}

SequenceState::SequenceState(std::shared_ptr<StatePool> pool, std::vector<int32_t> pages, int32_t slot,
                             int64_t position)
    : pool_(std::move(pool)), pages_(std::move(pages)), slot_(slot), position_(position), version_(new_version()) {}

SequenceState::SequenceState(SequenceState&& other) noexcept
    : pool_(std::move(other.pool_)),
      pages_(std::exchange(other.pages_, {})),
      slot_(std::exchange(other.slot_, kNone)),
      position_(std::exchange(other.position_, 0)),
      version_(std::exchange(other.version_, 0)) {}

SequenceState& SequenceState::operator=(SequenceState&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(pages_, other.pages_);
    std::swap(slot_, other.slot_);
    std::swap(position_, other.position_);
    std::swap(version_, other.version_);
    return *this;
}

void SequenceState::drop_pages(size_t keep) {
    while (pages_.size() > keep) {
        pool_->release_page(pages_.back());
        pages_.pop_back();
    }
}

void SequenceState::release() {
    if (pool_ == nullptr) return;
    drop_pages(0);
    if (slot_ != kNone) pool_->release_slot(std::exchange(slot_, kNone));
}

void SequenceState::clear() {
    release();
    position_ = 0;
    version_ = new_version();
    if (pool_->has_fixed()) slot_ = pool_->take_slot();
}

uint64_t SequenceState::bytes() const {
    return pages_.size() * pool_->page_bytes() + pool_->slot_bytes();
}

void SequenceState::advance(int64_t tokens) {
    position_ += tokens;
    version_ = new_version();
}

void SequenceState::prepare_append(int64_t tokens) {
    if (slot_ != kNone) slot_ = pool_->own_slot(slot_);
    if (!pool_->has_caches()) return;
    for (auto p = static_cast<size_t>(position_ / kKvPageTokens); p < pages_.size(); ++p) {
        pages_[p] = pool_->own_page(pages_[p]);
    }
    const auto needed = static_cast<size_t>(page_count(position_ + tokens));
    while (pages_.size() < needed) pages_.push_back(pool_->take_page());
}

SequenceState SequenceState::fork() const {
    for (const int32_t page : pages_) pool_->share_page(page);
    if (slot_ != kNone) pool_->share_slot(slot_);
    return {pool_, pages_, slot_, position_};
}

void SequenceState::truncate(int64_t position) {
    if (position == 0) return clear();
    drop_pages(static_cast<size_t>(page_count(position)));
    position_ = position;
    version_ = new_version();
}

std::vector<std::pair<std::string, uint64_t>> SequenceState::block_sizes(int64_t position) const {
    std::vector<std::pair<std::string, uint64_t>> sizes;
    for (size_t l = 0; l < pool_->parts().size(); ++l) {
        for (const StatePart& part : pool_->parts()[l]) {
            const uint64_t bytes =
                part.grows() ? static_cast<uint64_t>(page_count(position)) * part.page_bytes() : part.fixed_bytes();
            sizes.emplace_back(fmt::format("layers.{}.{}", l, part.name), bytes);
        }
    }
    return sizes;
}

template <typename Visit>
void SequenceState::for_each_region(int64_t position, Visit&& visit) const {
    size_t block = 0;
    for (size_t l = 0; l < pool_->parts().size(); ++l) {
        for (size_t p = 0; p < pool_->parts()[l].size(); ++p, ++block) {
            const StatePart& part = pool_->parts()[l][p];
            if (!part.grows()) {
                visit(block, uint64_t{0}, pool_->slot_region(l, p, slot_));
                continue;
            }
            for (size_t i = 0; i < static_cast<size_t>(page_count(position)); ++i) {
                visit(block, i * part.page_bytes(), pool_->page_region(l, p, pages_[i]));
            }
        }
    }
}

std::vector<SequenceState::Block> SequenceState::save() const {
    std::vector<Block> blocks;
    for (const auto& [name, bytes] : block_sizes(position_)) blocks.push_back({name, std::vector<std::byte>(bytes)});
    for_each_region(position_, [&](size_t block, uint64_t at, const Region& memory) {
        const std::span<std::byte> bytes = blocks[block].bytes;
        pool_->backend().download(memory.buffer, memory.offset, bytes.subspan(at, memory.bytes));
    });
    pool_->backend().wait();
    return blocks;
}

void SequenceState::load(int64_t position, const std::vector<Block>& blocks) {
    clear();
    prepare_append(position);
    for_each_region(position, [&](size_t block, uint64_t at, const Region& memory) {
        const std::span<const std::byte> bytes = blocks[block].bytes;
        pool_->backend().upload(memory.buffer, memory.offset, bytes.subspan(at, memory.bytes));
    });
    pool_->backend().wait();
    position_ = position;
    version_ = new_version();
}

}  // namespace sluice
