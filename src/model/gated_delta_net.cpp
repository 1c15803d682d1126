#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

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
          decay_bound_(static_cast<float>(config.decay_bound)),
          tiled_(config.tiled_value_heads),
          fused_(config.fused_projections),
          separate_(config.separate_projections),
          sigmoid_(config.sigmoid_gate),
          a_log_(decay_of(config, trunk)),
          dt_bias_(trunk.vector(layer_, Role::kLinearDtBias)),
          norm_(trunk.vector(layer_, Role::kLinearNorm)),
          convolution_(convolution_of(trunk)),
          output_(trunk.projection(layer_, separate_ ? Role::kOutput : Role::kLinearOutput)) {
        if (fused_) {
            qkvz_ = trunk.projection(layer_, Role::kLinearQkvz);
            ba_ = trunk.weight(layer_, Role::kLinearBa);
            return;
        }
        if (separate_) {
            for (const Role role : {Role::kQuery, Role::kKey, Role::kValue}) {
                parts_.push_back(trunk.weight(layer_, role));
            }
        } else {
            parts_.push_back(trunk.projection(layer_, Role::kLinearQkv));
        }
        if (config.gate_rank == 0) {
            z_ = {{}, trunk.projection(layer_, Role::kLinearZ)};
        } else {
            z_ = {trunk.projection(layer_, Role::kLinearGateDown), trunk.projection(layer_, Role::kLinearGateUp)};
        }
        b_ = gate_of(config, trunk, Role::kLinearB);
        if (config.decay_rank == 0) {
            a_ = {{}, gate_of(config, trunk, Role::kLinearA)};
        } else {
            a_ = {trunk.weight(layer_, Role::kLinearDecayDown), trunk.weight(layer_, Role::kLinearDecayUp)};
        }
    }

    std::vector<StatePart> state_parts() const override {
        return {StatePart::fixed("convolution", kernel_ - 1, qkv_width()),
                StatePart::fixed("delta", value_heads_ * value_dim_, key_dim_)};
    }

    bool replaces_states() const override { return true; }

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
                                   .decay_bound = decay_bound_,
                                   .sequences = batch.table,
                                   .states = batch.states(layer_, kDelta),
                                   .out = s.mixed});
        backend.run(GatedRmsNorm{
            .x = s.mixed, .z = s.z, .weight = norm_, .epsilon = epsilon_, .sigmoid = sigmoid_, .out = s.mixed});
        backend.run(Linear{.x = s.mixed, .weight = output_, .out = out.rows, .accumulate = out.accumulate});
    }

  private:
    // Of state_parts().
    static constexpr size_t kConvolution = 0, kDelta = 1;

    // One projection, or two of which the first leads to a few channels.
    struct Projection {
        std::optional<Weight> down;
        std::optional<Weight> up;

        int64_t rank() const { return down ? down->rows : 0; }
    };

    struct Scratch {
        Tensor qkvz, ba, qkv, z, b, a, convolved, mixed;
        Tensor few;  // channels between two projections
    };

    // Of query, key and value, one after the other.
    Tensor convolution_of(Trunk& trunk) const {
        if (!separate_) return trunk.upload(trunk.values(layer_, Role::kLinearConv), kernel_);
        std::vector<float> taps;
        for (const Role role : {Role::kQueryConv, Role::kKeyConv, Role::kValueConv}) {
            const std::vector<float> part = trunk.values(layer_, role);
            taps.insert(taps.end(), part.begin(), part.end());
        }
        return trunk.upload(taps, kernel_);
    }

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
        s.a = workspace.take(rows, dt_bias_.columns);
        if (const int64_t few = std::max(z_.rank(), a_.rank()); few > 0) s.few = workspace.take(rows, few);
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
        int64_t first = 0;
        for (const Weight& part : parts_) {
            backend.run(Linear{.x = x, .weight = part, .out = s.qkv.columns_at(first, part.rows)});
            first += part.rows;
        }
        project(backend, z_, s.few, {.x = x, .weight = {}, .out = s.z});
        backend.run(Linear{.x = x, .weight = *b_, .out = s.b, .full_precision = true});
        project(backend, a_, s.few, {.x = x, .weight = {}, .out = s.a, .full_precision = true});
    }

    // `last` says of what, where to and how.
    static void project(Backend& backend, const Projection& projection, const Tensor& few, Linear last) {
        if (projection.down) {
            const Tensor between = few.columns_at(0, projection.rank());
            backend.run(
                Linear{.x = last.x, .weight = *projection.down, .out = between, .full_precision = last.full_precision});
            last.x = between;
        }
        last.weight = *projection.up;
        backend.run(last);
    }

    int layer_;
    int64_t key_heads_, value_heads_, key_dim_, value_dim_, kernel_;
    float epsilon_, decay_bound_;
    bool tiled_, fused_, separate_, sigmoid_;
    std::optional<Weight> qkvz_, ba_, b_;
    std::vector<Weight> parts_;  // query, key and value, in one or apart
    Projection z_, a_;
    Tensor a_log_, dt_bias_, norm_, convolution_;
    Weight output_;
};

}  // namespace

std::unique_ptr<Mixer> make_mixer(const GatedDeltaNetConfig& config, const MixerContext& context, Trunk& trunk) {
    return std::make_unique<GatedDeltaNet>(config, context, trunk);
}

}  // namespace sluice
