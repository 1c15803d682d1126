#include "base/progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace sluice {

namespace {
constexpr double kFirstDrawSeconds = 0.7;  // shorter work shows no bar
constexpr double kRedrawSeconds = 0.1;
constexpr size_t kBarCells = 28;
}  // namespace

Progress::Progress(std::string label, uint64_t total, bool enabled)
    : label_(std::move(label)),
      total_(std::max<uint64_t>(total, 1)),
      enabled_(enabled && ::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
    if (drawn_) std::fputs("\r\033[K", stderr);
}

void Progress::advance_to(uint64_t done) {
    const double now = watch_.seconds();
    if (!enabled_ || now < kFirstDrawSeconds || now - last_drawn_ < kRedrawSeconds) return;
    last_drawn_ = now;
    drawn_ = true;
    const double fraction = std::min(1.0, static_cast<double>(done) / static_cast<double>(total_));
    const size_t filled = static_cast<size_t>(fraction * kBarCells);
    const double left = fraction > 0 ? now / fraction - now : 0;
    fmt::print(stderr, "\r\033[K{} [{}{}] {:3.0f} %  {:.0f} s left", label_, std::string(filled, '#'),
               std::string(kBarCells - filled, '.'), fraction * 100, left);
    std::fflush(stderr);
}

}  // namespace sluice
