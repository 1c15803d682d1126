#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"

namespace sluice {

// The line of a bar that fits into so many columns: what there is no room for is left out, the bar first.
std::string bar_line(const std::string& label, double fraction, double seconds_left, size_t columns);

// A line on stderr for work that lasts over two seconds: a bar on a terminal, nothing elsewhere. One thread.
class Progress {
  public:
    Progress(std::string label, uint64_t total, bool enabled = true);
    ~Progress();  // clears the bar
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    void advance_to(uint64_t done);

  private:
    std::string label_;
    uint64_t total_;
    bool enabled_;
    bool drawn_ = false;
    double last_drawn_ = 0;
    Stopwatch watch_;
};

}  // namespace sluice
