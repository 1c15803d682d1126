#pragma once

// Draws the tensors of a synthetic checkpoint one after the other, so that a seed gives the same ones every time.
// Which are drawn and in what order is in synth_tensors.cpp, those of mixers in synth_mixers.cpp, of feed-forward
// blocks in synth_experts.cpp.

#include <array>
#include <cmath>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "checkpoint/tensor_names.h"
#include "checkpoint/weights.h"
#include "synth/synth_tensors.h"

namespace sluice {

// Of the energy of a router's input: what every token has alike. More makes the load more skewed.
inline constexpr double kConstantShare = 0.55;
// Energy, relative to an embedding's, of what the first mixer adds: an average over recent tokens.
inline constexpr double kDriftEnergy = 0.6;
// What the layers together add to that; small enough to stay finite at any depth, large enough to matter.
inline constexpr double kGrowth = 1.0;

// What is drawn together for a DeltaNet block.
struct DeltaVectors {
    std::vector<float> taps, decay, bias;
};

class TensorPlanner {
  public:
    TensorPlanner(const SynthShape& shape, SynthEncoding encoding, uint64_t seed)
        : layout_(*shape.layout), config_(shape.config), names_(*config_.architecture), random_(seed) {
        mlx_ = encoding == SynthEncoding::kAffine4 || encoding == SynthEncoding::kAffine8;
        prefix_ = mlx_ ? layout_.mlx_prefix : layout_.prefix;
        change_blocks<LatentAttentionConfig>(config_, [this](LatentAttentionConfig& attention) {
            attention.split_key_value = mlx_ && layout_.mlx_splits_key_value;
        });
    }

    std::vector<SynthTensor> plan();

  private:
    // Channels of the stream without the lead.
    double free_columns() const { return static_cast<double>(config_.hidden_size - kLeadColumns); }
    // Deviation with which a matrix turns unit inputs into unit outputs.
    double unit() const { return 1 / std::sqrt(free_columns()); }

    // Energy per free channel before the mixer (`after_mixer` 0) or the feed-forward block (1) of a layer.
    double energy(int64_t layer, int after_mixer) const {
        const double drift = layer + after_mixer > 0 ? kDriftEnergy : 0;
        return 1 + drift +
               kGrowth * static_cast<double>(2 * layer + after_mixer) / static_cast<double>(2 * config_.layer_count());
    }
    // What one block adds, as a deviation.
    double step() const { return std::sqrt(kGrowth / static_cast<double>(2 * config_.layer_count())); }

    double jitter(double spread) { return 1 + spread * std::uniform_real_distribution<double>(-1, 1)(random_); }

    // ---- tensors without name and shape

    static SynthTensor random_matrix(double deviation, LeadColumns lead = {});

    static SynthTensor vector(std::vector<float> values, DType dtype = DType::kBF16);

    // What a norm's weight is stored less, in the layout that is written.
    double offset(WeightShape shape) const {
        const bool offsets = shape == WeightShape::kNorm && config_.architecture->norms != NormStorage::kWeight;
        return offsets && (!mlx_ || config_.architecture->norms == NormStorage::kOffsetEverywhere) ? 1 : 0;
    }

    // Norm weights near `value`.
    SynthTensor norm(const WeightSpec& spec, double value) {
        std::vector<float> weights(static_cast<size_t>(spec.columns));
        for (float& weight : weights) weight = static_cast<float>(value * jitter(0.05) - offset(spec.shape));
        return vector(std::move(weights));
    }

    // A norm of the stream that gives the free channels unit energy and the constant `share` of the whole.
    SynthTensor stream_norm(double free_energy, double share);

    // The value in lead columns that makes a row's constant output `ratio` times its random one; for a norm with a
    // share of 1/2.
    float lead_for(double ratio) const { return static_cast<float>(ratio * unit() / std::sqrt(kLeadColumns)); }

    // ---- putting them down

    void add(const std::string& path, const WeightSpec& spec, SynthTensor tensor);

    void plan_layer(int layer);

    // Of what has no part in routing: values that keep the stream near its size.
    SynthTensor plain(const WeightSpec& spec);

    // Of gated streams: all begin alike and stay nearly so, since gates are nearly halves and shares nearly 1.
    bool add_connection(const std::string& path, const WeightSpec& spec, double free_energy, double share);

    // The table is a hole, so n-grams add nothing: what is measured is how its rows are read.
    bool add_ngrams(const std::string& path, const WeightSpec& spec, const NGramConfig& ngrams);

    // `output` is the deviation of what the block adds to the stream.
    SynthTensor values(const GroupedAttentionConfig& attention, const WeightSpec& spec, double output);
    SynthTensor values(const LatentAttentionConfig& attention, const WeightSpec& spec, double output);
    SynthTensor values(const GatedDeltaNetConfig& net, const WeightSpec& spec, double output);
    SynthTensor values(const CompressedAttentionConfig&, const WeightSpec& spec, double) { return plain(spec); }
    SynthTensor values(const SelectiveScanConfig&, const WeightSpec& spec, double) { return plain(spec); }
    SynthTensor values(const NoMixer&, const WeightSpec& spec, double) { return plain(spec); }
    SynthTensor values(const NoFeedForward&, const WeightSpec& spec) { return plain(spec); }
    SynthTensor delta_vector(const GatedDeltaNetConfig& net, const WeightSpec& spec);
    SynthTensor values(const DenseMlpConfig& mlp, const WeightSpec& spec);
    SynthTensor values(const MixtureConfig& mixture, const WeightSpec& spec);
    SynthTensor shared_expert(const MixtureConfig& mixture, const WeightSpec& spec);
    SynthTensor down_projection(int64_t intermediate, double output) const;
    DeltaVectors draw(const GatedDeltaNetConfig& net);
    void plan_experts(const std::string& path, const MixtureConfig& mixture);
    void plan_expert(const std::string& path, const std::array<std::string_view, 3>& projections,
                     std::vector<int64_t> leading, const MixtureConfig& mixture, double output);
    void plan_fused_experts(const std::string& path, const MixtureConfig& mixture, double output);

    const SynthLayout& layout_;
    ModelConfig config_;
    TensorNames names_;
    std::mt19937_64 random_;
    bool mlx_ = false;
    std::string prefix_;
    DeltaVectors delta_;
    std::vector<SynthTensor> tensors_;
};

}  // namespace sluice
