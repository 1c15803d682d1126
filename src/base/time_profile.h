#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace sluice {

// Calls and seconds by name. Thread-safe.
class TimeProfile {
  public:
    struct Entry {
        uint64_t calls = 0;
        double seconds = 0;
    };

    void add(std::string_view name, double seconds) {
        const std::lock_guard lock(mutex_);
        auto found = entries_.find(name);
        if (found == entries_.end()) found = entries_.emplace(std::string(name), Entry{}).first;
        ++found->second.calls;
        found->second.seconds += seconds;
    }
    std::map<std::string, Entry, std::less<>> entries() const {
        const std::lock_guard lock(mutex_);
        return entries_;
    }

  private:
    mutable std::mutex mutex_;
    std::map<std::string, Entry, std::less<>> entries_;
};

}  // namespace sluice
