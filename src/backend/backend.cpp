#include "backend/backend.h"

#include "backend/checks.h"
#include "backend/describe.h"
#include "base/clock.h"

namespace sluice {

void Backend::run(const Operation& operation) {
    check_operation(operation);
    if (profile_ == nullptr) return execute(operation);
    const Stopwatch watch;
    execute(operation);
    wait();
    profile_->add(operation_label(operation), watch.seconds());
}

}  // namespace sluice
