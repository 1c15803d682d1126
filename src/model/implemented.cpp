#include "model/implemented.h"

#include "base/error.h"
#include "model/state_parts.h"

namespace sluice {

namespace {

class Checker {
  public:
    Checker(const ModelConfig& config, const std::string& label) : config_(config), label_(label) {}

    void check() {
        for (layer_ = 0; layer_ < config_.layer_count(); ++layer_) {
            const LayerConfig& layer = config_.layers[static_cast<size_t>(layer_)];
            refuse(layer.norms.after && !(layer.mixes() && layer.feeds_forward()),
                   "a norm after each block where one is missing");
            std::visit([this](const auto& mixer) { check(mixer); }, layer.mixer);
            std::visit([this](const auto& block) { check(block); }, layer.feed_forward);
            const auto* mixture = block_of<MixtureConfig>(layer);
            refuse(mixture != nullptr && mixture->own_norms && !layer.norms.after,
                   "a norm of each branch without one of the block");
        }
    }

  private:
    void refuse(bool used, std::string_view setting) const {
        if (!used) return;
        const std::string where = layer_ < 0 ? "" : fmt::format("layer {}: ", layer_);
        fail(ErrorCode::kUnsupported, "{}: {}{} is not supported", label_, where, setting);
    }

    void check(const GroupedAttentionConfig&) const {}

    void check(const LatentAttentionConfig& attention) const {
        refuse(kKvPageTokens % attention.indexer.pool != 0, "a pool of keys that is not 2, 4, 8 and so on to 256");
        refuse(attention.indexer.pool > 1 && attention.rotary.dims > 0, "a rotation of keys before they are pooled");
    }

    void check(const CompressedAttentionConfig& attention) const {
        refuse(attention.ratio != 0 && kKvPageTokens % attention.ratio != 0,
               "a run of tokens that is not 2, 4, 8 and so on to 256");
    }

    void check(const GatedDeltaNetConfig&) const {}

    void check(const SelectiveScanConfig&) const {}

    void check(const NoMixer&) const {}

    void check(const NoFeedForward&) const {}

    void check(const ActivationConfig& activation) const {
        refuse(activation.kind == ActivationConfig::Kind::kGeluTanh && !activation.plain(),
               "GELU with a clamp, a factor or an offset");
    }

    void check(const DenseMlpConfig& mlp) const { check(mlp.activation); }

    void check(const MixtureConfig& mixture) const {
        check(mixture.activation);
        // One store holds the experts of all layers.
        refuse(mixture.experts != config_.experts() || mixture.experts_per_token != config_.experts_per_token(),
               "another number of experts than in other layers");
        refuse(mixture.latent > 0 && (mixture.own_norms || mixture.weighed_input),
               "norms or weights of what experts of another width read");
    }

    const ModelConfig& config_;
    const std::string& label_;
    int64_t layer_ = -1;
};

}  // namespace

void require_implemented(const ModelConfig& config, const std::string& label) {
    Checker(config, label).check();
}

}  // namespace sluice
