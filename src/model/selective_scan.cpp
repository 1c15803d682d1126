#include "model/mixer.h"

namespace sluice {

namespace {

class SelectiveScanMixer : public Mixer {
  public:
    SelectiveScanMixer(const SelectiveScanConfig& config, const MixerContext& context, Trunk& trunk)
        : config_(config),
          layer_(context.layer),
          epsilon_(context.epsilon),
          input_(trunk.weight(layer_, Role::kScanInput)),
          convolution_(trunk.upload(trunk.values(layer_, Role::kLinearConv), config.kernel)),
          a_log_(trunk.vector(layer_, Role::kLinearALog)),
          dt_bias_(trunk.vector(layer_, Role::kLinearDtBias)),
          skip_(trunk.vector(layer_, Role::kScanSkip)),
          norm_(trunk.vector(layer_, Role::kLinearNorm)),
          output_(trunk.weight(layer_, Role::kLinearOutput)) {
        if (config.convolution_bias) convolution_bias_ = trunk.vector(layer_, Role::kLinearConvBias);
    }

    std::vector<StatePart> state_parts() const override {
        return {StatePart::fixed("convolution", config_.kernel - 1, config_.channels()),
                StatePart::fixed("scan", config_.inner(), config_.state_dim)};
    }

    bool replaces_states() const override { return true; }

    void take_scratch(int64_t rows, Workspace& workspace) const override { (void)take(rows, workspace); }

    void run(Backend& backend, const Batch& batch, const Tensor& x, const BlockOutput& out,
             Workspace& workspace) const override {
        const Scratch s = take(batch.rows, workspace);
        const int64_t inner = config_.inner(), channels = config_.channels();
        backend.run(Linear{.x = x, .weight = input_, .out = s.projected});
        backend.run(CausalConvolution{.x = s.projected.columns_at(inner, channels),
                                      .weight = convolution_,
                                      .bias = convolution_bias_,
                                      .sequences = batch.table,
                                      .states = batch.states(layer_, kConvolution),
                                      .out = s.convolved});
        backend.run(SelectiveScan{.xbc = s.convolved,
                                  .dt = s.projected.columns_at(inner + channels, config_.heads),
                                  .a_log = a_log_,
                                  .dt_bias = dt_bias_,
                                  .skip = skip_,
                                  .heads = config_.heads,
                                  .head_dim = config_.head_dim,
                                  .groups = config_.groups,
                                  .state_dim = config_.state_dim,
                                  .sequences = batch.table,
                                  .states = batch.states(layer_, kScan),
                                  .out = s.mixed});
        backend.run(SigmoidGate{.x = s.mixed, .gate = s.projected.columns_at(0, inner), .silu = true});
        backend.run(RmsNorm{
            .x = s.mixed, .weight = norm_, .width = inner / config_.groups, .epsilon = epsilon_, .out = s.mixed});
        backend.run(Linear{.x = s.mixed, .weight = output_, .out = out.rows, .accumulate = out.accumulate});
    }

  private:
    // Of state_parts().
    static constexpr size_t kConvolution = 0, kScan = 1;

    struct Scratch {
        Tensor projected, convolved, mixed;
    };

    Scratch take(int64_t rows, Workspace& workspace) const {
        return {.projected = workspace.take(rows, input_.rows),
                .convolved = workspace.take(rows, config_.channels()),
                .mixed = workspace.take(rows, config_.inner())};
    }

    SelectiveScanConfig config_;
    int layer_;
    float epsilon_;
    Weight input_;
    Tensor convolution_, convolution_bias_, a_log_, dt_bias_, skip_, norm_;
    Weight output_;
};

}  // namespace

std::unique_ptr<Mixer> make_mixer(const SelectiveScanConfig& config, const MixerContext& context, Trunk& trunk) {
    return std::make_unique<SelectiveScanMixer>(config, context, trunk);
}

std::unique_ptr<Mixer> make_mixer(const NoMixer&, const MixerContext&, Trunk&) {
    return nullptr;
}

}  // namespace sluice
