#include "experts/admission.h"

#include <algorithm>

namespace sluice {

void Admission::arrive(StreamShare& share) {
    share.waiting = true;
    ++waiting_;
}

size_t Admission::admit(StreamShare& share, bool last) const {
    share.admitted = true;
    return last ? std::max(share.promised, std::min(share.window, slots_ - reserved_)) : share.promised;
}

size_t Admission::room(const StreamShare& share) const {
    return std::min(share.window, slots_ - (reserved_ - share.reserved));
}

void Admission::settle(StreamShare& share, bool waiting) {
    const size_t now = waiting ? std::max(share.promised, share.leases) : share.leases;
    reserved_ = reserved_ - share.reserved + now;
    share.reserved = now;
    if (share.waiting && !waiting) --waiting_;
    share.waiting = waiting;
}

}  // namespace sluice
