#pragma once

#include <cstddef>

#include "device/buffer.h"
#include "device/event.h"

namespace sluice {

// Memory for expert records, supplied by a device: `slots()` places of `slot_bytes()` each. The expert store decides
// what sits where; this only holds it. A record is read into a landing area in host memory. On a CPU that is the slot
// itself; a device copies from it, and has few of them, since they are memory that cannot be swapped.
class SlotMemory {
  public:
    virtual ~SlotMemory() = default;
    virtual size_t slots() const = 0;
    virtual size_t slot_bytes() const = 0;  // a multiple of 4096
    virtual size_t landings() const = 0;    // reads that may be under way at once; at most slots()

    // 4096-byte aligned host memory for a record of `slot`, by way of the landing area. Any thread; never waits. Only
    // when the event of the last record that landed there is done.
    virtual std::byte* land_at(size_t landing, size_t slot) = 0;
    // The whole record is there. Operations that begin when the event is done find it in the slot, and the landing area
    // is free by then; null: they do and it is. Once per record. Any thread; never waits.
    virtual EventPtr landed(size_t landing, size_t slot) = 0;
    // The same of a whole record that lies elsewhere in memory of the host (a slot of Backend::make_host_slots) and
    // stays there until the event is done.
    virtual EventPtr fill(size_t slot, const std::byte* record) = 0;
    // What is filled from now on is filled when `event` is done.
    virtual void after(const EventPtr& event) {
        if (event) event->wait();
    }
    // What the slot holds comes to such memory, which is complete when the event is done. What fills slots later begins
    // after it.
    virtual EventPtr save(size_t slot, std::byte* record) = 0;
    // Of slots that Backend::make_host_slots() made: whether operations may name this one where it is, now that a
    // record is there.
    virtual bool reached(size_t slot) const { return (void)slot, false; }
    // The slot holds nothing worth keeping: its physical memory may go back to the system until the next record.
    virtual void discard(size_t slot) = 0;
    // Whether memory goes back only where neighbours are discarded, so that the last slots had better go first; and
    // takes it again for a slot that was. False: there is none.
    virtual bool shrinks_at_end() const { return false; }
    virtual bool restore(size_t slot) { return (void)slot, true; }
    // The slot's memory, for operations; valid as long as this object. What landed(), fill(), save() and discard() do
    // to a slot is done in the order of the calls.
    virtual BufferPtr buffer(size_t slot) const = 0;
    // All slots, one after the other.
    virtual BufferPtr whole() const = 0;
};

// Throws kUsage when slot_bytes is not a multiple of the page, kOutOfMemory when no memory holds so much.
void check_slot_sizes(size_t slots, size_t slot_bytes);

}  // namespace sluice
