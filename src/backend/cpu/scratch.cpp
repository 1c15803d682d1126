#include "backend/cpu/scratch.h"

#include <algorithm>
#include <utility>

namespace sluice {

void Scratch::reset(size_t bytes) {
    const size_t wanted = std::max(bytes, full_.empty() ? 0 : full_bytes_ + used_);
    used_ = full_bytes_ = 0;
    full_.clear();
    if (wanted <= memory_.size()) return;
    memory_ = PageMemory();
    memory_ = PageMemory(round_up(wanted, kPageBytes));
}

std::byte* Scratch::overflow(size_t bytes) {
    constexpr size_t kLeast = 256 << 10;
    full_bytes_ += used_;
    if (memory_.size() > 0) full_.push_back(std::move(memory_));
    memory_ = PageMemory(round_up(std::max(bytes, kLeast), kPageBytes));
    used_ = bytes;
    return memory_.data();
}

Scratch& thread_scratch() {
    static thread_local Scratch scratch;
    return scratch;
}

}  // namespace sluice
