#pragma once

#include "device/buffer.h"
#include "device/event.h"

namespace sluice {

// Work in the order given, perhaps later. Queues run beside each other: what one needs of another it waits for by
// event, and the host waits for neither. One thread hands over.
class Queue {
  public:
    virtual ~Queue() = default;
    // Both regions are of the same size, else kUsage. Their buffers are kept alive until it ran.
    virtual void copy(const Region& source, const Region& target) = 0;
    virtual EventPtr mark() = 0;  // done when everything handed over so far is; null: it is already
    // What is handed over from now on begins when `event` is done; null: it may begin at once.
    virtual void after(const EventPtr& event) = 0;
    virtual void wait() = 0;  // until everything handed over is done
};

}  // namespace sluice
