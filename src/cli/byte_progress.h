#pragma once

#include <memory>
#include <string>

#include "base/progress.h"
#include "cli/interrupt.h"
#include "sluice/bytes_callback.h"

namespace sluice::cli {

// Runs work(callback) with a bar that follows the callback; Ctrl-C cancels.
template <typename Work>
auto with_byte_progress(const std::string& label, bool quiet, Work&& work) {
    std::unique_ptr<Progress> bar;
    return work(BytesCallback([&](uint64_t done, uint64_t total) {
        // Without a total the work has not begun, though it may be cancelled.
        if (!bar && total > 0) bar = std::make_unique<Progress>(label, total, !quiet);
        if (bar) bar->advance_to(done);
        return !interrupted();
    }));
}

}  // namespace sluice::cli
