#include "engine/cluster/joining.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/machine_speed.h"
#include "base/thread_pool.h"
#include "engine/cluster/kernel_rate.h"
#include "engine/cluster/message.h"
#include "experts/disk_benchmark.h"
#include "experts/memory_budget.h"
#include "peers/links.h"
#include "sluice/expert_load.h"

namespace sluice {

namespace {

constexpr int kLeader = 0;
constexpr size_t kMostGreeting = 64 << 10;
constexpr size_t kMostHead = 64;  // of a message, beside its arrays
// Enough to be larger than the caches; the drive is asked for a moment.
constexpr size_t kMeasuredBytes = 64 << 20;
constexpr double kDriveSeconds = 0.05;

void send_now(Peers& peers, int to, std::span<const std::byte> bytes) {
    const DeliveryPtr sent = peers.send(to, bytes);
    (void)wait_for(*sent, kForEver);
}

std::vector<std::byte> receive_now(Peers& peers, int from, size_t most, double seconds) {
    std::vector<std::byte> bytes(most);
    const DeliveryPtr received = peers.receive(from, bytes);
    if (!wait_for(*received, seconds)) {
        fail(ErrorCode::kIo, "{}: has not answered for {:.0f} s; the job ends", peers.name(from), seconds);
    }
    bytes.resize(received->bytes());
    return bytes;
}

std::vector<std::byte> written(const Greeting& greeting) {
    std::vector<std::byte> bytes;
    MessageWriter writer(bytes);
    writer.put(greeting.rates);
    writer.put(greeting.share);
    writer.put_text(greeting.error);
    writer.put(greeting.alike.size());
    for (const auto& [field, value] : greeting.alike) {
        writer.put_text(field);
        writer.put_text(value);
    }
    return bytes;
}

Greeting read_greeting(std::span<const std::byte> bytes) {
    MessageReader reader(bytes);
    Greeting greeting;
    greeting.rates = reader.take<MachineRates>();
    greeting.share = reader.take<ExpertShare>();
    greeting.error = reader.take_text();
    for (auto fields = reader.take<size_t>(); fields > 0; --fields) {
        std::string field = reader.take_text();
        greeting.alike.emplace_back(std::move(field), reader.take_text());
    }
    return greeting;
}

std::vector<std::byte> written(const Placement& placement, std::span<const ExpertKey> hottest) {
    std::vector<std::byte> bytes;
    MessageWriter writer(bytes);
    writer.put_all(std::span<const uint16_t>(placement.table()));
    writer.put(hottest.size());
    writer.put_all(hottest);
    return bytes;
}

void compare(const std::string& host, const Greeting& theirs, const Greeting& mine) {
    if (!theirs.error.empty()) fail(ErrorCode::kIo, "{}: {}", host, theirs.error);
    for (const auto& [field, value] : mine.alike) {
        const auto found = std::ranges::find(theirs.alike, field, [](const auto& each) { return each.first; });
        const std::string other = found == theirs.alike.end() ? "unknown there" : found->second;
        if (other == value) continue;
        fail(ErrorCode::kUsage,
             "{}: its {} is {}, but {} on the machine that leads; all machines of a job must have "
             "it alike",
             host, field, other, value);
    }
}

}  // namespace

Likeness likeness(const Checkpoint& checkpoint, const Backend& backend, const EngineOptions& options) {
    return {{"version", SLUICE_VERSION},
            {"model", checkpoint.origin()},
            {"layout", checkpoint.layout_name()},
            {"quantization", checkpoint.quantization_name()},
            {"numeric mode", options.exact ? "exact" : "fast"},
            {"device", backend.name()}};
}

MachineRates measure_rates(const Checkpoint& checkpoint, const EngineOptions& options, const ExpertStoreOptions& how,
                           Backend& backend) {
    MachineRates rates{.cache_bytes = how.cache_bytes};
    rates.kernel_bytes_per_s = measure_kernels(checkpoint, how, backend);
    ThreadPool pool(options.threads);
    rates.memory_bytes_per_s = measure_memory_bandwidth(pool, kMeasuredBytes);
    const auto largest = std::ranges::max_element(checkpoint.files(), {}, &CheckpointFile::bytes);
    for (int layer = 0; layer < checkpoint.config().layer_count(); ++layer) {
        if (checkpoint.config().mixture_of(layer) == nullptr) continue;
        const uint64_t record = checkpoint.expert_layout(layer).record_bytes;
        if (largest->bytes > record) {
            rates.drive_bytes_per_s = measure_drive(largest->path, record, kDriveSeconds);
        }
        break;
    }
    return rates;
}

uint64_t shared_ceiling(const EngineOptions& options, const Peers& peers) {
    if (options.ram_bytes != 0 || peers.processes_here() == 1) return options.ram_bytes;
    return default_memory_ceiling() / static_cast<uint64_t>(peers.processes_here());
}

ExpertSizes expert_sizes(const Checkpoint& checkpoint) {
    const ModelConfig& config = checkpoint.config();
    ExpertSizes sizes{.record_bytes = {}, .experts = config.experts(), .experts_per_token = config.experts_per_token()};
    for (int layer = 0; layer < config.layer_count(); ++layer) {
        const MixtureConfig* mixture = config.mixture_of(layer);
        sizes.record_bytes.push_back(mixture == nullptr ? 0 : checkpoint.expert_layout(layer).record_bytes);
        if (mixture != nullptr) sizes.columns = std::max(sizes.columns, mixture->width(config.hidden_size));
    }
    return sizes;
}

uint64_t ExpertSizes::all_bytes() const {
    return static_cast<uint64_t>(experts) * std::accumulate(record_bytes.begin(), record_bytes.end(), uint64_t{0});
}

ExpertLoad ExpertSizes::load() const {
    const int64_t without = std::ranges::count(record_bytes, 0u);
    return expert_load({.layers = static_cast<int64_t>(record_bytes.size()) - without,
                        .experts = experts,
                        .experts_per_token = experts_per_token,
                        .columns = columns,
                        .bytes = all_bytes()});
}

namespace {

Division divide(const ExpertSizes& sizes, const std::vector<Greeting>& machines, std::span<const ExpertKey> hottest) {
    std::vector<MachineRates> rates;
    for (const Greeting& machine : machines) rates.push_back(machine.rates);
    const auto layers = static_cast<int>(sizes.record_bytes.size()), experts = static_cast<int>(sizes.experts);
    const auto available = [&](size_t rank, const ExpertKey& key) {
        return machines[rank].share.holds(key.layer, key.expert, sizes.experts);
    };
    Division division{.placement = {layers, experts, shares_of(rates, sizes.load()), available}};
    division.rates = rates;
    SpareBytes held(machines.size()), spare;
    for (int layer = 0; layer < layers; ++layer) {
        for (int expert = 0; expert < experts; ++expert) {
            const auto owner = static_cast<size_t>(division.placement.owner({layer, expert}));
            held[owner] += sizes.record_bytes[static_cast<size_t>(layer)];
        }
    }
    for (size_t rank = 0; rank < machines.size(); ++rank) {
        const uint64_t cache = rates[rank].cache_bytes;
        division.all_in_memory.push_back(held[rank] <= cache);
        spare.push_back(cache - std::min(cache, held[rank]));
    }
    const auto record_bytes = [&](int layer) { return sizes.record_bytes[static_cast<size_t>(layer)]; };
    hold_hottest_twice(division.placement, hottest, std::move(spare), record_bytes, available);
    return division;
}

}  // namespace

Division gather(Peers& peers, const Gathering& how, const Greeting& mine) {
    std::vector<std::byte> message;
    MessageWriter(message).put(how.pass_rows);
    for (int rank = 1; rank < peers.size(); ++rank) send_now(peers, rank, message);
    std::vector<Greeting> machines{mine};
    for (int rank = 1; rank < peers.size(); ++rank) {
        Greeting theirs = read_greeting(receive_now(peers, rank, kMostGreeting, how.seconds));
        compare(peers.name(rank), theirs, mine);
        const LinkRates link = measure_link_to(peers, rank, kBriefTrial);
        theirs.rates.link_seconds = link.latency_seconds;
        theirs.rates.link_bytes_per_s = link.bytes_per_second;
        machines.push_back(std::move(theirs));
    }
    Division division = divide(how.sizes, machines, how.hottest);
    for (int rank = 1; rank < peers.size(); ++rank) {
        std::vector<ExpertKey> hottest;
        std::ranges::copy_if(how.hottest, std::back_inserter(hottest),
                             [&](const ExpertKey& key) { return division.placement.holds(rank, key); });
        send_now(peers, rank, written(division.placement, hottest));
    }
    return division;
}

void await_ready(Peers& peers, double seconds) {
    for (int rank = 1; rank < peers.size(); ++rank) {
        const std::vector<std::byte> message = receive_now(peers, rank, kMostGreeting, seconds);
        const std::string error = MessageReader(message).take_text();
        if (!error.empty()) fail(ErrorCode::kIo, "{}: {}", peers.name(rank), error);
    }
    peers.barrier();
}

int64_t await_invitation(Peers& peers) {
    const std::vector<std::byte> message = receive_now(peers, kLeader, kMostGreeting, kForEver);
    return MessageReader(message).take<int64_t>();
}

Assignment greet(Peers& peers, const ExpertSizes& sizes, const Greeting& mine) {
    send_now(peers, kLeader, written(mine));
    answer_link_from(peers, kLeader, kBriefTrial);
    const size_t experts = sizes.record_bytes.size() * static_cast<size_t>(sizes.experts);
    const size_t most = experts * (2 * sizeof(uint16_t) + sizeof(ExpertKey)) + kMostHead;
    const std::vector<std::byte> message = receive_now(peers, kLeader, most, kForEver);
    MessageReader reader(message);
    const auto table = reader.take_all<uint16_t>(2 * experts);
    const auto hottest = reader.take_all<ExpertKey>(reader.take<size_t>());
    return {.placement = {static_cast<int>(sizes.experts), {table.begin(), table.end()}},
            .hottest = {hottest.begin(), hottest.end()}};
}

void decline(Peers& peers, const std::string& error) {
    send_now(peers, kLeader, written({.alike = {}, .rates = {}, .share = {}, .error = error}));
    (void)receive_now(peers, kLeader, kMostGreeting, kForEver);
    fail(ErrorCode::kIo, "{}", error);
}

void say_ready(Peers& peers, const std::string& error) {
    std::vector<std::byte> message;
    MessageWriter(message).put_text(error);
    send_now(peers, kLeader, message);
    peers.barrier();
}

}  // namespace sluice
