#include <limits>

#include "model/feed_forward.h"
#include "model/shared_mlp.h"

namespace sluice {

Activation activation_of(const ActivationConfig& config) {
    if (!config.gated()) return {.kind = ActivationKind::kSquaredRelu};
    if (config.kind == ActivationConfig::Kind::kGeluTanh) return {.kind = ActivationKind::kGeluTanh};
    if (config.plain()) return {};
    if (config.limit_after) return {.kind = ActivationKind::kCutSilu, .limit = static_cast<float>(config.limit)};
    return {.kind = ActivationKind::kClampedSwiglu,
            .alpha = static_cast<float>(config.alpha),
            .limit = config.limit == 0 ? std::numeric_limits<float>::infinity() : static_cast<float>(config.limit),
            .up_offset = static_cast<float>(config.up_offset)};
}

namespace {

class DenseMlp : public FeedForward {
  public:
    DenseMlp(const DenseMlpConfig& config, const FeedForwardContext& context, Trunk& trunk)
        : hidden_(context.checkpoint.config().hidden_size),
          mlp_{.gate = config.activation.gated() ? trunk.projection(context.layer, Role::kDenseGate) : Weight{},
               .up = trunk.projection(context.layer, Role::kDenseUp),
               .down = trunk.projection(context.layer, Role::kDenseDown),
               .activation = activation_of(config.activation)} {
        if (!config.bias) return;
        mlp_.gate_bias = trunk.vector(context.layer, Role::kDenseGateBias);
        mlp_.up_bias = trunk.vector(context.layer, Role::kDenseUpBias);
        mlp_.down_bias = trunk.vector(context.layer, Role::kDenseDownBias);
    }

    void take_scratch(int64_t rows, Workspace& workspace) const override { workspace.take(rows, hidden_); }

    void run(Backend& backend, Batch& batch, ExpertFeed&, const FeedForwardInput& input, const BlockOutput& out,
             Workspace& workspace) const override {
        if (!out.accumulate) return backend.run(mlp_.operation(input.x, out.rows));
        const Tensor added = workspace.take(batch.rows, hidden_);
        backend.run(mlp_.operation(input.x, added));
        backend.run(AddGated{.x = added, .gate = {}, .out = out.rows});
    }

    std::vector<ExpertKey> guess(Backend&, const Tensor&, size_t, Workspace&) const override { return {}; }

  private:
    int64_t hidden_;
    SharedMlp mlp_;
};

}  // namespace

std::unique_ptr<FeedForward> make_feed_forward(const DenseMlpConfig& config, const FeedForwardContext& context,
                                               Trunk& trunk) {
    return std::make_unique<DenseMlp>(config, context, trunk);
}

std::unique_ptr<FeedForward> make_feed_forward(const NoFeedForward&, const FeedForwardContext&, Trunk&) {
    return nullptr;
}

}  // namespace sluice
