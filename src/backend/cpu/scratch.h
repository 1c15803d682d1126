#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/memory.h"

namespace sluice {

// Memory that grows and is used again: one operation, or one piece of it, at a time.
class Scratch {
  public:
    // Forgets what was taken; `bytes` may be taken now.
    void reset(size_t bytes);
    // 64-byte aligned.
    template <typename T>
    T* take(size_t count) {
        std::byte* p = memory_.data() + used_;
        used_ += padded<T>(count);
        return reinterpret_cast<T*>(p);
    }
    // What take<T>(count) uses.
    template <typename T>
    static size_t padded(size_t count) {
        return static_cast<size_t>(round_up(count * sizeof(T), 64));
    }

  private:
    PageMemory memory_;
    size_t used_ = 0;
};

// The calling thread's own.
Scratch& thread_scratch();

}  // namespace sluice
