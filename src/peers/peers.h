#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "device/event.h"

namespace sluice {

// A message under way. Of one that is sent, done means that its bytes may change.
class Delivery : public Event {
  public:
    // That came, once it is done. Never more than there was room for.
    virtual size_t bytes() const = 0;
};
using DeliveryPtr = std::shared_ptr<Delivery>;

// The processes of one job, each with a number, its rank; 0 leads. What one sends another arrives in the order it was
// sent. Regions of memory that are under way must stay until their transfer is done. Thread-safe.
class Peers {
  public:
    // Without leave(): the process ends without the others, which the launcher then ends, too.
    virtual ~Peers() = default;
    virtual int rank() const = 0;
    // Of each rank's host.
    virtual const std::vector<std::string>& hosts() const = 0;

    // Throw kIo naming the other's host where it cannot be reached; so do the events.
    virtual DeliveryPtr send(int to, std::span<const std::byte> bytes) = 0;
    virtual DeliveryPtr receive(int from, std::span<std::byte> bytes) = 0;
    // A message that nobody waits for yet goes on meanwhile, however long it is.
    virtual void carry_on(const DeliveryPtr&) {}
    virtual void barrier() = 0;
    // Once all have said all they had to say: nothing is sent afterwards. Waits for the others.
    virtual void leave() = 0;

    int size() const { return static_cast<int>(hosts().size()); }
    // "node2", or "node2 (rank 3)" where several of the job run on that host.
    std::string name(int rank) const {
        const std::string& host = hosts()[static_cast<size_t>(rank)];
        return std::ranges::count(hosts(), host) > 1 ? host + " (rank " + std::to_string(rank) + ")" : host;
    }
    // How many of the job run on this process's host.
    int processes_here() const {
        return static_cast<int>(std::ranges::count(hosts(), hosts()[static_cast<size_t>(rank())]));
    }
};

// The others of the job that a launcher started this process in, or nobody else. Once a process. Throws kUnsupported
// where this build cannot reach them.
std::unique_ptr<Peers> join_peers();

inline constexpr double kForEver = std::numeric_limits<double>::infinity();
// Waits until the event is done, `seconds` at most; false: it is not. `meanwhile` is called now and then and may throw.
bool wait_for(const Event& event, double seconds, const std::function<void()>& meanwhile = {});

}  // namespace sluice
