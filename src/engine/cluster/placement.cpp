#include "engine/cluster/placement.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace sluice {

namespace {

// Where nothing was measured.
constexpr double kSlowestBytesPerSecond = 1e6;

// The bytes that a machine gets through, of those it holds, in `seconds`.
double bytes_within(const MachineRates& machine, double seconds) {
    const double memory = std::max(machine.memory_bytes_per_s, kSlowestBytesPerSecond);
    const double drive = std::clamp(machine.drive_bytes_per_s, kSlowestBytesPerSecond, memory);
    const auto cache = static_cast<double>(machine.cache_bytes);
    const double cached_seconds = cache / memory;
    return seconds <= cached_seconds ? seconds * memory : cache + (seconds - cached_seconds) * drive;
}

}  // namespace

std::vector<double> shares_of(std::span<const MachineRates> machines, uint64_t expert_bytes) {
    const auto all = static_cast<double>(std::max<uint64_t>(expert_bytes, 1));
    const auto within = [&](double seconds) {
        double bytes = 0;
        for (const MachineRates& machine : machines) bytes += bytes_within(machine, seconds);
        return bytes;
    };
    double low = 0, high = 1e-6;
    while (within(high) < all) high *= 2;
    for (int step = 0; step < 100; ++step) {
        const double middle = (low + high) / 2;
        (within(middle) < all ? low : high) = middle;
    }
    std::vector<double> shares;
    for (const MachineRates& machine : machines) shares.push_back(bytes_within(machine, high));
    const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
    for (double& share : shares) share /= sum;
    return shares;
}

Placement::Placement(int layers, int experts, std::span<const double> shares) : experts_(experts) {
    // Whoever lacks most of its share so far gets the next one; over all layers, so that small shares add up.
    std::vector<double> owed(shares.size(), 0);
    for (int i = 0; i < layers * experts; ++i) {
        for (size_t owner = 0; owner < shares.size(); ++owner) owed[owner] += shares[owner];
        const auto next = std::ranges::max_element(owed);
        *next -= 1;
        owners_.push_back(static_cast<uint16_t>(next - owed.begin()));
    }
}

}  // namespace sluice
