#pragma once

#include <cstddef>

#include "device/buffer.h"

namespace sluice {

// Memory for expert records, supplied by a device: `slots()` places of `slot_bytes()` each. The expert store decides
// what sits where; this only holds it. On a CPU a slot's landing area is the slot itself; a device copies from a
// landing area in host memory once the record is complete.
class SlotMemory {
  public:
    virtual ~SlotMemory() = default;
    virtual size_t slots() const = 0;
    virtual size_t slot_bytes() const = 0;  // a multiple of 4096

    // Host memory, 4096-byte aligned, that a record for this slot is read into. Any thread, one per slot at a time.
    virtual std::byte* landing(size_t slot) = 0;
    // The record's first `bytes` bytes are in landing(slot): operations queued from now on may read them from the slot.
    // Called once or more per read with growing `bytes`, the last time with the whole record. Any thread.
    virtual void landed(size_t slot, size_t bytes) = 0;
    // The slot holds nothing worth keeping: its physical memory may go back to the system until the next landing().
    virtual void discard(size_t slot) = 0;
    // The slot's memory, for operations; valid as long as this object.
    virtual BufferPtr buffer(size_t slot) const = 0;
};

}  // namespace sluice
