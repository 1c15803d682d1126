#include <algorithm>

#include "base/clock.h"
#include "peers/peers.h"
#include "sluice/links.h"

namespace sluice {

namespace {

// Messages there and back: so many of so many bytes with each of the others.
struct Exchange {
    int rounds;
    size_t bytes;
};
constexpr Exchange kShort{.rounds = 200, .bytes = 8}, kLong{.rounds = 10, .bytes = 4 << 20};

void deliver(const DeliveryPtr& delivery) {
    (void)wait_for(*delivery, kForEver);
}

// The shortest round, in seconds.
double exchange(Peers& peers, int with, const Exchange& how) {
    std::vector<std::byte> bytes(how.bytes);
    double best = kForEver;
    for (int round = 0; round < how.rounds; ++round) {
        const Stopwatch watch;
        deliver(peers.send(with, bytes));
        deliver(peers.receive(with, bytes));
        best = std::min(best, watch.seconds());
    }
    return best;
}

void echo(Peers& peers, int with, const Exchange& how) {
    std::vector<std::byte> bytes(how.bytes);
    for (int round = 0; round < how.rounds; ++round) {
        deliver(peers.receive(with, bytes));
        deliver(peers.send(with, bytes));
    }
}

}  // namespace

std::vector<LinkMeasurement> measure_links() {
    const std::unique_ptr<Peers> peers = join_peers();
    std::vector<LinkMeasurement> links;
    for (int rank = 1; rank < peers->size(); ++rank) {
        const double latency = exchange(*peers, rank, kShort) / 2;
        const double seconds = exchange(*peers, rank, kLong) / 2;
        links.push_back({.name = peers->name(rank),
                         .latency_seconds = latency,
                         .bytes_per_second = static_cast<double>(kLong.bytes) / seconds});
    }
    peers->leave();
    return links;
}

void answer_links() {
    const std::unique_ptr<Peers> peers = join_peers();
    echo(*peers, 0, kShort);
    echo(*peers, 0, kLong);
    peers->leave();
}

}  // namespace sluice
