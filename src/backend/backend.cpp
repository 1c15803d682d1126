#include "backend/backend.h"

#include "backend/checks.h"
#include "backend/describe.h"
#include "base/clock.h"
#include "device/host_buffer.h"

namespace sluice {

std::unique_ptr<SlotMemory> Backend::make_host_slots(size_t slots, size_t slot_bytes) {
    return std::make_unique<HostSlots>(slots, slot_bytes);
}

void Backend::run(const Operation& operation) {
    check_operation(operation);
    if (profile_ == nullptr) return execute(operation);
    const Stopwatch watch;
    execute(operation);
    wait();
    profile_->add(operation_label(operation), watch.seconds());
}

}  // namespace sluice
