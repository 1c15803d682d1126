#include "model/state_pool.h"

#include <utility>

#include "base/error.h"
#include "base/memory.h"

namespace sluice {

StatePool::StatePool(Backend& backend, StateParts parts, const StatePoolSize& size)
    : backend_(backend), parts_(std::move(parts)), pages_(size.pages), slots_(size.slots) {
    for (const std::vector<StatePart>& layer : parts_) {
        std::vector<Memory>& memory = memory_.emplace_back();
        for (const StatePart& part : layer) {
            memory.push_back(part.grows() ? reserve(part.page_bytes(), size.pages)
                                          : reserve(part.fixed_bytes(), size.slots));
            (part.grows() ? page_bytes_ : slot_bytes_) += memory.back().bytes;
        }
    }
}

StatePool::Memory StatePool::reserve(uint64_t bytes, int64_t count) const {
    const uint64_t distance = round_up(bytes, kPageBytes);
    uint64_t all = 0;
    if (__builtin_mul_overflow(distance, static_cast<uint64_t>(count), &all)) {
        fail(ErrorCode::kOutOfMemory, "no memory holds {} times {} bytes of sequences' states", count, bytes);
    }
    return {.buffer = backend_.reserve(all), .bytes = bytes, .distance = distance};
}

Region StatePool::region(const Memory& memory, int32_t number) {
    return {memory.buffer, static_cast<uint64_t>(number) * memory.distance, memory.bytes};
}

template <typename Visit>
void StatePool::for_each_part(bool grows, Visit&& visit) const {
    for (size_t l = 0; l < parts_.size(); ++l) {
        for (size_t p = 0; p < parts_[l].size(); ++p) {
            if (parts_[l][p].grows() == grows) visit(memory_[l][p]);
        }
    }
}

std::optional<int32_t> StatePool::take(OwnedNumbers& numbers) const {
    std::optional<int32_t> number = numbers.take();
    while (!number && give_up_ && give_up_()) number = numbers.take();
    return number;
}

int32_t StatePool::take_page() {
    const std::optional<int32_t> page = take(pages_);
    if (page) return *page;
    fail(ErrorCode::kOutOfMemory,
         "all {} pages of {} tokens of the KV cache are taken: close a session or drop a checkpoint", pages_.limit(),
         kKvPageTokens);
}

int32_t StatePool::take_slot() {
    const std::optional<int32_t> slot = take(slots_);
    if (!slot) {
        fail(ErrorCode::kOutOfMemory,
             "all {} recurrent states are taken: close a session or drop a checkpoint, or open the model for more "
             "`sessions`",
             slots_.limit());
    }
    for_each_part(false, [&](const Memory& memory) { backend_.clear(region(memory, *slot)); });
    return *slot;
}

void StatePool::release_page(int32_t page) {
    if (!pages_.release(page)) return;
    for_each_part(true, [&](const Memory& memory) { backend_.discard(region(memory, page)); });
}

void StatePool::release_slot(int32_t slot) {
    if (!slots_.release(slot)) return;
    for_each_part(false, [&](const Memory& memory) { backend_.discard(region(memory, slot)); });
}

int32_t StatePool::own_page(int32_t page) {
    if (!pages_.shared(page)) return page;
    const int32_t copy = take_page();
    for_each_part(true, [&](const Memory& memory) { backend_.copy(region(memory, page), region(memory, copy)); });
    pages_.release(page);
    return copy;
}

int32_t StatePool::own_slot(int32_t slot) {
    if (!slots_.shared(slot)) return slot;
    const int32_t copy = take_slot();
    for_each_part(false, [&](const Memory& memory) { backend_.copy(region(memory, slot), region(memory, copy)); });
    slots_.release(slot);
    return copy;
}

Region StatePool::page_region(size_t layer, size_t part, int32_t page) const {
    return region(memory_[layer][part], page);
}

Region StatePool::slot_region(size_t layer, size_t part, int32_t slot) const {
    return region(memory_[layer][part], slot);
}

PagedCache StatePool::cache(size_t layer, size_t part, const Tensor& pages) const {
    const Memory& memory = memory_[layer][part];
    return {.format = parts_[layer][part].format,
            .page_tokens = kKvPageTokens,
            .pool = memory.buffer,
            .page_bytes = memory.distance,
            .pages = pages};
}

StateSlots StatePool::states(size_t layer, size_t part, const Tensor& slots) const {
    const Memory& memory = memory_[layer][part];
    return {.pool = memory.buffer,
            .slot_bytes = memory.distance,
            .slots = slots,
            .rows = parts_[layer][part].rows,
            .columns = parts_[layer][part].columns};
}

}  // namespace sluice
