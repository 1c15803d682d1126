#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "backend/backend.h"
#include "model/owned_numbers.h"
#include "model/state_parts.h"

namespace sluice {

// How much a pool can hold. It costs addresses; memory only as far as it is used, where the backend can.
struct StatePoolSize {
    int64_t pages = 4096;
    int64_t slots = 256;
};

// The memory of all sequences' states: pages, each of kKvPageTokens tokens in the caches of all layers, and slots, each
// with the parts of a fixed shape of all layers. Sequences and their checkpoints share both by number; whoever writes
// to one that is shared takes another first. One thread.
class StatePool {
  public:
    // Throws kOutOfMemory where the backend refuses so much.
    StatePool(Backend& backend, StateParts parts, const StatePoolSize& size);

    const StateParts& parts() const { return parts_; }
    bool has_caches() const { return page_bytes_ > 0; }
    bool has_fixed() const { return slot_bytes_ > 0; }
    uint64_t page_bytes() const { return page_bytes_; }  // of all layers
    uint64_t slot_bytes() const { return slot_bytes_; }
    int64_t free_pages() const { return pages_.limit() - pages_.taken(); }

    // Asked where all are taken: whether somebody gave something up, which may have had one.
    void set_give_up(std::function<bool()> give_up) { give_up_ = std::move(give_up); }
    int32_t take_page();  // what it holds means nothing; throws kOutOfMemory when all are taken
    int32_t take_slot();  // of zeros; likewise
    // One that is free, if there is any: what it holds means nothing.
    std::optional<int32_t> take_free_slot() { return slots_.take(); }
    void share_page(int32_t page) { pages_.add_owner(page); }
    void share_slot(int32_t slot) { slots_.add_owner(slot); }
    void release_page(int32_t page);
    void release_slot(int32_t slot);
    // The page as one that its caller alone owns: itself, or a copy in its place.
    int32_t own_page(int32_t page);
    int32_t own_slot(int32_t slot);

    // What a part of a layer has in a page or slot.
    Region page_region(size_t layer, size_t part, int32_t page) const;
    Region slot_region(size_t layer, size_t part, int32_t slot) const;

    // A part as operations take it, with the tables of a batch.
    PagedCache cache(size_t layer, size_t part, const Tensor& pages) const;
    StateSlots states(size_t layer, size_t part, const Tensor& slots) const;

    Backend& backend() const { return backend_; }

  private:
    // The pages or slots of one part side by side.
    struct Memory {
        BufferPtr buffer;
        uint64_t bytes = 0;     // of a page or slot
        uint64_t distance = 0;  // from one to the next: whole pages of the system's memory
    };

    Memory reserve(uint64_t bytes, int64_t count) const;
    std::optional<int32_t> take(OwnedNumbers& numbers) const;
    static Region region(const Memory& memory, int32_t number);
    template <typename Visit>
    void for_each_part(bool grows, Visit&& visit) const;

    Backend& backend_;
    StateParts parts_;
    std::vector<std::vector<Memory>> memory_;  // per part
    OwnedNumbers pages_, slots_;
    uint64_t page_bytes_ = 0, slot_bytes_ = 0;
    std::function<bool()> give_up_;
};

}  // namespace sluice
