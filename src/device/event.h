#pragma once

#include <memory>

namespace sluice {

// Work that was handed to somebody else (a device queue) and will be done some time. Thread-safe.
class Event {
  public:
    virtual ~Event() = default;
    virtual bool done() const = 0;
    virtual void wait() = 0;  // returns when done
};
using EventPtr = std::shared_ptr<Event>;

}  // namespace sluice
