// Whatever only moves bytes changes no bit: every reader, queue depth, way of reading, eviction policy, look-ahead,
// warm start, cache size and number of threads gives the logits of a model that is held in memory whole.

#include <gtest/gtest.h>

#include <set>

#include "backend/cpu/cpu_features.h"
#include "base/memory.h"
#include "model/model.h"
#include "sluice/pack.h"
#include "tests/backend/queued_backend.h"
#include "tests/support/source_file.h"
#include "tests/support/temporary_folder.h"

namespace sluice::testing {
namespace {

struct Case {
    const char* name;
    const char* golden;
    bool packed;
    uint64_t cached_records;  // of the middle cache size: between the floor and all
};

size_t experts_touched(const RoutingTrace& trace) {
    std::set<std::pair<int64_t, int>> touched;
    for (int64_t step = 0; step < trace.steps(); ++step)
        for (const auto expert : trace.chosen(step)) touched.emplace(trace.layer(step), expert);
    return touched.size();
}

class SameBits : public ::testing::TestWithParam<Case> {
  protected:
    static constexpr size_t kPrompt = 8, kDecoded = 4;

    SameBits() {
        std::filesystem::path folder =
            std::filesystem::path(sluice::testing::source_file("/tests/data/goldens")) / GetParam().golden;
        if (GetParam().packed) {
            pack(folder, folder_ / "packed", {});
            folder = folder_ / "packed";
        }
        checkpoint_ = Checkpoint::open(folder);
    }

    const TemporaryFolder folder_;
    std::shared_ptr<const Checkpoint> checkpoint_;

    uint64_t record_bytes() const {
        return ExpertStore::floor_bytes(*checkpoint_) /
               static_cast<uint64_t>(checkpoint_->config().experts_per_token());
    }

    // Logits of a prompt and of tokens decoded one by one.
    std::vector<float> run(Backend& backend, Model& model, const ExpertStoreOptions& options,
                           ExpertCounters* stats = nullptr, std::span<const ExpertKey> warm = {}) const {
        ExpertStore store(checkpoint_, options,
                          [&](size_t slots, size_t bytes) { return backend.make_slots(slots, bytes); });
        model.use_experts(store, nullptr);
        store.warm_up(warm);
        std::vector<int32_t> ids;
        const auto ids_at_all = static_cast<size_t>(std::min<int64_t>(512, checkpoint_->config().vocabulary));
        for (size_t i = 0; i < kPrompt + kDecoded; ++i) ids.push_back(static_cast<int32_t>((i * 37 + 11) % ids_at_all));
        const auto state = model.new_state();
        std::vector<float> logits;
        for (size_t begin = 0; begin < ids.size(); begin += begin == 0 ? kPrompt : 1) {
            const size_t count = begin == 0 ? kPrompt : 1;
            const ForwardInput input{.state = state.get(),
                                     .ids = std::span(ids).subspan(begin, count),
                                     .logit_rows = {static_cast<int32_t>(count) - 1}};
            const std::vector<ForwardOutput> outputs = model.forward(std::span(&input, 1));
            store.go_on_warming();
            if (outputs[0].error) std::rethrow_exception(outputs[0].error);
            logits.insert(logits.end(), outputs[0].logits.begin(), outputs[0].logits.end());
        }
        if (stats != nullptr) *stats = store.counters();
        return logits;
    }

    void expect_same_trunk() const {
        for (const InstructionSet set : {InstructionSet::kAuto, InstructionSet::kAvx2}) {
            if (!processor_has(set)) continue;
            const auto backend = make_cpu_backend({.threads = 2, .instruction_set = set});
            const ExpertStoreOptions options{.cache_bytes = ExpertStore::full_bytes(*checkpoint_)};
            Model mapped(checkpoint_, *backend, KvFormat::kBF16);
            Model in_tiles(checkpoint_, *backend, KvFormat::kBF16, TrunkForm::kFastest);
            EXPECT_TRUE(run(*backend, mapped, options) == run(*backend, in_tiles, options)) << backend->name();
        }
    }

    void expect_same_experts() const {
        for (const InstructionSet set : {InstructionSet::kAuto, InstructionSet::kAvx2}) {
            if (!processor_has(set)) continue;
            const auto backend = make_cpu_backend({.threads = 2, .instruction_set = set});
            Model model(checkpoint_, *backend, KvFormat::kBF16);
            const std::vector<float> rows =
                run(*backend, model, {.cache_bytes = ExpertStore::full_bytes(*checkpoint_), .in_tiles = {}});
            for (const uint64_t cache_bytes :
                 {ExpertStore::floor_bytes(*checkpoint_), ExpertStore::full_bytes(*checkpoint_)}) {
                const ExpertStoreOptions options{
                    .cache_bytes = cache_bytes,
                    .in_tiles = [&](const WeightFormat& format) { return backend->reads_tiles(format); }};
                EXPECT_TRUE(run(*backend, model, options) == rows) << backend->name() << ", cache " << cache_bytes;
            }
        }
    }
};

TEST_P(SameBits, OverEveryWayOfReadingAndKeepingExperts) {
    const uint64_t full = ExpertStore::full_bytes(*checkpoint_);
    std::vector<float> expected;
    uint64_t looked_ahead = 0;
    for (const size_t threads : {1, 3}) {
        const auto backend = make_cpu_backend({.threads = threads});
        Model model(checkpoint_, *backend, KvFormat::kBF16);
        if (expected.empty()) expected = run(*backend, model, {.cache_bytes = full});
        for (const uint64_t cache_bytes :
             {ExpertStore::floor_bytes(*checkpoint_), GetParam().cached_records * record_bytes(), full})
            for (const ReaderKind reader : {ReaderKind::kPread, ReaderKind::kUring, ReaderKind::kMmap})
                for (const size_t depth : {1, 8})
                    for (const When direct : {When::kOff, When::kOn})
                        for (const EvictionPolicy policy : kAllPolicies)
                            for (const When look_ahead : {When::kOff, When::kOn}) {
                                if (reader == ReaderKind::kMmap && direct == When::kOn) continue;
                                ExpertCounters stats;
                                const std::vector<float> logits = run(*backend, model,
                                                                      {.cache_bytes = cache_bytes,
                                                                       .reader = reader,
                                                                       .direct_io = direct,
                                                                       .policy = policy,
                                                                       .read_threads = depth,
                                                                       .look_ahead = look_ahead},
                                                                      &stats);
                                looked_ahead += stats.prefetch_reads;
                                ASSERT_TRUE(logits == expected)
                                    << "threads " << threads << ", cache " << cache_bytes << ", reader "
                                    << static_cast<int>(reader) << ", depth " << depth << ", direct "
                                    << static_cast<int>(direct) << ", " << eviction_policy_name(policy)
                                    << ", look-ahead " << static_cast<int>(look_ahead);
                                if (look_ahead == When::kOff) {
                                    ASSERT_EQ(stats.prefetch_reads, 0u);
                                }
                            }
    }
    EXPECT_GT(looked_ahead, 0u) << "the matrix must cover look-ahead reads";
}

// A device's slots over a tier in the host's memory over the drive.
TEST_P(SameBits, OverTiersOfEverySize) {
    const auto backend = make_queued_backend();
    Model model(checkpoint_, *backend, KvFormat::kBF16);
    const uint64_t floor = ExpertStore::floor_bytes(*checkpoint_), full = ExpertStore::full_bytes(*checkpoint_);
    const uint64_t some = GetParam().cached_records * record_bytes();
    const std::vector<float> expected = run(*backend, model, {.cache_bytes = some});
    uint64_t copied = 0, looked_ahead = 0;
    for (const uint64_t device_bytes : {floor, some, full}) {
        for (const uint64_t host_bytes : {record_bytes(), some, full}) {
            for (const When look_ahead : {When::kOff, When::kOn}) {
                ExpertCounters stats;
                const ExpertStoreOptions options{
                    .cache_bytes = device_bytes,
                    .host = {.bytes = host_bytes,
                             .make = [&](size_t slots,
                                         size_t bytes) { return backend->make_host_slots(slots, bytes); }},
                    .look_ahead = look_ahead};
                ASSERT_TRUE(run(*backend, model, options, &stats) == expected)
                    << device_bytes << " of the device, " << host_bytes << " of the host, look-ahead "
                    << static_cast<int>(look_ahead);
                copied += stats.copies;
                looked_ahead += stats.prefetch_reads;
                if (host_bytes == full) {
                    EXPECT_LE(stats.reads + stats.prefetch_reads, full / record_bytes()) << "each is read once";
                }
            }
        }
    }
    EXPECT_GT(copied, 0u);
    EXPECT_GT(looked_ahead, 0u);
}

TEST_P(SameBits, WhetherTheTrunkIsMappedOrInTiles) {
    expect_same_trunk();
}

TEST_P(SameBits, WhetherExpertsStandInTiles) {
    expect_same_experts();
}

TEST_P(SameBits, WithAWarmStart) {
    const auto backend = make_cpu_backend({.threads = 2});
    Model model(checkpoint_, *backend, KvFormat::kBF16);
    const uint64_t full = ExpertStore::full_bytes(*checkpoint_);
    const std::vector<float> expected = run(*backend, model, {.cache_bytes = full});
    const ModelConfig& config = checkpoint_->config();
    std::vector<ExpertKey> all;
    for (int layer = 0; layer < static_cast<int>(config.layer_count()); ++layer) {
        if (config.mixture_of(layer) == nullptr) continue;
        for (int expert = 0; expert < static_cast<int>(config.experts()); ++expert) all.push_back({layer, expert});
    }
    uint64_t warm_reads = 0;
    for (const uint64_t cache_bytes :
         {ExpertStore::floor_bytes(*checkpoint_), GetParam().cached_records * record_bytes(), full})
        for (const EvictionPolicy policy : kAllPolicies)
            for (const When look_ahead : {When::kOff, When::kOn}) {
                const ExpertStoreOptions options{
                    .cache_bytes = cache_bytes, .policy = policy, .look_ahead = look_ahead};
                ExpertCounters stats;
                ASSERT_TRUE(run(*backend, model, options, &stats, all) == expected)
                    << "cache " << cache_bytes << ", " << eviction_policy_name(policy) << ", look-ahead "
                    << static_cast<int>(look_ahead);
                warm_reads += stats.warm_reads;
            }
    EXPECT_GT(warm_reads, 0u) << "the matrix must cover warm reads";
}

// Within a chunk an expert is read at most once, however small the cache is.
TEST_P(SameBits, APromptReadsEachExpertOnce) {
    const auto backend = make_cpu_backend({.threads = 2});
    Model model(checkpoint_, *backend, KvFormat::kBF16);
    const ModelConfig& config = checkpoint_->config();
    std::vector<int32_t> ids;
    for (int32_t i = 0; i < 96; ++i) ids.push_back(i * 37 % 512);
    for (const uint64_t cache_bytes :
         {ExpertStore::floor_bytes(*checkpoint_), GetParam().cached_records * record_bytes()}) {
        ExpertStoreOptions options;
        options.cache_bytes = cache_bytes;
        ExpertStore store(checkpoint_, options,
                          [&](size_t slots, size_t bytes) { return backend->make_slots(slots, bytes); });
        RoutingTrace trace(config.layer_count(), config.experts(), config.experts_per_token());
        model.use_experts(store, &trace);
        const auto state = model.new_state();
        const ForwardInput input{.state = state.get(), .ids = ids, .logit_rows = {95}};
        const std::vector<ForwardOutput> outputs = model.forward(std::span(&input, 1));
        ASSERT_FALSE(outputs[0].error);
        const size_t touched = experts_touched(trace);
        EXPECT_GT(touched, 16u);
        EXPECT_LE(store.counters().reads, touched);
        EXPECT_EQ(store.counters().prefetch_reads, 0u);
        EXPECT_LE(store.counters().bytes_read, touched * (record_bytes() + 9 * 2 * kPageBytes));
    }
}

// As above with the next layer's experts read ahead, some of which nobody wants; and the bits are the same.
TEST_P(SameBits, APromptThatReadsAhead) {
    const auto backend = make_cpu_backend({.threads = 2});
    Model model(checkpoint_, *backend, KvFormat::kBF16);
    const ModelConfig& config = checkpoint_->config();
    std::vector<int32_t> ids;
    for (int32_t i = 0; i < 150; ++i) ids.push_back(i * 37 % 512);
    const auto evaluate = [&](const ExpertStoreOptions& options, RoutingTrace* trace) {
        ExpertStore store(checkpoint_, options,
                          [&](size_t slots, size_t bytes) { return backend->make_slots(slots, bytes); });
        model.use_experts(store, trace);
        const auto state = model.new_state();
        const ForwardInput input{.state = state.get(), .ids = ids, .logit_rows = {149}};
        const std::vector<ForwardOutput> outputs = model.forward(std::span(&input, 1));
        if (outputs[0].error) std::rethrow_exception(outputs[0].error);
        return std::pair(outputs[0].logits, store.counters());
    };
    RoutingTrace trace(config.layer_count(), config.experts(), config.experts_per_token());
    const uint64_t full = ExpertStore::full_bytes(*checkpoint_);
    const std::vector<float> expected = evaluate({.cache_bytes = full}, &trace).first;
    const size_t touched = experts_touched(trace);
    uint64_t read_ahead = 0;
    for (const uint64_t cache_bytes :
         {ExpertStore::floor_bytes(*checkpoint_), GetParam().cached_records * record_bytes(), full})
        for (const ReaderKind reader : {ReaderKind::kPread, ReaderKind::kUring})
            for (const EvictionPolicy policy : kAllPolicies)
                for (const When look_ahead : {When::kAuto, When::kOn}) {
                    const auto [logits, stats] = evaluate(
                        {.cache_bytes = cache_bytes, .reader = reader, .policy = policy, .look_ahead = look_ahead},
                        nullptr);
                    ASSERT_TRUE(logits == expected) << "cache " << cache_bytes << ", " << eviction_policy_name(policy);
                    EXPECT_LE(stats.reads + stats.prefetch_hits, touched);
                    read_ahead += stats.prefetch_hits;
                }
    EXPECT_GT(read_ahead, 0u) << "something must have been read ahead";
}

// Models in GGUF's blocks, beside the tree.
class SameBitsOfBlocks : public SameBits {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(SameBitsOfBlocks);

TEST_P(SameBitsOfBlocks, WhetherTheyStandInTiles) {
    const auto has_tiles = [](const WeightFormat& format) { return format.tiles(); };
    EXPECT_TRUE(
        tiled_layout(checkpoint_->expert_layout(static_cast<int>(checkpoint_->config().layer_count()) - 1), has_tiles)
            .up.tiled);
    expect_same_trunk();
    expect_same_experts();
}

std::vector<Case> cases_in_blocks() {
    std::vector<Case> cases;
    for (const auto& [name, place] : {std::pair{"q4_k_m", "../../../../shared/gguf/models/qwen3moe-q4_k_m"},
                                      {"iq4_xs", "../../../../shared/gguf/models/minimax-m2-iq4_xs"},
                                      {"q2_k", "../../../../shared/gguf/models/mixtral-q2_k"},
                                      {"q3", "../../../../shared/gguf/models/glm4moe-ud-q3"},
                                      {"q5_k", "../../../../shared/gguf/models/deepseek2-legacy-kv_b-q5_k"}}) {
        if (!std::filesystem::exists(source_file("/tests/data/goldens/") + place)) continue;
        for (const bool packed : {false, true}) cases.push_back({name, place, packed, 20});
    }
    return cases;
}

INSTANTIATE_TEST_SUITE_P(Models, SameBitsOfBlocks, ::testing::ValuesIn(cases_in_blocks()), [](const auto& each) {
    return std::string(each.param.name) + (each.param.packed ? "_packed" : "");
});

INSTANTIATE_TEST_SUITE_P(Models, SameBits,
                         ::testing::Values(Case{"published", "qwen3-moe-mlx4", false, 20},
                                           Case{"packed", "qwen3-next-bf16", true, 24},
                                           Case{"packed_in_tiles", "qwen3-moe-mlx4", true, 20}),
                         [](const auto& each) { return std::string(each.param.name); });

}  // namespace
}  // namespace sluice::testing
