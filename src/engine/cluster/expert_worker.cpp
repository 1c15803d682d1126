#include "engine/cluster/expert_worker.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "base/cgroup.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/cluster/joining.h"
#include "engine/memory_ledger.h"
#include "engine/opening.h"
#include "experts/reader.h"
#include "sluice/launch.h"

namespace sluice {

namespace {

constexpr int32_t kNothing = -1;  // in place of an expert that a row chose
constexpr double kRestSeconds = 0.1;

}  // namespace

ExpertWorker::ExpertWorker(const Checkpoint& checkpoint, Backend& backend, ExpertStore& store)
    : backend_(backend),
      store_(store),
      experts_per_token_(checkpoint.config().experts_per_token()),
      workspace_(backend) {
    Trunk trunk(checkpoint, backend);
    for (int layer = 0; layer < checkpoint.config().layer_count(); ++layer) {
        const MixtureConfig* mixture = checkpoint.config().mixture_of(layer);
        if (mixture != nullptr) layers_.emplace(layer, ExpertLayer(*mixture, layer, trunk));
    }
}

void ExpertWorker::answer(const ExpertRequest& request, std::vector<std::byte>& reply) {
    const Stopwatch watch;
    Outcome outcome;
    try {
        outcome = compute(request);
    } catch (const std::exception& error) {
        outcome = {.rows = {}, .failed = {}, .error = error.what()};
    }
    busy_seconds_ += watch.seconds();
    const auto numbers = static_cast<size_t>(outcome.rows.rows * outcome.rows.columns);
    const std::span<std::byte> rows = write_reply({.number = request.number,
                                                   .counters = counters(),
                                                   .rows = {},
                                                   .failed = outcome.failed,
                                                   .error = outcome.error},
                                                  numbers, reply);
    if (numbers > 0) backend_.download(outcome.rows.buffer, outcome.rows.offset, rows);
    backend_.wait();
}

ExpertWorker::Outcome ExpertWorker::compute(const ExpertRequest& request) {
    const auto columns = static_cast<int64_t>(request.columns), entries = static_cast<int64_t>(request.rows.size());
    if (!layers_.contains(request.layer)) fail(ErrorCode::kUsage, "layer {} has no experts", request.layer);
    std::vector<int32_t> out_rows(request.rows.size());
    std::iota(out_rows.begin(), out_rows.end(), 0);
    workspace_.reset();
    const auto put = [&](auto values, int64_t width, DType dtype) {
        const Tensor tensor = workspace_.take(static_cast<int64_t>(values.size()) / width, width, dtype);
        backend_.upload(tensor.buffer, tensor.offset, std::as_bytes(values));
        return tensor;
    };
    Outcome outcome;
    ExpertStream stream = store_.stream(request.layer, request.rows_of.experts, ExpertUse::kAuto, choices(request));
    ExpertRun run{.store = store_,
                  .stream = stream,
                  .rows_of = request.rows_of,
                  .x = put(request.x, columns, DType::kF32),
                  .rows = put(request.rows, 1, DType::kI32),
                  .out_rows = put(std::span<const int32_t>(out_rows), 1, DType::kI32),
                  .out = workspace_.take(entries, columns),
                  .drive_idle = {},
                  .failed = [&](std::span<const int32_t> lost,
                                const std::exception_ptr& error) { note_failure(request, lost, error, outcome); },
                  .go_on = [] { return true; }};
    outcome.rows = run.out;
    // As in the layers of whoever holds all: what was hinted stays until its layer is done, unless it is in the way.
    std::optional<ExpertStream> hinted_before = std::exchange(hinted_, std::nullopt);
    if (!stream.admitted()) hinted_before.reset();
    if (!request.hints.empty() && !request.prompt) store_.hint(request.hints);
    if (!request.hints.empty() && request.prompt) {
        run.drive_idle = [&] {
            std::vector<int> experts;
            for (const ExpertKey& key : request.hints) experts.push_back(key.expert);
            hinted_.emplace(store_.hint_scan(request.hints.front().layer, experts));
        };
    }
    layers_.at(request.layer).run(backend_, std::move(run));
    backend_.wait();
    return outcome;
}

void ExpertWorker::note_failure(const ExpertRequest& request, std::span<const int32_t> entries,
                                const std::exception_ptr& error, Outcome& outcome) const {
    const auto first = static_cast<size_t>(entries.data() - request.rows_of.entries.data());
    const auto found = std::ranges::find(request.rows_of.first, first);
    outcome.failed.push_back(static_cast<int32_t>(found - request.rows_of.first.begin()));
    outcome.error = failure_of(error).text;
}

// What each row that was sent chose of the experts here.
std::vector<int32_t> ExpertWorker::choices(const ExpertRequest& request) const {
    const auto per_row = static_cast<size_t>(experts_per_token_);
    const size_t rows = request.x.size() / request.columns;
    std::vector<int32_t> chosen(rows * per_row, kNothing);
    std::vector<size_t> filled(rows, 0);
    for (size_t i = 0; i < request.rows_of.experts.size(); ++i) {
        for (const int32_t entry : request.rows_of.of(i)) {
            const auto row = static_cast<size_t>(request.rows[static_cast<size_t>(entry)]);
            if (filled[row] < per_row) chosen[row * per_row + filled[row]++] = request.rows_of.experts[i];
        }
    }
    return chosen;
}

WorkerCounters ExpertWorker::counters() const {
    return {.experts = store_.counters(), .cache_bytes = store_.cache_bytes(), .busy_seconds = busy_seconds_};
}

namespace {

// Answers until the leader says that it is over. What follows a request comes, and a reply goes, while the other half
// is computed.
void answer_all(Peers& peers, ExpertWorker& worker, const MessageSizes& sizes) {
    std::array<std::vector<std::byte>, 2> requests, replies;
    requests[0].resize(sizes.request_bytes());
    DeliveryPtr coming = peers.receive(0, requests[0]), going;
    for (size_t turn = 0, place = 0;; ++turn) {
        if (!wait_for(*coming, kRestSeconds)) {
            worker.rest();
            (void)wait_for(*coming, kForEver);
        }
        const ExpertRequest request = read_request(std::span(requests[place]).first(coming->bytes()));
        if (request.end) break;
        place = request.following > 0 ? 1 - place : 0;
        if (request.following > requests[place].size()) requests[place].resize(request.following);
        if (request.following > 0) {
            coming = peers.receive(0, requests[place]);
            peers.carry_on(coming);
        }
        std::vector<std::byte>& reply = replies[turn % replies.size()];
        worker.answer(request, reply);
        if (going) (void)wait_for(*going, kForEver);
        going = peers.send(0, reply);
        peers.carry_on(going);
        if (request.following == 0) coming = peers.receive(0, requests[place]);
    }
    if (going) (void)wait_for(*going, kForEver);
}

struct WorkerParts {
    std::shared_ptr<const Checkpoint> checkpoint;
    std::unique_ptr<Backend> backend;
    ExpertStoreOptions how = {};
    Greeting greeting = {};
};

WorkerParts open_parts(const std::filesystem::path& model, const EngineOptions& options, int64_t pass_rows) {
    check_options(options);
    WorkerParts parts{.checkpoint = Checkpoint::open(model), .backend = make_backend(options)};
    const std::optional<uint64_t> card = parts.backend->own_memory_bytes();
    const uint64_t ceiling = card ? card_ceiling(options, *card) : memory_ceiling(options, cgroup_memory_limit_bytes());
    const MemoryPlan plan = MemoryLedger(options, worker_memory_sizes(*parts.checkpoint, pass_rows), ceiling).divide();
    parts.how = store_options(options, *parts.checkpoint, *parts.backend, plan.cache_bytes);
    parts.greeting = {.alike = likeness(*parts.checkpoint, *parts.backend, options),
                      .rates = measure_rates(*parts.checkpoint, options, parts.how, *parts.backend),
                      .share = parts.checkpoint->share(),
                      .error = {}};
    return parts;
}

}  // namespace

void work_for_leader(const std::filesystem::path& model, const EngineOptions& given) {
    const std::unique_ptr<Peers> peers = join_peers();
    const int64_t pass_rows = await_invitation(*peers);
    EngineOptions options = given;
    options.ram_bytes = shared_ceiling(given, *peers);
    options.prefix_memory_bytes = 0;
    WorkerParts parts;
    try {
        parts = open_parts(model, options, pass_rows);
    } catch (const std::exception& error) {
        decline(*peers, error.what());
    }
    const Checkpoint& checkpoint = *parts.checkpoint;
    const Assignment assigned = greet(*peers, expert_sizes(checkpoint), parts.greeting);
    ExpertStoreOptions how = parts.how;
    how.held = [&](int layer, int expert) { return assigned.placement.holds(peers->rank(), {layer, expert}); };
    std::unique_ptr<ExpertStore> store;
    std::unique_ptr<ExpertWorker> worker;
    try {
        store = std::make_unique<ExpertStore>(
            parts.checkpoint, how, [&](size_t slots, size_t bytes) { return parts.backend->make_slots(slots, bytes); });
        worker = std::make_unique<ExpertWorker>(checkpoint, *parts.backend, *store);
        say_ready(*peers, {});
    } catch (const std::exception& error) {
        say_ready(*peers, error.what());
        throw;
    }
    std::optional<MemoryGovernor> governor;
    if (!parts.backend->own_memory_bytes()) governor.emplace(governed(*store, checkpoint));
    store->warm_up(assigned.hottest);
    answer_all(*peers, *worker, message_sizes(checkpoint.config(), pass_rows));
    worker.reset();
    peers->leave();
}

}  // namespace sluice
