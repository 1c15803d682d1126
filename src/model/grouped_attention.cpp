#include <cmath>
#include <optional>

#include "model/mixer.h"

namespace sluice {

namespace {

class GroupedAttention : public Mixer {
  public:
    GroupedAttention(const GroupedAttentionConfig& config, const MixerContext& context, Trunk& trunk)
        : layer_(context.layer),
          heads_(config.heads),
          kv_heads_(config.kv_heads),
          head_dim_(config.head_dim),
          gated_(config.gated),
          kv_format_(context.kv_format),
          epsilon_(context.epsilon),
          query_(trunk.weight(layer_, Role::kQuery)),
          key_(trunk.weight(layer_, Role::kKey)),
          value_(trunk.weight(layer_, Role::kValue)),
          output_(trunk.weight(layer_, Role::kOutput)),
          window_(config.window) {
        if (config.query_key_value_bias) {
            query_bias_ = trunk.vector(layer_, Role::kQueryBias);
            key_bias_ = trunk.vector(layer_, Role::kKeyBias);
            value_bias_ = trunk.vector(layer_, Role::kValueBias);
        }
        if (config.output_bias) output_bias_ = trunk.vector(layer_, Role::kOutputBias);
        if (config.sinks) sinks_ = trunk.vector(layer_, Role::kSinks);
        if (config.query_key_norm != QueryKeyNorm::kNone) {
            query_norm_ = trunk.vector(layer_, Role::kQueryNorm);
            key_norm_ = trunk.vector(layer_, Role::kKeyNorm);
        }
        const RotaryTable table = make_rotary_table(config.rotary);
        frequencies_ = trunk.upload(table.frequencies, static_cast<int64_t>(table.frequencies.size()));
        interleaved_ = config.rotary.interleaved;
        magnitude_ = table.magnitude;
        scale_ = table.softmax_factor / std::sqrt(static_cast<float>(head_dim_));
    }

    std::vector<StatePart> state_parts() const override {
        const uint64_t rows = 2 * static_cast<uint64_t>(kv_heads_);
        return {StatePart::cache("kv", kv_format_, rows * kv_row_bytes(kv_format_, head_dim_))};
    }

    void take_scratch(int64_t rows, Workspace& workspace) const override { (void)take(rows, workspace); }

    void run(Backend& backend, const Batch& batch, const Tensor& x, const Tensor& residual,
             Workspace& workspace) const override {
        const Scratch s = take(batch.rows, workspace);
        if (gated_) {
            backend.run(Linear{.x = x, .weight = query_, .bias = query_bias_, .out = s.fused});
            backend.run(SplitQueryGate{.fused = s.fused, .head_dim = head_dim_, .query = s.query, .gate = s.gate});
        } else {
            backend.run(Linear{.x = x, .weight = query_, .bias = query_bias_, .out = s.query});
        }
        backend.run(Linear{.x = x, .weight = key_, .bias = key_bias_, .out = s.key});
        backend.run(Linear{.x = x, .weight = value_, .bias = value_bias_, .out = s.value});
        if (query_norm_) {
            backend.run(RmsNorm{.x = s.query, .weight = *query_norm_, .epsilon = epsilon_, .out = s.query});
            backend.run(RmsNorm{.x = s.key, .weight = *key_norm_, .epsilon = epsilon_, .out = s.key});
        }
        for (const Tensor* tensor : {&s.query, &s.key}) {
            backend.run(Rotary{.x = *tensor,
                               .positions = batch.positions,
                               .frequencies = frequencies_,
                               .head_dim = head_dim_,
                               .interleaved = interleaved_,
                               .magnitude = magnitude_});
        }
        const PagedCache cache = batch.cache(layer_, 0);
        backend.run(AppendKeyValue{
            .keys = s.key, .values = s.value, .kv_heads = kv_heads_, .sequences = batch.table, .cache = cache});
        backend.run(Attention{.query = s.query,
                              .heads = heads_,
                              .kv_heads = kv_heads_,
                              .scale = scale_,
                              .window = window_,
                              .sinks = sinks_,
                              .sequences = batch.table,
                              .cache = cache,
                              .out = s.mixed});
        if (gated_) backend.run(SigmoidGate{.x = s.mixed, .gate = s.gate});
        backend.run(Linear{.x = s.mixed, .weight = output_, .bias = output_bias_, .out = residual, .accumulate = true});
    }

  private:
    struct Scratch {
        Tensor fused, query, gate, key, value, mixed;
    };

    Scratch take(int64_t rows, Workspace& workspace) const {
        const int64_t width = heads_ * head_dim_;
        Scratch s;
        if (gated_) {
            s.fused = workspace.take(rows, 2 * width);
            s.gate = workspace.take(rows, width);
        }
        s.query = workspace.take(rows, width);
        s.key = workspace.take(rows, kv_heads_ * head_dim_);
        s.value = workspace.take(rows, kv_heads_ * head_dim_);
        s.mixed = workspace.take(rows, width);
        return s;
    }

    int layer_;
    int64_t heads_, kv_heads_, head_dim_;
    bool gated_;
    KvFormat kv_format_;
    float epsilon_;
    Weight query_, key_, value_, output_;
    int64_t window_;
    Tensor query_bias_, key_bias_, value_bias_, output_bias_, sinks_;  // empty where the model has none
    std::optional<Tensor> query_norm_, key_norm_;                      // of a head, or of all heads together
    Tensor frequencies_;
    bool interleaved_ = false;
    float magnitude_ = 1, scale_ = 1;
};

}  // namespace

std::unique_ptr<Mixer> make_mixer(const GroupedAttentionConfig& config, const MixerContext& context, Trunk& trunk) {
    return std::make_unique<GroupedAttention>(config, context, trunk);
}

}  // namespace sluice
