#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "model/mixer.h"
#include "model/run_keys.h"

namespace sluice {

namespace {

constexpr RunKeys::Roles kRunRoles = {Role::kRunKey, Role::kRunGate, Role::kRunOffsets, Role::kRunNorm};
constexpr RunKeys::Roles kIndexRunRoles = {Role::kIndexRunKey, Role::kIndexRunGate, Role::kIndexRunOffsets,
                                           Role::kIndexRunNorm};

// Chooses the runs that a query sees.
class RunIndexer {
  public:
    RunIndexer(const IndexerConfig& config, int layer, const KeyRotation& rotation, RunKeys keys, Trunk& trunk)
        : config_(config),
          rotation_(rotation),
          keys_(std::move(keys)),
          query_(trunk.weight(layer, Role::kIndexQuery)),
          weights_(trunk.weight(layer, Role::kIndexWeights)) {}

    // I32 [rows, tokens of the config], of the rows of x, whose queries' latents are given.
    struct Input {
        Tensor x, query_latent;
    };
    Tensor run(Backend& backend, const Batch& batch, const Input& input, Workspace& workspace) const {
        const Scratch s = take(batch.rows, workspace);
        keys_.run(backend, batch, input.x, workspace);
        backend.run(Linear{.x = input.query_latent, .weight = query_, .out = s.query, .full_precision = true});
        backend.run(Linear{.x = input.x, .weight = weights_, .out = s.weights, .full_precision = true});
        rotation_.run(backend, s.query, batch.positions);
        backend.run(SelectTokens{.query = s.query,
                                 .weights = s.weights,
                                 .ratio = keys_.ratio(),
                                 .as_tokens = false,
                                 .sequences = batch.table,
                                 .cache = keys_.cache(batch),
                                 .out = s.runs});
        return s.runs;
    }
    void take_scratch(int64_t rows, Workspace& workspace) const {
        (void)take(rows, workspace);
        keys_.take_scratch(rows, workspace);
    }

  private:
    struct Scratch {
        Tensor query, weights, runs;
    };

    Scratch take(int64_t rows, Workspace& workspace) const {
        return {.query = workspace.take(rows, query_.rows),
                .weights = workspace.take(rows, weights_.rows),
                .runs = workspace.take(rows, config_.tokens, DType::kI32)};
    }

    IndexerConfig config_;
    KeyRotation rotation_;
    RunKeys keys_;
    Weight query_, weights_;
};

class CompressedAttention : public Mixer {
  public:
    CompressedAttention(const CompressedAttentionConfig& config, const MixerContext& context, Trunk& trunk)
        : config_(config),
          layer_(context.layer),
          epsilon_(context.epsilon),
          kv_format_(context.kv_format),
          query_down_(trunk.projection(layer_, Role::kQueryLatent)),
          query_up_(trunk.projection(layer_, Role::kQueryFromLatent)),
          key_(trunk.projection(layer_, Role::kSharedKey)),
          output_groups_(trunk.weight(layer_, Role::kOutputGroups)),
          output_(trunk.projection(layer_, Role::kOutput)),
          query_latent_norm_(trunk.vector(layer_, Role::kQueryLatentNorm)),
          query_norm_(trunk.upload(std::vector<float>(static_cast<size_t>(config.head_dim), 1.0f), config.head_dim)),
          key_norm_(trunk.vector(layer_, Role::kSharedKeyNorm)),
          sinks_(trunk.vector(layer_, Role::kSinks)) {
        std::vector<float> frequencies = make_rotary_table(config.rotary).frequencies;
        const auto pairs = static_cast<int64_t>(frequencies.size());
        rotation_ = {.frequencies = trunk.upload(frequencies, pairs), .head_dim = config.head_dim};
        for (float& frequency : frequencies) frequency = -frequency;
        rotation_back_ = {.frequencies = trunk.upload(frequencies, pairs), .head_dim = config.head_dim};
        if (config.ratio == 0) return;
        runs_.emplace(config, kRunRoles,
                      RunKeys::Place{.layer = layer_, .parts = {kRuns, kOpenRun}, .epsilon = epsilon_}, rotation_,
                      trunk);
        if (!config.indexer.own()) return;
        const KeyRotation of_index{.frequencies = rotation_.frequencies, .head_dim = config.indexer.head_dim};
        indexer_.emplace(
            config.indexer, layer_, of_index,
            RunKeys(config, kIndexRunRoles,
                    RunKeys::Place{.layer = layer_, .parts = {kIndexRuns, kIndexOpenRun}, .epsilon = epsilon_},
                    of_index, trunk),
            trunk);
    }

    std::vector<StatePart> state_parts() const override {
        std::vector<StatePart> parts = {StatePart::fixed("window", config_.window, config_.head_dim)};
        const auto add = [&](int64_t head_dim, const char* name) {
            for (StatePart& part : RunKeys::state_parts(config_, head_dim, kv_format_, name)) {
                parts.push_back(std::move(part));
            }
        };
        if (runs_) add(config_.head_dim, "runs");
        if (indexer_) add(config_.indexer.head_dim, "index");
        return parts;
    }

    void take_scratch(int64_t rows, Workspace& workspace) const override {
        (void)take(rows, workspace);
        if (runs_) runs_->take_scratch(rows, workspace);
        if (indexer_) indexer_->take_scratch(rows, workspace);
    }

    // What each thread gathers for a row, and the scores of the runs.
    uint64_t context_scratch_bytes(int64_t tokens, size_t threads) const override {
        const int64_t all = config_.ratio == 0 ? 0 : tokens / config_.ratio;
        const int64_t seen = config_.window + all;
        const int64_t row = 2 * seen * config_.head_dim * static_cast<int64_t>(sizeof(float));
        return static_cast<uint64_t>(row) * threads + (indexer_ ? static_cast<uint64_t>(kSelectionScoreBytes) : 0);
    }

    void run(Backend& backend, const Batch& batch, const Tensor& x, const BlockOutput& out,
             Workspace& workspace) const override {
        const Scratch s = take(batch.rows, workspace);
        project(backend, x, s);
        rotation_.run(backend, s.query, batch.positions);
        rotation_.run(backend, s.key, batch.positions);
        Tensor chosen;
        if (runs_) {
            runs_->run(backend, batch, x, workspace);
            if (indexer_) chosen = indexer_->run(backend, batch, {.x = x, .query_latent = s.query_latent}, workspace);
        }
        backend.run(SharedKeyAttention{.query = s.query,
                                       .heads = config_.heads,
                                       .scale = 1 / std::sqrt(static_cast<float>(config_.head_dim)),
                                       .keys = s.key,
                                       .sinks = sinks_,
                                       .ratio = config_.ratio,
                                       .runs = chosen,
                                       .sequences = batch.table,
                                       .states = batch.states(layer_, kWindow),
                                       .cache = runs_ ? runs_->cache(batch) : PagedCache{},
                                       .out = s.mixed});
        rotation_back_.run(backend, s.mixed, batch.positions);
        put_out(backend, s, out);
    }

  private:
    // Of state_parts().
    static constexpr size_t kWindow = 0, kRuns = 1, kOpenRun = 2, kIndexRuns = 3, kIndexOpenRun = 4;

    struct Scratch {
        Tensor query_latent, query, key, mixed, grouped;
    };

    Scratch take(int64_t rows, Workspace& workspace) const {
        return {.query_latent = workspace.take(rows, config_.query_rank),
                .query = workspace.take(rows, config_.width()),
                .key = workspace.take(rows, config_.head_dim),
                .mixed = workspace.take(rows, config_.width()),
                .grouped = workspace.take(rows, config_.output_groups * config_.output_rank)};
    }

    void project(Backend& backend, const Tensor& x, const Scratch& s) const {
        const auto normed = [&](const Tensor& rows, const Tensor& weight) {
            backend.run(RmsNorm{.x = rows, .weight = weight, .epsilon = epsilon_, .out = rows});
        };
        backend.run(Linear{.x = x, .weight = query_down_, .out = s.query_latent});
        normed(s.query_latent, query_latent_norm_);
        backend.run(Linear{.x = s.query_latent, .weight = query_up_, .out = s.query});
        normed(s.query, query_norm_);
        backend.run(Linear{.x = x, .weight = key_, .out = s.key});
        normed(s.key, key_norm_);
    }

    // Each group of heads through its own rows of the first projection.
    void put_out(Backend& backend, const Scratch& s, const BlockOutput& out) const {
        const int64_t width = config_.width() / config_.output_groups, rank = config_.output_rank;
        for (int64_t group = 0; group < config_.output_groups; ++group) {
            backend.run(Linear{.x = s.mixed.columns_at(group * width, width),
                               .weight = output_groups_.rows_at(group * rank, rank),
                               .out = s.grouped.columns_at(group * rank, rank)});
        }
        backend.run(Linear{.x = s.grouped, .weight = output_, .out = out.rows, .accumulate = out.accumulate});
    }

    CompressedAttentionConfig config_;
    int layer_;
    float epsilon_;
    KvFormat kv_format_;
    Weight query_down_, query_up_, key_, output_groups_, output_;
    Tensor query_latent_norm_, query_norm_, key_norm_, sinks_;
    KeyRotation rotation_, rotation_back_;
    std::optional<RunKeys> runs_;
    std::optional<RunIndexer> indexer_;
};

}  // namespace

std::unique_ptr<Mixer> make_mixer(const CompressedAttentionConfig& config, const MixerContext& context, Trunk& trunk) {
    return std::make_unique<CompressedAttention>(config, context, trunk);
}

}  // namespace sluice
