#include "peers/links.h"

#include <algorithm>

#include "base/clock.h"
#include "sluice/links.h"

namespace sluice {

namespace {

constexpr size_t kShortBytes = 8;

void deliver(const DeliveryPtr& delivery) {
    (void)wait_for(*delivery, kForEver);
}

// The shortest round, in seconds.
double exchange(Peers& peers, int with, int rounds, size_t size) {
    std::vector<std::byte> bytes(size);
    double best = kForEver;
    for (int round = 0; round < rounds; ++round) {
        const Stopwatch watch;
        deliver(peers.send(with, bytes));
        deliver(peers.receive(with, bytes));
        best = std::min(best, watch.seconds());
    }
    return best;
}

void echo(Peers& peers, int with, int rounds, size_t size) {
    std::vector<std::byte> bytes(size);
    for (int round = 0; round < rounds; ++round) {
        deliver(peers.receive(with, bytes));
        deliver(peers.send(with, bytes));
    }
}

}  // namespace

LinkRates measure_link_to(Peers& peers, int rank, const LinkTrial& trial) {
    const double latency = exchange(peers, rank, trial.short_rounds, kShortBytes) / 2;
    const double seconds = exchange(peers, rank, trial.long_rounds, trial.long_bytes) / 2;
    return {.latency_seconds = latency, .bytes_per_second = static_cast<double>(trial.long_bytes) / seconds};
}

void answer_link_from(Peers& peers, int rank, const LinkTrial& trial) {
    echo(peers, rank, trial.short_rounds, kShortBytes);
    echo(peers, rank, trial.long_rounds, trial.long_bytes);
}

std::vector<LinkMeasurement> measure_links() {
    const std::unique_ptr<Peers> peers = join_peers();
    std::vector<LinkMeasurement> links;
    for (int rank = 1; rank < peers->size(); ++rank) {
        const LinkRates rates = measure_link_to(*peers, rank, kThoroughTrial);
        links.push_back({.name = peers->name(rank),
                         .latency_seconds = rates.latency_seconds,
                         .bytes_per_second = rates.bytes_per_second});
    }
    peers->leave();
    return links;
}

void answer_links() {
    const std::unique_ptr<Peers> peers = join_peers();
    answer_link_from(*peers, 0, kThoroughTrial);
    peers->leave();
}

}  // namespace sluice
