#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/memory.h"

namespace sluice {

// Memory that is used again: one operation, or one piece of it, at a time. It counts what is taken, so that whoever has
// taken as much before finds it in one piece.
class Scratch {
  public:
    // Gives back all that was taken; `bytes` may then be taken from one piece of memory.
    void reset(size_t bytes = 0);
    // 64-byte aligned; stays where it is until the next reset().
    template <typename T>
    T* take(size_t count) {
        return reinterpret_cast<T*>(take_bytes(padded<T>(count)));
    }
    // What take<T>(count) uses.
    template <typename T>
    static size_t padded(size_t count) {
        return static_cast<size_t>(round_up(count * sizeof(T), 64));
    }

  private:
    std::byte* take_bytes(size_t bytes) {
        if (bytes > memory_.size() - used_) return overflow(bytes);
        std::byte* taken = memory_.data() + used_;
        used_ += bytes;
        return taken;
    }
    std::byte* overflow(size_t bytes);

    PageMemory memory_;  // what is taken from now
    size_t used_ = 0;    // of it
    std::vector<PageMemory> full_;
    size_t full_bytes_ = 0;  // that were taken of them
};

// The calling thread's own.
Scratch& thread_scratch();

}  // namespace sluice
