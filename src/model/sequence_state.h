#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "model/state_pool.h"

namespace sluice {

// Everything a sequence keeps between steps, at `position` tokens: numbers of pages and of a slot in a pool. Copied by
// fork(), which shares them; what is shared is copied when one of its owners goes on. One thread.
class SequenceState {
  public:
    explicit SequenceState(std::shared_ptr<StatePool> pool);
    SequenceState(SequenceState&& other) noexcept;
    SequenceState& operator=(SequenceState&& other) noexcept;
    ~SequenceState() { release(); }

    int64_t position() const { return position_; }
    bool recurrent() const { return pool_->has_fixed(); }
    uint64_t bytes() const;

    // Takes pages for `tokens` more tokens, and makes what they will be written to its own.
    void prepare_append(int64_t tokens);
    void advance(int64_t tokens);
    // The fixed parts are in another slot from now on; returns the one they were in, of which the state is no owner any
    // more.
    int32_t move_to(int32_t slot) { return std::exchange(slot_, slot); }
    // Of no other state, and another one when this one has changed.
    uint64_t version() const { return version_; }

    // The same state, independent from now on.
    SequenceState fork() const;
    // Forgets everything from `position` on. Only for models without recurrent layers, or position 0.
    void truncate(int64_t position);

    std::span<const int32_t> pages() const { return pages_; }
    int32_t slot() const { return slot_; }  // kNone without recurrent layers
    const StatePool& pool() const { return *pool_; }

    static constexpr int32_t kNone = -1;

    // The state as named byte blocks, and back: for snapshots. The blocks hold exactly position() tokens.
    struct Block {
        std::string name;
        std::vector<std::byte> bytes;
    };
    std::vector<Block> save() const;
    // `blocks` in the order and sizes of save() at `position` tokens (see block_sizes).
    void load(int64_t position, const std::vector<Block>& blocks);
    // Names and sizes that save() gives at `position` tokens.
    std::vector<std::pair<std::string, uint64_t>> block_sizes(int64_t position) const;

  private:
    // One more owner of what is named, which is counted already.
    SequenceState(std::shared_ptr<StatePool> pool, std::vector<int32_t> pages, int32_t slot, int64_t position);

    void clear();
    void release();
    void drop_pages(size_t keep);
    // visit(block, region in it, memory of the state) for all of the state at `position` tokens.
    template <typename Visit>
    void for_each_region(int64_t position, Visit&& visit) const;

    std::shared_ptr<StatePool> pool_;
    std::vector<int32_t> pages_;
    int32_t slot_ = kNone;
    int64_t position_ = 0;
    uint64_t version_ = 0;
};

}  // namespace sluice
