#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace sluice {

// The bytes of some rows of a table, as they are stored. One that was found since the hand passed stays for another
// round.
class RowCache {
  public:
    RowCache(size_t rows, size_t row_bytes) : row_bytes_(row_bytes), bytes_(rows * row_bytes), slots_(rows) {}

    // Null where the row is not here.
    const std::byte* find(int64_t row) {
        const auto found = places_.find(row);
        if (found == places_.end()) return nullptr;
        slots_[found->second].found = true;
        return at(found->second);
    }

    // Where the bytes of a row that is not here are to be put; null where there is no room at all.
    std::byte* insert(int64_t row) {
        if (slots_.empty()) return nullptr;
        while (slots_[hand_].found) {
            slots_[hand_].found = false;
            advance();
        }
        const size_t slot = hand_;
        advance();
        if (slots_[slot].row >= 0) places_.erase(slots_[slot].row);
        slots_[slot].row = row;
        places_[row] = slot;
        return at(slot);
    }

    // What a cache of so many bytes in all can hold.
    static size_t rows_in(uint64_t bytes, uint64_t row_bytes) {
        return static_cast<size_t>(bytes / (row_bytes + kOverhead));
    }

  private:
    struct Slot {
        int64_t row = -1;
        bool found = false;
    };
    static constexpr uint64_t kOverhead = sizeof(Slot) + 6 * sizeof(void*);  // of a row: its slot, and its place's node

    std::byte* at(size_t slot) { return bytes_.data() + slot * row_bytes_; }
    void advance() { hand_ = (hand_ + 1) % slots_.size(); }

    size_t row_bytes_;
    std::vector<std::byte> bytes_;
    std::vector<Slot> slots_;
    std::unordered_map<int64_t, size_t> places_;
    size_t hand_ = 0;
};

}  // namespace sluice
