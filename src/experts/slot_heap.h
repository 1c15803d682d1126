#pragma once

#include <cstddef>
#include <vector>

namespace sluice {

// The evictable slots of one order, least valuable on top. Slots know their place, so any of them can leave.
class SlotHeap {
  public:
    // `place` is shared by all heaps of one policy: a slot sits in one heap at a time.
    explicit SlotHeap(std::vector<size_t>* place) : place_(place) {}

    bool empty() const { return entries_.empty(); }
    size_t top() const { return entries_.front().slot; }
    double top_value() const { return entries_.front().value; }

    void push(size_t slot, double value) {
        entries_.push_back({value, slot});
        rise(entries_.size() - 1);
    }

    void remove(size_t slot) {
        const size_t at = (*place_)[slot];
        const Entry last = entries_.back();
        entries_.pop_back();
        if (at == entries_.size()) return;
        entries_[at] = last;
        (*place_)[last.slot] = at;
        rise(at);
        sink((*place_)[last.slot]);
    }

    // After the values of all entries have changed.
    template <typename ValueOf>
    void update(ValueOf value_of) {
        for (Entry& entry : entries_) entry.value = value_of(entry.slot);
        for (size_t at = entries_.size() / 2; at > 0; --at) sink(at - 1);
    }

  private:
    struct Entry {
        double value;
        size_t slot;
        bool operator<(const Entry& other) const {
            return value != other.value ? value < other.value : slot < other.slot;
        }
    };

    void rise(size_t at) {
        const Entry entry = entries_[at];
        for (; at > 0 && entry < entries_[(at - 1) / 2]; at = (at - 1) / 2) put(at, entries_[(at - 1) / 2]);
        put(at, entry);
    }

    void sink(size_t at) {
        const Entry entry = entries_[at];
        while (2 * at + 1 < entries_.size()) {
            size_t child = 2 * at + 1;
            if (child + 1 < entries_.size() && entries_[child + 1] < entries_[child]) ++child;
            if (!(entries_[child] < entry)) break;
            put(at, entries_[child]);
            at = child;
        }
        put(at, entry);
    }

    void put(size_t at, const Entry& entry) {
        entries_[at] = entry;
        (*place_)[entry.slot] = at;
    }

    std::vector<Entry> entries_;
    std::vector<size_t>* place_;
};

}  // namespace sluice
