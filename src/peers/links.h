#pragma once

#include "peers/peers.h"

namespace sluice {

// Messages there and back: short ones for how long one takes, long ones for what they come at.
struct LinkTrial {
    int short_rounds;
    int long_rounds;
    size_t long_bytes;
};
inline constexpr LinkTrial kThoroughTrial{.short_rounds = 200, .long_rounds = 10, .long_bytes = 4 << 20};
inline constexpr LinkTrial kBriefTrial{.short_rounds = 20, .long_rounds = 2, .long_bytes = 1 << 20};

struct LinkRates {
    double latency_seconds = 0;  // one way
    double bytes_per_second = 0;
};
// Both ends at the same time: one measures, the other answers.
LinkRates measure_link_to(Peers& peers, int rank, const LinkTrial& trial);
void answer_link_from(Peers& peers, int rank, const LinkTrial& trial);

}  // namespace sluice
