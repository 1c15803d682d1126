#include "engine/cluster/joining.h"

#include <algorithm>

#include "base/error.h"
#include "base/machine_speed.h"
#include "base/thread_pool.h"
#include "engine/cluster/message.h"
#include "experts/disk_benchmark.h"
#include "experts/memory_budget.h"

namespace sluice {

namespace {

constexpr int kLeader = 0;
constexpr size_t kMostGreeting = 64 << 10;
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
    greeting.error = reader.take_text();
    for (auto fields = reader.take<size_t>(); fields > 0; --fields) {
        std::string field = reader.take_text();
        greeting.alike.emplace_back(std::move(field), reader.take_text());
    }
    return greeting;
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
            {"model", checkpoint.fingerprint()},
            {"layout", checkpoint.layout_name()},
            {"quantization", checkpoint.quantization_name()},
            {"numeric mode", options.exact ? "exact" : "fast"},
            {"device", backend.name()}};
}

MachineRates measure_rates(const Checkpoint& checkpoint, const EngineOptions& options, uint64_t cache_bytes) {
    MachineRates rates{.cache_bytes = cache_bytes};
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

Placement gather(Peers& peers, const ModelConfig& config, int64_t pass_rows, const Greeting& mine,
                 uint64_t expert_bytes, double seconds) {
    std::vector<std::byte> message;
    MessageWriter(message).put(pass_rows);
    for (int rank = 1; rank < peers.size(); ++rank) send_now(peers, rank, message);
    std::vector<MachineRates> rates{mine.rates};
    for (int rank = 1; rank < peers.size(); ++rank) {
        const Greeting theirs = read_greeting(receive_now(peers, rank, kMostGreeting, seconds));
        compare(peers.name(rank), theirs, mine);
        rates.push_back(theirs.rates);
    }
    Placement placement(static_cast<int>(config.layer_count()), static_cast<int>(config.experts()),
                        shares_of(rates, expert_bytes));
    for (int rank = 1; rank < peers.size(); ++rank) {
        send_now(peers, rank, std::as_bytes(std::span(placement.owners())));
    }
    return placement;
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

Placement greet(Peers& peers, const ModelConfig& config, const Greeting& mine) {
    send_now(peers, kLeader, written(mine));
    const auto count = static_cast<size_t>(config.layer_count() * config.experts());
    const std::vector<std::byte> message = receive_now(peers, kLeader, count * sizeof(uint16_t), kForEver);
    const std::span<const uint16_t> owners = MessageReader(message).take_all<uint16_t>(count);
    return {static_cast<int>(config.experts()), {owners.begin(), owners.end()}};
}

void decline(Peers& peers, const std::string& error) {
    send_now(peers, kLeader, written({.alike = {}, .rates = {}, .error = error}));
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
