#include "base/progress.h"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace sluice {

namespace {
constexpr double kFirstDrawSeconds = 0.7;  // shorter work shows no bar
constexpr double kRedrawSeconds = 0.1;
constexpr size_t kBarCells = 28;
constexpr size_t kUsualColumns = 80;
size_t terminal_columns() {
    winsize size{};
    return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kUsualColumns;
}

}  // namespace

std::string bar_line(const std::string& label, double fraction, double seconds_left, size_t columns) {
    const std::string figures = fmt::format(" {:3.0f} %  {:.0f} s left", fraction * 100, seconds_left);
    // The last column stays free: some terminals go to the next line when it is written.
    const size_t room = columns > 0 ? columns - 1 : 0;
    const size_t frame = label.size() + figures.size() + 3;
    std::string line = label + figures;
    if (room > frame) {
        const size_t cells = std::min(kBarCells, room - frame);
        const auto filled = static_cast<size_t>(fraction * static_cast<double>(cells));
        line = fmt::format("{} [{}{}]{}", label, std::string(filled, '#'), std::string(cells - filled, '.'), figures);
    }
    return line.substr(0, room);
}

Progress::Progress(std::string label, uint64_t total, bool enabled)
    : label_(std::move(label)),
      total_(std::max<uint64_t>(total, 1)),
      enabled_(enabled && ::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
    if (drawn_) tell("\r\033[K");
}

void Progress::advance_to(uint64_t done) {
    const double now = watch_.seconds();
    if (!enabled_ || now < kFirstDrawSeconds || now - last_drawn_ < kRedrawSeconds) return;
    last_drawn_ = now;
    drawn_ = true;
    const double fraction = std::min(1.0, static_cast<double>(done) / static_cast<double>(total_));
    const double left = fraction > 0 ? now / fraction - now : 0;
    tell("\r\033[K{}", bar_line(label_, fraction, left, terminal_columns()));
}

}  // namespace sluice
