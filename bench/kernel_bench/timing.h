#pragma once

#include <algorithm>
#include <array>
#include <chrono>

namespace sluice::bench {

struct Timing {
    double seconds = 0;  // of one launch, the median of three trials
    double spread = 0;   // from the fastest trial to the slowest, over the median
};

// launch() hands one over, wait() ends when all are done. One to warm up, one to see how long it takes, then as many in
// a trial as fill about 300 ms, 64 at most.
template <typename Launch, typename Wait>
Timing time_launches(const Launch& launch, const Wait& wait) {
    constexpr double kTrialSeconds = 0.3, kMostLaunches = 64;
    const auto seconds_of = [&](int launches) {
        const auto begin = std::chrono::steady_clock::now();
        for (int i = 0; i < launches; ++i) launch();
        wait();
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / launches;
    };
    seconds_of(1);
    const int launches = static_cast<int>(std::clamp(kTrialSeconds / seconds_of(1), 1.0, kMostLaunches));
    std::array<double, 3> trials{};
    for (double& trial : trials) trial = seconds_of(launches);
    std::ranges::sort(trials);
    return {trials[1], (trials[2] - trials[0]) / trials[1]};
}

}  // namespace sluice::bench
