#include "base/log.h"

#include <algorithm>
#include <exception>

#include "base/error.h"
#include "base/memory.h"
#include "base/user_folders.h"
#include "checkpoint/expert_share.h"
#include "engine/cluster/joining.h"
#include "engine/cluster/kernel_rate.h"
#include "engine/engine_impl.h"
#include "engine/generation_config.h"
#include "engine/link_speed.h"
#include "engine/memory_ledger.h"
#include "engine/opening.h"
#include "engine/pass_plan.h"
#include "sluice/option_table.h"

namespace sluice {

namespace {

// Parts of a trunk are locked in whole pages.
constexpr uint64_t kLockSlackKilobytes = 16 << 10;
// What a layer took longer, at most, where a card's host computed some of its experts (docs/experiments.md, S24).
constexpr double kHostLayerSeconds = 0.5e-3;

std::optional<Tokenizer> open_tokenizer(const std::filesystem::path& folder) {
    if (!Tokenizer::is_in(folder)) return std::nullopt;
    return Tokenizer::open(folder);
}

KvFormat kv_format_of(const EngineOptions& options) {
    return options.kv_format.value_or(options.exact ? KvFormat::kF32 : KvFormat::kBF16);
}

// A page that cannot be locked is one that pressure may take: slower, not wrong.
void lock_trunk(const Checkpoint& checkpoint) {
    for (const ByteRange& range : checkpoint.trunk_ranges()) {
        const std::string refusal = lock_memory(checkpoint.mapped(range));
        if (refusal.empty()) continue;
        log_warning("lock_trunk: the trunk stays unlocked ({}); `ulimit -l {}` would do", refusal,
                    (checkpoint.trunk_bytes() >> 10) + kLockSlackKilobytes);
        return;
    }
}

uint64_t bytes_of_an_expert(const Checkpoint& checkpoint) {
    return ExpertStore::floor_bytes(checkpoint) / static_cast<uint64_t>(checkpoint.config().experts_per_token());
}

std::string model_name(const std::filesystem::path& folder) {
    const std::filesystem::path normal = std::filesystem::absolute(folder).lexically_normal();
    return normal.has_filename() ? normal.filename().string() : normal.parent_path().filename().string();
}

}  // namespace

std::unique_ptr<Engine> Engine::open(const std::filesystem::path& model, const EngineOptions& options) {
    return Impl::open(model, options, [](const auto& checkpoint, const auto& store_options, const auto& make_slots) {
        return std::make_unique<ExpertStore>(checkpoint, store_options, make_slots);
    });
}

MemoryOutlook Engine::foresee_memory(const std::filesystem::path& model, const EngineOptions& options) {
    const uint64_t ceiling = memory_ceiling(options, cgroup_memory_limit_bytes());
    if (const std::filesystem::path config = find_lone_config(model); !config.empty()) {
        check_options(options);
        const std::optional<uint64_t> card =
            names_card(options) ? make_backend(options)->own_memory_bytes() : std::nullopt;
        return MemoryLedger(options, memory_sizes(inspect_config(config), options, card.has_value()),
                            card ? card_ceiling(options, *card) : ceiling,
                            card ? beside_card_ceiling(options, cgroup_memory_limit_bytes()) : 0)
            .foresee();
    }
    const std::unique_ptr<Impl> impl = Impl::load(model, options);
    const std::optional<uint64_t> card = impl->backend->own_memory_bytes();
    return MemoryLedger(options, memory_sizes(*impl->checkpoint, *impl->model, *impl->backend),
                        card ? card_ceiling(options, *card) : ceiling,
                        card ? beside_card_ceiling(options, cgroup_memory_limit_bytes()) : 0)
        .foresee();
}

std::unique_ptr<Engine::Impl> Engine::Impl::load(const std::filesystem::path& model, const EngineOptions& options) {
    check_options(options);
    auto impl = std::make_unique<Impl>();
    impl->options = options;
    const KvFormat kv_format = kv_format_of(options);
    impl->info.kv_format = kv_format_name(kv_format);
    impl->checkpoint = Checkpoint::open(model);
    impl->tokenizer = open_tokenizer(model);
    impl->defaults = read_generation_defaults(model, impl->tokenizer ? &*impl->tokenizer : nullptr);
    impl->backend = make_backend(options);
    if (options.profile) impl->backend->set_profile(&impl->profile);
    impl->model = std::make_unique<Model>(impl->checkpoint, *impl->backend, kv_format);
    return impl;
}

void Engine::Impl::tile_trunk() {
    const bool any = std::ranges::any_of(
        checkpoint->trunk(), [&](const TrunkWeight& weight) { return backend->reads_tiles(weight.source.format); });
    if (!any) return;
    model.reset();
    model = std::make_unique<Model>(checkpoint, *backend, kv_format_of(options), TrunkForm::kFastest);
}

void Engine::Impl::open_row_tables(const ExpertStoreOptions& how) {
    const ModelConfig& config = checkpoint->config();
    for (int layer = 0; layer < config.layer_count(); ++layer) {
        if (!config.layers[static_cast<size_t>(layer)].ngrams.any()) continue;
        row_tables[layer] = std::make_unique<RowTable>(RowTableFiles::of(*checkpoint, layer),
                                                       RowTableOptions{.reader = how.reader,
                                                                       .direct_io = how.direct_io,
                                                                       .read_bytes = checkpoint->expert_bytes(),
                                                                       .reserved_bytes = how.cache_bytes});
    }
    model->use_row_tables(row_tables);
}

void Engine::Impl::govern(bool on_card) {
    ExpertStore& experts = *store;
    if (!on_card) {
        governor.emplace(governed(experts, *checkpoint));
    } else if (experts.host_bytes() > 0) {
        governor.emplace(MemoryGovernor::Cache{.bytes = [&experts] { return experts.host_bytes(); },
                                               .resize = [&experts](uint64_t bytes) { experts.resize_host(bytes); },
                                               .full = experts.host_bytes(),
                                               .floor = 0});
        card_governor.emplace(governed(experts, *checkpoint),
                              [this] { return MemoryState{.available = backend->free_memory_bytes()}; });
    }
}

// While memory has room for every expert a step asks nobody on the host, which is worth more.
void Engine::Impl::divide_with_host(const ExpertStoreOptions& how) {
    const bool measured = options.experts_on == ExpertsOn::kAuto;
    if (options.experts_on == ExpertsOn::kCard || info.host_bytes == 0 || elsewhere) return;
    if (measured && store->has_room_for_all()) return;
    host_backend = make_cpu_backend({.threads = options.threads,
                                     .pin_threads = options.pin_threads,
                                     .exact = options.exact,
                                     .instruction_set = options.instruction_set});
    std::optional<ExpertCosts> costs;
    if (measured) {
        const auto bytes = static_cast<double>(bytes_of_an_expert(*checkpoint));
        costs = {.copy = bytes / info.link_bytes_per_s,
                 .compute = bytes / measure_kernels(*checkpoint, how, *host_backend),
                 .begin = kHostLayerSeconds + measure_row_trip(*backend, checkpoint->config().hidden_size)};
        const auto most = static_cast<size_t>(checkpoint->config().experts_per_token());
        const size_t count = computed_on_host(*costs, most);
        log_debug(
            "experts in memory: {:.0f} us to copy one, {:.0f} us to compute it there, {:.0f} us for a row's way; "
            "{} of {} are computed there",
            1e6 * costs->copy, 1e6 * costs->compute, 1e6 * costs->begin, count, most);
        if (count == 0) return host_backend.reset();
    }
    host_experts = std::make_unique<HostExperts>(*checkpoint, *host_backend, *store, costs);
}

// Addresses for many whole contexts, and for as many states beside them; on a card they are memory.
StatePoolSize pool_size(const MemoryPlan& plan, bool on_card) {
    constexpr int64_t kContexts = 64, kStates = 1024;
    const auto pages = [](int64_t tokens) { return (tokens + kKvPageTokens - 1) / kKvPageTokens; };
    if (on_card) return {.pages = pages(plan.card_tokens), .slots = plan.card_states};
    return {.pages = kContexts * pages(plan.context), .slots = kStates};
}

Division Engine::Impl::divide_experts(Peers& peers, int64_t rows, const ExpertStoreOptions& how) const {
    const Greeting mine{.alike = likeness(*checkpoint, *backend, options),
                        .rates = measure_rates(*checkpoint, options, how, *backend),
                        .share = checkpoint->share(),
                        .error = {}};
    const ExpertSizes sizes = expert_sizes(*checkpoint);
    Gathering gathering{.pass_rows = rows, .sizes = sizes, .hottest = {}, .seconds = options.peer_seconds};
    if (options.warm_start) gathering.hottest = WarmStart(*checkpoint, user_cache_folder()).read().hottest();
    return gather(peers, gathering, mine);
}

void Engine::Impl::describe(const std::string& name, const MemoryPlan& plan) {
    const ModelConfig& config = checkpoint->config();
    info.model_name = name;
    info.architecture = config.model_type;
    info.device = backend->name();
    info.threads = backend->threads();
    info.reader = store->reader_name();
    info.direct_io = store->direct_io();
    info.quantization = checkpoint->quantization_name();
    info.exact = options.exact;
    info.lossless = info.kv_format != kv_format_name(KvFormat::kInt8);
    info.layers = config.layer_count();
    info.experts = config.experts();
    info.experts_per_token = config.experts_per_token();
    info.hidden_size = config.hidden_size;
    info.residual_streams = config.streams();
    info.vocabulary = config.vocabulary;
    info.context = plan.context;
    info.session_tokens = plan.session_tokens;
    info.largest_context = plan.largest_context;
    info.chunk = plan.chunk;
    info.pass_rows = pass_rows(plan.chunk);
    info.trunk_bytes = checkpoint->trunk_bytes();
    info.expert_bytes = checkpoint->expert_bytes();
    info.cache_bytes = store->cache_bytes();
    info.ram_bytes = plan.ram_bytes;
    info.kv_bytes_per_token = cache_bytes_per_token(model->state_parts());
    info.fingerprint = checkpoint->fingerprint();
    info.prefix_memory_bytes = plan.prefix_bytes;
}

void Engine::Impl::begin_warm_start() {
    warm_start.emplace(*checkpoint, user_cache_folder());
    std::vector<ExpertKey> hottest = warm_start->read().hottest();
    if (elsewhere) std::erase_if(hottest, [&](const auto& key) { return elsewhere->holds(key); });
    store->warm_up(hottest);
}

std::unique_ptr<Engine> Engine::Impl::open(const std::filesystem::path& model, const EngineOptions& options,
                                           const MakeStore& make_store) {
    std::unique_ptr<Peers> peers = options.peers ? join_peers() : nullptr;
    if (peers && peers->size() == 1) peers.reset();
    auto impl = load(model, options);
    if (peers) impl->options.ram_bytes = shared_ceiling(options, *peers);
    const Checkpoint& checkpoint = *impl->checkpoint;
    if (!peers && !checkpoint.share().whole()) {
        fail(ErrorCode::kUsage, "{}: holds share {} of the experts; start it together with those that hold the others",
             model.string(), checkpoint.share().text());
    }
    const ModelConfig& config = checkpoint.config();
    const std::optional<uint64_t> card = impl->backend->own_memory_bytes();
    MemorySizes sizes = memory_sizes(checkpoint, *impl->model, *impl->backend);
    if (peers) add_messages(sizes, config);
    const MemoryPlan plan =
        MemoryLedger(impl->options, std::move(sizes),
                     card ? card_ceiling(options, *card) : memory_ceiling(impl->options, cgroup_memory_limit_bytes()),
                     card ? beside_card_ceiling(options, cgroup_memory_limit_bytes()) : 0)
            .divide();
    ExpertStoreOptions how = store_options(options, checkpoint, *impl->backend, plan.cache_bytes);
    how.host = {.bytes = plan.host_bytes,
                .make = [&](size_t slots, size_t bytes) { return impl->backend->make_host_slots(slots, bytes); }};
    if (!options.lock_trunk) impl->tile_trunk();
    std::optional<Division> division;
    if (peers) {
        division = impl->divide_experts(*peers, pass_rows(plan.chunk), how);
        how.held = [placement = division->placement](int layer, int expert) {
            return placement.holds(0, {layer, expert});
        };
    }
    impl->store = make_store(impl->checkpoint, how,
                             [&](size_t slots, size_t bytes) { return impl->backend->make_slots(slots, bytes); });
    if (!options.trace.empty()) impl->trace.emplace(config.layer_count(), config.experts(), config.experts_per_token());
    impl->open_row_tables(how);
    if (peers) {
        await_ready(*peers, options.peer_seconds);
        impl->elsewhere = std::make_unique<PeerExperts>(std::move(peers), *division, options.peer_seconds);
    }
    EngineInfo& info = impl->info;
    info.host_bytes = impl->store->host_bytes();
    if (info.host_bytes > 0) info.link_bytes_per_s = measure_link(*impl->backend, bytes_of_an_expert(checkpoint));
    impl->divide_with_host(how);
    ExpertsElsewhere* elsewhere = impl->elsewhere.get();
    if (impl->host_experts) elsewhere = impl->host_experts.get();
    impl->model->use_experts(*impl->store, impl->trace ? &*impl->trace : nullptr, elsewhere);
    impl->model->use_states(pool_size(plan, card.has_value()), plan.context);

    if (options.lock_trunk) lock_trunk(checkpoint);
    impl->govern(card.has_value());

    impl->describe(model_name(model), plan);
    impl->prefix_cache.emplace(impl->info, plan.prefix_bytes, options.prefix_cache, options.prefix_cache_bytes);
    impl->model->set_give_up_states([&cache = *impl->prefix_cache] { return cache.give_up_oldest(); });
    if (options.warm_start) impl->begin_warm_start();
    return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() {
    if (!impl_->warm_start) return;
    try {
        impl_->store->warm_up({});  // beside its reads the list takes a second to reach the drive
        impl_->warm_start->learn(impl_->used());
    } catch (const std::exception& error) {
        log_debug("warm start: {}; nothing is learned from this run", error.what());
    }
}

const EngineInfo& Engine::info() const {
    return impl_->info;
}
std::vector<std::vector<float>> Engine::expert_use() const {
    const HotList used = impl_->used();
    const auto layers = static_cast<size_t>(impl_->info.layers), experts = static_cast<size_t>(impl_->info.experts);
    std::vector<std::vector<float>> shares(layers, std::vector<float>(experts));
    for (size_t layer = 0; layer < layers; ++layer) {
        for (size_t expert = 0; expert < experts; ++expert) {
            shares[layer][expert] = static_cast<float>(used.share({static_cast<int>(layer), static_cast<int>(expert)}));
        }
    }
    return shares;
}

const GenerationDefaults& Engine::defaults() const {
    return impl_->defaults;
}
const Tokenizer* Engine::tokenizer() const {
    return impl_->tokenizer ? &*impl_->tokenizer : nullptr;
}

const ChatTemplate* Engine::chat_template() const {
    const std::lock_guard lock(impl_->template_mutex);
    if (!impl_->chat_template) {
        try {
            impl_->chat_template = ChatTemplate::open(impl_->checkpoint->folder());
        } catch (const Error& error) {
            if (error.code() == ErrorCode::kNotFound) return nullptr;
            throw;
        }
    }
    return &*impl_->chat_template;
}

// Without the model's lock: the store has its own, the rest are single numbers.
EngineStatistics Engine::Impl::statistics() const {
    ExpertCounters counters = store->counters();
    for (const auto& [layer, table] : row_tables) counters = counters + table->counters();
    std::vector<PeerStatistics> peers;
    if (elsewhere) {
        peers = elsewhere->statistics();
        peers.front().experts = counters;
        peers.front().cache_bytes = store->cache_bytes();
        for (size_t rank = 1; rank < peers.size(); ++rank) counters = counters + peers[rank].experts;
    }
    return {.experts = counters,
            .peers = std::move(peers),
            .peak_resident_bytes = peak_resident_bytes(),
            .tokens_evaluated = tokens_evaluated,
            .cache_bytes = store->cache_bytes(),
            .host_bytes = store->host_bytes(),
            .prefix_memory_bytes = prefix_cache->memory_bytes()};
}

HotList Engine::Impl::used() const {
    return elsewhere ? elsewhere->used() : store->used();
}

bool Engine::Impl::is_end(TokenId id) const {
    return std::ranges::find(defaults.eos_ids, id) != defaults.eos_ids.end();
}

std::string Engine::lost() const {
    return impl_->elsewhere ? impl_->elsewhere->lost() : std::string();
}

void Engine::hurry_peers(double seconds) const {
    if (impl_->elsewhere) impl_->elsewhere->hurry(seconds);
}

EngineStatistics Engine::statistics() const {
    return impl_->statistics();
}

std::vector<OperationTime> Engine::profile() const {
    std::vector<OperationTime> operations;
    for (const auto& [name, entry] : impl_->profile.entries())
        operations.push_back({.name = name, .calls = entry.calls, .seconds = entry.seconds});
    return operations;
}

std::unique_ptr<Session> Engine::new_session() {
    auto session = std::make_unique<Session::Impl>();
    session->engine = impl_.get();
    return std::unique_ptr<Session>(new Session(std::move(session)));
}

void Engine::save_trace() const {
    const ModelLock lock(*impl_);
    if (impl_->trace) impl_->trace->save(impl_->options.trace);
}

}  // namespace sluice
