#include <cmath>
#include <optional>
#include <vector>

#include "model/mixer.h"
#include "model/pooled_indexer.h"

namespace sluice {

namespace {

class GroupedAttention : public Mixer {
  public:
    GroupedAttention(const GroupedAttentionConfig& config, const MixerContext& context, Trunk& trunk)
        : layer_(context.layer),
          heads_(config.heads),
          kv_heads_(config.kv_heads),
          head_dim_(config.head_dim),
          value_dim_(config.value_size()),
          gated_(config.gated),
          kv_format_(context.kv_format),
          epsilon_(context.epsilon),
          query_(trunk.projection(layer_, Role::kQuery)),
          key_(trunk.projection(layer_, Role::kKey)),
          output_(trunk.projection(layer_, Role::kOutput)),
          window_(config.window),
          chunk_(config.chunk),
          clamp_(static_cast<float>(config.projection_clamp)),
          value_form_(config.value),
          value_scale_(static_cast<float>(config.value_scale)),
          temperature_(config.temperature) {
        if (value_form_ != ValueForm::kUnitKey) value_ = trunk.projection(layer_, Role::kValue);
        if (value_form_ != ValueForm::kProjection) value_norm_ = unit_norm(trunk, value_dim_);
        if (config.query_key_value_bias) {
            query_bias_ = trunk.vector(layer_, Role::kQueryBias);
            key_bias_ = trunk.vector(layer_, Role::kKeyBias);
            value_bias_ = trunk.vector(layer_, Role::kValueBias);
        }
        if (config.output_bias) output_bias_ = trunk.vector(layer_, Role::kOutputBias);
        if (config.sinks) sinks_ = trunk.vector(layer_, Role::kSinks);
        if (config.head_gates) head_gate_ = trunk.projection(layer_, Role::kHeadGate);
        if (config.query_key_norm == QueryKeyNorm::kUnit) {
            query_norm_ = key_norm_ = unit_norm(trunk, head_dim_);
        } else if (config.query_key_norm != QueryKeyNorm::kNone) {
            query_norm_ = trunk.vector(layer_, Role::kQueryNorm);
            key_norm_ = trunk.vector(layer_, Role::kKeyNorm);
        }
        const RotaryTable table = make_rotary_table(config.rotary);
        if (config.rotary.dims > 0) {
            frequencies_ = trunk.upload(table.frequencies, static_cast<int64_t>(table.frequencies.size()));
        }
        interleaved_ = config.rotary.interleaved;
        magnitude_ = table.magnitude;
        const double scale =
            config.score_scale != 0 ? config.score_scale : 1 / std::sqrt(static_cast<double>(head_dim_));
        scale_ = table.softmax_factor * static_cast<float>(scale);
        indexer_config_ = config.indexer;
        if (!config.indexer.own()) return;
        const PooledIndexer::Context indexer{
            .layer = layer_, .first_part = 1, .epsilon = epsilon_, .frequencies = frequencies_};
        indexer_.emplace(config.indexer, indexer, trunk);
    }

    std::vector<StatePart> state_parts() const override {
        const uint64_t head = kv_row_bytes(kv_format_, head_dim_) + kv_row_bytes(kv_format_, value_dim_);
        std::vector<StatePart> parts = {StatePart::cache("kv", kv_format_, static_cast<uint64_t>(kv_heads_) * head)};
        if (!indexer_) return parts;
        for (StatePart& part : PooledIndexer::state_parts(indexer_config_, kv_format_))
            parts.push_back(std::move(part));
        return parts;
    }

    void take_scratch(int64_t rows, Workspace& workspace) const override {
        (void)take(rows, workspace);
        if (indexer_) indexer_->take_scratch(rows, workspace);
    }

    uint64_t context_scratch_bytes(int64_t tokens, size_t) const override {
        const uint64_t head = kv_row_bytes(kv_format_, head_dim_) + kv_row_bytes(kv_format_, value_dim_);
        return indexer_ ? indexer_->context_scratch_bytes(tokens, static_cast<uint64_t>(kv_heads_) * head) : 0;
    }

    void run(Backend& backend, const Batch& batch, const Tensor& x, const BlockOutput& out,
             Workspace& workspace) const override {
        const Scratch s = take(batch.rows, workspace);
        project(backend, x, s);
        place(backend, batch, s);
        const Tensor selected = indexer_ ? indexer_->run(backend, batch, x, workspace) : Tensor{};
        const PagedCache cache = batch.cache(layer_, 0);
        backend.run(AppendKeyValue{
            .keys = s.key, .values = s.value, .kv_heads = kv_heads_, .sequences = batch.table, .cache = cache});
        backend.run(Attention{.query = s.query,
                              .heads = heads_,
                              .kv_heads = kv_heads_,
                              .scale = scale_,
                              .window = window_,
                              .chunk = chunk_,
                              .sinks = sinks_,
                              .selected = selected,
                              .sequences = batch.table,
                              .cache = cache,
                              .out = s.mixed});
        if (head_gate_) backend.run(Linear{.x = x, .weight = *head_gate_, .out = s.gate});
        if (gated_ || head_gate_) backend.run(SigmoidGate{.x = s.mixed, .gate = s.gate});
        backend.run(Linear{
            .x = s.mixed, .weight = output_, .bias = output_bias_, .out = out.rows, .accumulate = out.accumulate});
    }

  private:
    struct Scratch {
        Tensor fused, query, gate, key, value, mixed;
    };

    static Tensor unit_norm(Trunk& trunk, int64_t width) {
        return trunk.upload(std::vector<float>(static_cast<size_t>(width), 1.0f), width);
    }

    // Query, key and value, as they are normed.
    void project(Backend& backend, const Tensor& x, const Scratch& s) const {
        if (gated_) {
            backend.run(Linear{.x = x, .weight = query_, .bias = query_bias_, .out = s.fused});
            backend.run(SplitQueryGate{.fused = s.fused, .head_dim = head_dim_, .query = s.query, .gate = s.gate});
        } else {
            backend.run(Linear{.x = x, .weight = query_, .bias = query_bias_, .out = s.query});
        }
        backend.run(Linear{.x = x, .weight = key_, .bias = key_bias_, .out = s.key});
        if (value_) backend.run(Linear{.x = x, .weight = *value_, .bias = value_bias_, .out = s.value});
        if (value_norm_) {
            backend.run(
                RmsNorm{.x = value_ ? s.value : s.key, .weight = *value_norm_, .epsilon = epsilon_, .out = s.value});
        }
        if (value_scale_ != 1) backend.run(Scale{.x = s.value, .factor = value_scale_});
        if (query_norm_) {
            backend.run(RmsNorm{.x = s.query, .weight = *query_norm_, .epsilon = epsilon_, .out = s.query});
            backend.run(RmsNorm{.x = s.key, .weight = *key_norm_, .epsilon = epsilon_, .out = s.key});
        }
        if (clamp_ == 0) return;
        for (const Tensor* tensor : {&s.query, &s.key, &s.value}) backend.run(Scale{.x = *tensor, .limit = clamp_});
    }

    // Gives query and key their positions.
    void place(Backend& backend, const Batch& batch, const Scratch& s) const {
        if (temperature_.factor != 0) {
            backend.run(ScaleByPosition{.x = s.query,
                                        .positions = batch.positions,
                                        .factor = static_cast<float>(temperature_.factor),
                                        .interval = static_cast<float>(temperature_.interval)});
        }
        if (frequencies_.buffer == nullptr) return;
        for (const Tensor* tensor : {&s.query, &s.key}) {
            backend.run(Rotary{.x = *tensor,
                               .positions = batch.positions,
                               .frequencies = frequencies_,
                               .head_dim = head_dim_,
                               .interleaved = interleaved_,
                               .magnitude = magnitude_});
        }
    }

    Scratch take(int64_t rows, Workspace& workspace) const {
        const int64_t width = heads_ * head_dim_;
        Scratch s;
        if (gated_) {
            s.fused = workspace.take(rows, 2 * width);
            s.gate = workspace.take(rows, width);
        }
        if (head_gate_) s.gate = workspace.take(rows, heads_);
        s.query = workspace.take(rows, width);
        s.key = workspace.take(rows, kv_heads_ * head_dim_);
        s.value = workspace.take(rows, kv_heads_ * value_dim_);
        s.mixed = workspace.take(rows, heads_ * value_dim_);
        return s;
    }

    int layer_;
    int64_t heads_, kv_heads_, head_dim_, value_dim_;
    bool gated_;
    KvFormat kv_format_;
    float epsilon_;
    Weight query_, key_;
    std::optional<Weight> value_;  // none: the value is made from the key
    std::optional<Weight> head_gate_;
    Weight output_;
    int64_t window_, chunk_;
    float clamp_;
    ValueForm value_form_;
    float value_scale_;
    TemperatureConfig temperature_;
    Tensor query_bias_, key_bias_, value_bias_, output_bias_, sinks_;  // empty where the model has none
    std::optional<Tensor> query_norm_, key_norm_;                      // of a head, or of all heads together
    std::optional<Tensor> value_norm_;
    Tensor frequencies_;
    bool interleaved_ = false;
    float magnitude_ = 1, scale_ = 1;
    IndexerConfig indexer_config_;
    std::optional<PooledIndexer> indexer_;  // none: all tokens are seen
};

}  // namespace

std::unique_ptr<Mixer> make_mixer(const GroupedAttentionConfig& config, const MixerContext& context, Trunk& trunk) {
    return std::make_unique<GroupedAttention>(config, context, trunk);
}

}  // namespace sluice
