#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace sluice {

// Calls and seconds by name. One thread at a time.
class TimeProfile {
  public:
    struct Entry {
        uint64_t calls = 0;
        double seconds = 0;
    };

    void add(std::string_view name, double seconds) {
        auto found = entries_.find(name);
        if (found == entries_.end()) found = entries_.emplace(std::string(name), Entry{}).first;
        ++found->second.calls;
        found->second.seconds += seconds;
    }
    const std::map<std::string, Entry, std::less<>>& entries() const { return entries_; }

  private:
    std::map<std::string, Entry, std::less<>> entries_;
};

}  // namespace sluice
