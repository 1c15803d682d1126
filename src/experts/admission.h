#pragma once

#include <cstddef>

namespace sluice {

// What a stream may take of a pool's slots, and what it has.
struct StreamShare {
    size_t promised = 0;    // slots that it may always have while experts wait for one
    size_t window = 0;      // slots that it may have at most
    size_t leases = 0;      // slots that it has: in flight, ready and held
    size_t reserved = 0;    // what the pool counts for it: max(promised, leases) while experts wait, else leases
    bool admitted = false;  // its promise is kept
    bool waiting = false;   // experts wait for slots
};

// How a pool's slots are divided among streams, so that each of them gets through whatever the others hold: no more is
// promised than there is. Arithmetic alone; the shares are the streams' own.
class Admission {
  public:
    explicit Admission(size_t slots) : slots_(slots) {}

    size_t slots() const { return slots_; }  // in service
    void set_slots(size_t slots) { slots_ = slots; }
    size_t reserved() const { return reserved_; }  // of all streams; at most slots()
    bool anyone_waits() const { return waiting_ > 0; }

    void arrive(StreamShare& share);
    bool can_admit(const StreamShare& share) const { return reserved_ + share.promised <= slots_; }
    // Returns how many slots it may take at once: its promise, and where nobody came later, what no other was promised.
    size_t admit(StreamShare& share, bool last) const;
    // Slots it may have by now, once everybody is admitted.
    size_t room(const StreamShare& share) const;
    // After a change of its leases; `waiting`: whether experts still wait for slots.
    void settle(StreamShare& share, bool waiting);
    // It wants nothing more: what it has is all that counts.
    void leave(StreamShare& share) {
        share.promised = 0;
        settle(share, false);
    }

    // Slots that may be filled with what nobody has asked for: not those of one token, which the next layer will want.
    size_t spare(size_t slots_of_token) const {
        const size_t kept = reserved_ + slots_of_token;
        return slots_ > kept ? slots_ - kept : 0;
    }

  private:
    size_t slots_;
    size_t reserved_ = 0;
    size_t waiting_ = 0;  // streams
};

}  // namespace sluice
