#include <cmath>
#include <optional>

#include "model/mixer.h"

namespace sluice {

namespace {

class GatedDeltaNet : public Mixer {
  public:
    GatedDeltaNet(const GatedDeltaNetConfig& config, const MixerContext& context, Trunk& trunk)
        : layer_(context.layer),
          key_heads_(config.key_heads),
          value_heads_(config.value_heads),
          key_dim_(config.key_dim),
          value_dim_(config.value_dim),
          kernel_(config.kernel),
          epsilon_(context.epsilon),
          tiled_(config.tiled_value_heads),
          fused_(config.fused_projections),
          a_log_(decay_of(config, trunk)),
          dt_bias_(trunk.vector(layer_, Role::kLinearDtBias)),
          norm_(trunk.vector(layer_, Role::kLinearNorm)),
          output_(trunk.weight(layer_, Role::kLinearOutput)) {
        const Tensor convolution = trunk.vector(layer_, Role::kLinearConv);
        convolution_ = make_tensor(convolution.buffer, DType::kF32, convolution.columns / kernel_, kernel_);
        if (fused_) {
            qkvz_ = trunk.weight(layer_, Role::kLinearQkvz);
            ba_ = trunk.weight(layer_, Role::kLinearBa);
        } else {
            qkv_ = trunk.weight(layer_, Role::kLinearQkv);
            z_ = trunk.weight(layer_, Role::kLinearZ);
            b_ = gate_of(config, trunk, Role::kLinearB);
            a_ = gate_of(config, trunk, Role::kLinearA);
        }
    }

    std::vector<StatePart> state_parts() const override {
        return {StatePart::fixed("convolution", kernel_ - 1, qkv_width()),
                StatePart::fixed("delta", value_heads_ * value_dim_, key_dim_)};
    }

    void take_scratch(int64_t rows, Workspace& workspace) const override { (void)take(rows, workspace); }

    void run(Backend& backend, const Batch& batch, const Tensor& x, const BlockOutput& out,
             Workspace& workspace) const override {
        const Scratch s = take(batch.rows, workspace);
        project(backend, x, s);
        backend.run(CausalConvolution{.x = s.qkv,
                                      .weight = convolution_,
                                      .sequences = batch.table,
                                      .states = batch.states(layer_, kConvolution),
                                      .out = s.convolved});
        backend.run(GatedDeltaRule{.qkv = s.convolved,
                                   .b = s.b,
                                   .a = s.a,
                                   .a_log = a_log_,
                                   .dt_bias = dt_bias_,
                                   .key_heads = key_heads_,
                                   .value_heads = value_heads_,
                                   .key_dim = key_dim_,
                                   .value_dim = value_dim_,
                                   .tiled = tiled_,
                                   .sequences = batch.table,
                                   .states = batch.states(layer_, kDelta),
                                   .out = s.mixed});
        backend.run(GatedRmsNorm{.x = s.mixed, .z = s.z, .weight = norm_, .epsilon = epsilon_, .out = s.mixed});
        backend.run(Linear{.x = s.mixed, .weight = output_, .out = out.rows, .accumulate = out.accumulate});
    }

  private:
    // Of state_parts().
    static constexpr size_t kConvolution = 0, kDelta = 1;

    struct Scratch {
        Tensor qkvz, ba, qkv, z, b, a, convolved, mixed;
    };

    Tensor decay_of(const GatedDeltaNetConfig& config, Trunk& trunk) const {
        if (!config.stored_decay) return trunk.vector(layer_, Role::kLinearALog);
        std::vector<float> decay = trunk.values(layer_, Role::kLinearDecay);
        for (float& value : decay) value = std::log(-value);
        return trunk.upload(decay, value_heads_);
    }

    // The rows of b or of a, which per key head follow each other in the fused matrix.
    Weight gate_of(const GatedDeltaNetConfig& config, Trunk& trunk, Role role) const {
        if (!config.fused_gates) return trunk.weight(layer_, role);
        const int64_t share = value_heads_ / key_heads_, first = role == Role::kLinearB ? 0 : share;
        std::vector<int64_t> rows;
        for (int64_t head = 0; head < value_heads_; ++head) {
            rows.push_back(head / share * 2 * share + first + head % share);
        }
        return trunk.rows(layer_, Role::kLinearBa, rows);
    }

    int64_t qkv_width() const { return 2 * key_heads_ * key_dim_ + value_heads_ * value_dim_; }

    Scratch take(int64_t rows, Workspace& workspace) const {
        const int64_t width = value_heads_ * value_dim_;
        Scratch s;
        if (fused_) {
            s.qkvz = workspace.take(rows, qkv_width() + width);
            s.ba = workspace.take(rows, 2 * value_heads_);
        }
        s.qkv = workspace.take(rows, qkv_width());
        s.z = workspace.take(rows, width);
        s.b = workspace.take(rows, value_heads_);
        s.a = workspace.take(rows, value_heads_);
        s.convolved = workspace.take(rows, qkv_width());
        s.mixed = workspace.take(rows, width);
        return s;
    }

    // Decay and learning rate steer the state for thousands of tokens, so their projections are never quantized.
    void project(Backend& backend, const Tensor& x, const Scratch& s) const {
        if (fused_) {
            backend.run(Linear{.x = x, .weight = *qkvz_, .out = s.qkvz});
            backend.run(Linear{.x = x, .weight = *ba_, .out = s.ba, .full_precision = true});
            backend.run(SplitLinearProjections{.qkvz = s.qkvz,
                                               .ba = s.ba,
                                               .key_heads = key_heads_,
                                               .value_heads = value_heads_,
                                               .key_dim = key_dim_,
                                               .value_dim = value_dim_,
                                               .qkv = s.qkv,
                                               .z = s.z,
                                               .b = s.b,
                                               .a = s.a});
            return;
        }
        backend.run(Linear{.x = x, .weight = *qkv_, .out = s.qkv});
        backend.run(Linear{.x = x, .weight = *z_, .out = s.z});
        backend.run(Linear{.x = x, .weight = *b_, .out = s.b, .full_precision = true});
        backend.run(Linear{.x = x, .weight = *a_, .out = s.a, .full_precision = true});
    }

    int layer_;
    int64_t key_heads_, value_heads_, key_dim_, value_dim_, kernel_;
    float epsilon_;
    bool tiled_, fused_;
    std::optional<Weight> qkvz_, ba_, qkv_, z_, b_, a_;
    Tensor a_log_, dt_bias_, norm_, convolution_;
    Weight output_;
};

}  // namespace

std::unique_ptr<Mixer> make_mixer(const GatedDeltaNetConfig& config, const MixerContext& context, Trunk& trunk) {
    return std::make_unique<GatedDeltaNet>(config, context, trunk);
}

}  // namespace sluice
