#include "engine/cluster/placement.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "base/error.h"
#include "sluice/expert_load.h"

namespace sluice {

namespace {

// Where nothing was measured.
constexpr double kSlowestBytesPerSecond = 1e6;
// Of what a machine would hold without a link, it holds as much whatever the link.
constexpr double kLeastOfLinked = 0.25;
// Of all experts, that two machines hold.
constexpr size_t kOneInTwice = 4;

// The bytes that a machine gets through, of those it holds, in `seconds`.
double bytes_within(const MachineRates& machine, const ExpertLoad& load, double seconds) {
    double busy = std::max(machine.memory_bytes_per_s, kSlowestBytesPerSecond);
    if (machine.kernel_bytes_per_s > 0) busy = std::min(busy, machine.kernel_bytes_per_s);
    double back = 0, rest = seconds;
    if (machine.link_bytes_per_s > 0) {
        back = load.bytes_back / machine.link_bytes_per_s;
        rest -= load.exchanges * (2 * machine.link_seconds + load.bytes_sent_each / machine.link_bytes_per_s);
    }
    if (rest <= 0) return 0;
    const double cached = 1 / busy + back;
    const double missing = 1 / std::clamp(machine.drive_bytes_per_s, kSlowestBytesPerSecond, busy) + back;
    const auto cache = static_cast<double>(machine.cache_bytes);
    return rest <= cache * cached ? rest / cached : cache + (rest - cache * cached) / missing;
}

std::vector<double> equal_times(std::span<const MachineRates> machines, const ExpertLoad& load) {
    const auto all = static_cast<double>(std::max<uint64_t>(load.bytes, 1));
    const auto within = [&](double seconds) {
        double bytes = 0;
        for (const MachineRates& machine : machines) bytes += bytes_within(machine, load, seconds);
        return bytes;
    };
    double low = 0, high = 1e-6;
    while (within(high) < all) high *= 2;
    for (int step = 0; step < 100; ++step) {
        const double middle = (low + high) / 2;
        (within(middle) < all ? low : high) = middle;
    }
    std::vector<double> shares;
    for (const MachineRates& machine : machines) shares.push_back(bytes_within(machine, load, high));
    return shares;
}

void make_sum_one(std::vector<double>& shares) {
    const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
    for (double& share : shares) share /= sum;
}

// An expert's work: it is read once, and a row costs about as much again.
double work_of(const RowsOfExpert& wanted, size_t i) {
    return 1 + static_cast<double>(wanted.count(i));
}

}  // namespace

ExpertLoad expert_load(const ExpertCounts& counts) {
    if (counts.bytes == 0) return {};
    const auto layers = static_cast<double>(counts.layers), experts = static_cast<double>(counts.experts);
    const double row_bytes = static_cast<double>(counts.columns) * sizeof(float);
    return {.bytes = counts.bytes,
            .exchanges = layers * experts / static_cast<double>(counts.experts_per_token),
            .bytes_back = row_bytes * layers * experts / static_cast<double>(counts.bytes),
            .bytes_sent_each = row_bytes};
}

std::vector<double> shares_of(std::span<const MachineRates> machines, const ExpertLoad& load) {
    std::vector<double> shares = equal_times(machines, load);
    std::vector<double> unlinked = equal_times(machines, {.bytes = load.bytes});
    make_sum_one(shares);
    make_sum_one(unlinked);
    for (size_t i = 0; i < shares.size(); ++i) shares[i] = std::max(shares[i], kLeastOfLinked * unlinked[i]);
    make_sum_one(shares);
    return shares;
}

Placement::Placement(int layers, int experts, std::span<const double> shares, const Available& available)
    : experts_(static_cast<size_t>(experts)) {
    // Whoever lacks most of its share so far gets the next one; over all layers, so that small shares add up.
    std::vector<double> owed(shares.size(), 0);
    for (int i = 0; i < layers * experts; ++i) {
        const ExpertKey key{i / experts, i % experts};
        size_t next = kNobody;
        for (size_t owner = 0; owner < shares.size(); ++owner) {
            owed[owner] += shares[owner];
            if (available && !available(owner, key)) continue;
            if (next == kNobody || owed[owner] > owed[next]) next = owner;
        }
        if (next == kNobody) {
            fail(ErrorCode::kUsage,
                 "no machine of the job has layer {}, expert {}: each holds another share of the "
                 "experts, and one share is nowhere",
                 key.layer, key.expert);
        }
        owed[next] -= 1;
        table_.push_back(static_cast<uint16_t>(next));
    }
    table_.resize(2 * table_.size(), kNobody);
    count_shares();
}

Placement::Placement(int experts, std::vector<uint16_t> table)
    : experts_(static_cast<size_t>(experts)), table_(std::move(table)) {
    count_shares();
}

void Placement::count_shares() {
    const std::span<const uint16_t> owners = std::span(table_).first(table_.size() / 2);
    shares_.resize(owners.empty() ? 0 : 1u + *std::ranges::max_element(owners));
    for (const uint16_t owner : owners) shares_[owner] += 1.0 / static_cast<double>(owners.size());
}

std::vector<int> Placement::divide(int layer, const RowsOfExpert& wanted) const {
    std::vector<int> ranks;
    std::map<int, double> busy;
    for (size_t i = 0; i < wanted.experts.size(); ++i) {
        const ExpertKey key{layer, wanted.experts[i]};
        ranks.push_back(owner(key));
        if (second(key) == kNobody) busy[ranks[i]] += work_of(wanted, i);
    }
    for (size_t i = 0; i < wanted.experts.size(); ++i) {
        const int first = ranks[i], other = second({layer, wanted.experts[i]});
        if (other == kNobody) continue;
        const auto seconds_of = [&](int rank) {
            return (busy[rank] + work_of(wanted, i)) / std::max(share(rank), 1e-9);
        };
        if (seconds_of(other) < seconds_of(first)) ranks[i] = other;
        busy[ranks[i]] += work_of(wanted, i);
    }
    return ranks;
}

void hold_hottest_twice(Placement& placement, std::span<const ExpertKey> hottest, SpareBytes spare,
                        const std::function<uint64_t(int layer)>& record_bytes, const Placement::Available& available) {
    const size_t most = placement.table().size() / 2 / kOneInTwice;
    for (const ExpertKey& key : hottest.first(std::min(hottest.size(), most))) {
        const uint64_t bytes = record_bytes(key.layer);
        size_t chosen = Placement::kNobody;
        for (size_t rank = 0; rank < spare.size(); ++rank) {
            const bool can = placement.owner(key) != static_cast<int>(rank) && spare[rank] >= bytes &&
                             (!available || available(rank, key));
            if (can && (chosen == Placement::kNobody || spare[rank] > spare[chosen])) chosen = rank;
        }
        if (chosen == Placement::kNobody) continue;
        placement.hold_twice(key, static_cast<int>(chosen));
        spare[chosen] -= bytes;
    }
}

}  // namespace sluice
