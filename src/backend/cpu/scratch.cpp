#include "backend/cpu/scratch.h"

namespace sluice {

void Scratch::reset(size_t bytes) {
    used_ = 0;
    if (bytes <= memory_.size()) return;
    memory_ = PageMemory();
    memory_ = PageMemory(round_up(bytes, kPageBytes));
}

Scratch& thread_scratch() {
    static thread_local Scratch scratch;
    return scratch;
}

}  // namespace sluice
