#include <algorithm>
#include <cmath>
#include <optional>

#include "model/mixer.h"
#include "model/token_indexer.h"

namespace sluice {

namespace {

class LatentMixer : public Mixer {
  public:
    LatentMixer(const LatentAttentionConfig& config, const MixerContext& context, Trunk& trunk)
        : layer_(context.layer),
          heads_(config.heads),
          query_rank_(config.query_rank),
          rank_(config.key_value_rank),
          nope_(config.nope_dim),
          rope_(config.rope_dim),
          value_(config.value_dim),
          epsilon_(static_cast<float>(config.norm_epsilon)),
          kv_format_(context.kv_format),
          split_(config.split_key_value),
          indexer_config_(config.indexer),
          key_value_(trunk.projection(layer_, Role::kKeyValueLatent)),
          key_value_norm_(trunk.vector(layer_, Role::kKeyValueLatentNorm)),
          output_(trunk.projection(layer_, Role::kOutput)) {
        if (query_rank_ > 0) {
            query_down_ = trunk.projection(layer_, Role::kQueryLatent);
            query_norm_ = trunk.vector(layer_, Role::kQueryLatentNorm);
            query_up_ = trunk.projection(layer_, Role::kQueryFromLatent);
            if (config.projection_bias) query_down_bias_ = trunk.vector(layer_, Role::kQueryLatentBias);
        } else {
            query_up_ = trunk.projection(layer_, Role::kQuery);
        }
        if (config.projection_bias) {
            key_value_bias_ = trunk.vector(layer_, Role::kKeyValueLatentBias);
            output_bias_ = trunk.vector(layer_, Role::kOutputBias);
        }
        key_fold_ = trunk.weight(layer_, split_ ? Role::kKeyFold : Role::kKeyValueFromLatent);
        value_unfold_ = trunk.weight(layer_, split_ ? Role::kValueUnfold : Role::kKeyValueFromLatent);
        const RotaryTable table = make_rotary_table(config.rotary);
        if (config.rotary.dims > 0)
            frequencies_ = trunk.upload(table.frequencies, static_cast<int64_t>(table.frequencies.size()));
        interleaved_ = config.rotary.interleaved;
        magnitude_ = table.magnitude;
        scale_ = table.softmax_factor / std::sqrt(static_cast<float>(nope_ + rope_));
        if (!config.indexer.own()) return;
        indexer_.emplace(config.indexer, layer_,
                         TokenIndexer::Rotation{.frequencies = frequencies_, .magnitude = magnitude_}, trunk);
    }

    std::vector<StatePart> state_parts() const override {
        std::vector<StatePart> parts = {StatePart::cache("kv", kv_format_, token_bytes())};
        if (!indexer_) return parts;
        for (StatePart& part : TokenIndexer::state_parts(indexer_config_, kv_format_)) parts.push_back(std::move(part));
        return parts;
    }

    void take_scratch(int64_t rows, Workspace& workspace) const override {
        (void)take(rows, workspace);
        if (indexer_) indexer_->take_scratch(rows, workspace);
    }

    // Of the expanded form: the latents in float32, and of each thread the keys and values of a head and its weights.
    uint64_t context_scratch_bytes(int64_t tokens, size_t threads) const override {
        if (indexer_config_.tokens > 0) return selection_scratch_bytes(tokens);
        const int64_t head = (nope_ + value_) * (tokens + rank_);
        const int64_t heads = std::min(heads_, static_cast<int64_t>(threads));
        return static_cast<uint64_t>(tokens * rank_ + heads * head) * sizeof(float);
    }

    void run(Backend& backend, const Batch& batch, const Tensor& x, const BlockOutput& out,
             Workspace& workspace) const override {
        const Scratch s = take(batch.rows, workspace);
        project(backend, x, s);
        if (indexer_) indexer_->run(backend, batch, x, s.query_latent, workspace);
        // Operations take rows with a stride, so that the parts of the fused projection need no copies.
        const Tensor latent = s.key_value.columns_at(0, rank_);
        const Tensor rotary_key = rope_ == 0 ? Tensor{} : s.key_value.columns_at(rank_, rope_);
        backend.run(RmsNorm{.x = latent, .weight = key_value_norm_, .epsilon = epsilon_, .out = latent});
        rotate(backend, batch, s.query, nope_ + rope_, nope_);
        rotate(backend, batch, rotary_key, rope_, 0);

        const PagedCache cache = batch.cache(layer_, kLatents);
        backend.run(AppendLatent{.latent = latent, .rotary_key = rotary_key, .sequences = batch.table, .cache = cache});
        backend.run(LatentAttention{.query = s.query,
                                    .key = key_fold_,
                                    .value_weight = value_unfold_,
                                    .transposed = !split_,
                                    .heads = heads_,
                                    .nope = nope_,
                                    .rope = rope_,
                                    .value = value_,
                                    .scale = scale_,
                                    .sequences = batch.table,
                                    .cache = cache,
                                    .selected = selected(batch),
                                    .scratch = s.attention,
                                    .out = s.mixed});
        backend.run(Linear{
            .x = s.mixed, .weight = output_, .bias = output_bias_, .out = out.rows, .accumulate = out.accumulate});
    }

  private:
    // Of state_parts(): the first.
    static constexpr size_t kLatents = 0;

    uint64_t token_bytes() const {
        return kv_row_bytes(kv_format_, rank_) + (rope_ == 0 ? 0 : kv_row_bytes(kv_format_, rope_));
    }

    uint64_t selection_scratch_bytes(int64_t tokens) const {
        const auto per_token = static_cast<int64_t>(token_bytes());
        const int64_t scores = tokens * static_cast<int64_t>(sizeof(float));
        const int64_t gathered = std::min(tokens, indexer_config_.most_seen()) * per_token;
        return static_cast<uint64_t>(std::max(scores, std::min(tokens * scores, kSelectionScoreBytes)) +
                                     std::max(gathered, std::min(tokens * gathered, kSelectionGatherBytes)));
    }

    Tensor selected(const Batch& batch) const {
        return indexer_config_.tokens == 0 ? Tensor{} : batch.selected.columns_at(0, indexer_config_.most_seen());
    }

    struct Scratch {
        Tensor query_latent, query, key_value, attention, mixed;
    };

    Scratch take(int64_t rows, Workspace& workspace) const {
        Scratch s;
        if (query_rank_ > 0) s.query_latent = workspace.take(rows, query_rank_);
        s.query = workspace.take(rows, heads_ * (nope_ + rope_));
        s.key_value = workspace.take(rows, rank_ + rope_);
        s.attention = workspace.take(rows, LatentAttention::scratch_columns(heads_, rank_));
        s.mixed = workspace.take(rows, heads_ * value_);
        return s;
    }

    void project(Backend& backend, const Tensor& x, const Scratch& s) const {
        Tensor source = x;
        if (query_rank_ > 0) {
            backend.run(Linear{.x = x, .weight = *query_down_, .bias = query_down_bias_, .out = s.query_latent});
            backend.run(
                RmsNorm{.x = s.query_latent, .weight = query_norm_, .epsilon = epsilon_, .out = s.query_latent});
            source = s.query_latent;
        }
        backend.run(Linear{.x = source, .weight = *query_up_, .out = s.query});
        backend.run(Linear{.x = x, .weight = key_value_, .bias = key_value_bias_, .out = s.key_value});
    }

    void rotate(Backend& backend, const Batch& batch, const Tensor& x, int64_t head_dim, int64_t first) const {
        if (frequencies_.buffer == nullptr) return;  // without positions
        backend.run(Rotary{.x = x,
                           .positions = batch.positions,
                           .frequencies = frequencies_,
                           .head_dim = head_dim,
                           .first = first,
                           .interleaved = interleaved_,
                           .magnitude = magnitude_});
    }

    int layer_;
    int64_t heads_, query_rank_, rank_, nope_, rope_, value_;
    float epsilon_;
    KvFormat kv_format_;
    bool split_;
    IndexerConfig indexer_config_;
    std::optional<TokenIndexer> indexer_;  // the layer's own
    std::optional<Weight> query_down_, query_up_;
    Tensor query_down_bias_, key_value_bias_, output_bias_;  // empty where the model has none
    Weight key_value_;
    Tensor query_norm_, key_value_norm_, frequencies_;
    Weight key_fold_, value_unfold_, output_;
    bool interleaved_ = false;
    float magnitude_ = 1, scale_ = 1;
};

}  // namespace

std::unique_ptr<Mixer> make_mixer(const LatentAttentionConfig& config, const MixerContext& context, Trunk& trunk) {
    return std::make_unique<LatentMixer>(config, context, trunk);
}

}  // namespace sluice
