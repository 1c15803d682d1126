#include "synth/synth_tensors.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <utility>

namespace sluice {

namespace {

// Of the energy of a router's input: what every token has alike. More makes the load more skewed.
constexpr double kConstantShare = 0.55;
// Energy, relative to an embedding's, of what the first mixer adds: an average over recent tokens.
constexpr double kDriftEnergy = 0.6;
// What the layers together add to that; small enough to stay finite at any depth, large enough to matter.
constexpr double kGrowth = 1.0;
constexpr double kLeadValue = 4.0;      // of the constant, relative to an embedding's elements
constexpr double kNearness = 20.0;      // attention logit of the same position above that of a far one
constexpr double kMemoryTokens = 12.0;  // of DeltaNet's decay, for the middle of the heads

constexpr double kRouterDeviation = 1.5;     // of router logits
constexpr double kHeadDeviation = 2.5;       // of logits
constexpr double kAttentionAmplitude = 0.4;  // of an average over about six random values
constexpr double kExpertAmplitude = 0.6;     // of silu(x) * y for normal x and y

class Planner {
  public:
    Planner(const SynthShape& shape, SynthEncoding encoding, uint64_t seed)
        : shape_(shape), config_(shape.config), random_(seed) {
        mlx_ = encoding == SynthEncoding::kAffine4 || encoding == SynthEncoding::kAffine8;
        const bool nested = config_.architecture == Architecture::kQwen35Moe;
        prefix_ = !nested ? "model." : mlx_ ? "language_model.model." : "model.language_model.";
        head_ = nested && mlx_ ? "language_model.lm_head" : "lm_head";
    }

    std::vector<SynthTensor> plan() {
        matrix(prefix_ + "embed_tokens", config_.vocabulary, config_.hidden_size, 1.0,
               LeadColumns::constant(static_cast<float>(kLeadValue)));
        for (int64_t layer = 0; layer < config_.layers; ++layer) plan_layer(layer);
        stream_norm(prefix_ + "norm.weight", energy(config_.layers, 0), 0);
        matrix(head_, config_.vocabulary, config_.hidden_size, kHeadDeviation / std::sqrt(free_columns()),
               LeadColumns::zeros());
        return std::move(tensors_);
    }

  private:
    // Channels of the stream without the lead.
    double free_columns() const { return static_cast<double>(config_.hidden_size - kLeadColumns); }
    // Deviation with which a matrix turns unit inputs into unit outputs.
    double unit() const { return 1 / std::sqrt(free_columns()); }

    // Energy per free channel before the mixer (`after_mixer` 0) or the feed-forward block (1) of a layer.
    double energy(int64_t layer, int after_mixer) const {
        const double drift = layer + after_mixer > 0 ? kDriftEnergy : 0;
        return 1 + drift +
               kGrowth * static_cast<double>(2 * layer + after_mixer) / static_cast<double>(2 * config_.layers);
    }
    // What one block adds, as a deviation.
    double step() const { return std::sqrt(kGrowth / static_cast<double>(2 * config_.layers)); }

    double jitter(double spread) { return 1 + spread * std::uniform_real_distribution<double>(-1, 1)(random_); }

    SynthTensor& matrix(const std::string& name, int64_t rows, int64_t columns, double deviation,
                        LeadColumns lead = {}) {
        SynthTensor tensor{.name = name, .shape = {rows, columns}};
        tensor.deviation = static_cast<float>(deviation);
        tensor.lead = std::move(lead);
        tensors_.push_back(std::move(tensor));
        return tensors_.back();
    }

    void vector(const std::string& name, std::vector<int64_t> shape, std::vector<float> values,
                DType dtype = DType::kBF16) {
        SynthTensor tensor{.name = name, .shape = std::move(shape), .dtype = dtype, .values = std::move(values)};
        tensors_.push_back(std::move(tensor));
    }

    // Norm weights near `value`; `centred` families store the offset from 1 outside MLX's layout.
    void norm(const std::string& name, int64_t count, double value, bool may_be_centred = true) {
        std::vector<float> weights(static_cast<size_t>(count));
        for (float& weight : weights)
            weight = static_cast<float>(value * jitter(0.05) - (may_be_centred ? offset() : 0));
        vector(name, {count}, std::move(weights));
    }
    double offset() const {
        const bool centred =
            config_.architecture == Architecture::kQwen3Next || config_.architecture == Architecture::kQwen35Moe;
        return centred && !mlx_ ? 1 : 0;
    }

    // A norm of the stream that gives the free channels unit energy and the constant `share` of the whole.
    void stream_norm(const std::string& name, double free_energy, double share) {
        const double lead_energy = kLeadColumns * kLeadValue * kLeadValue;
        const double root =
            std::sqrt((free_columns() * free_energy + lead_energy) / static_cast<double>(config_.hidden_size));
        const double lead = std::sqrt(share / (1 - share) * free_columns() / kLeadColumns);
        std::vector<float> weights(static_cast<size_t>(config_.hidden_size));
        for (size_t i = 0; i < weights.size(); ++i) {
            const bool in_lead = i < static_cast<size_t>(kLeadColumns);
            const double weight = in_lead ? lead * root / kLeadValue : root / std::sqrt(free_energy);
            weights[i] = static_cast<float>(weight * jitter(0.05) - offset());
        }
        vector(name, {config_.hidden_size}, std::move(weights));
    }

    // The value in lead columns that makes a row's constant output `ratio` times its random one; for a norm with a
    // share of 1/2.
    float lead_for(double ratio) const { return static_cast<float>(ratio * unit() / std::sqrt(kLeadColumns)); }

    // Rotary pairs that turn by more than a quarter radian per token: those would tell even neighbours apart.
    int64_t quick_pairs() const {
        const double pairs = static_cast<double>(config_.rotary.dims) / 2;
        return static_cast<int64_t>(std::ceil(pairs * std::log(4.0) / std::log(config_.rotary.theta)));
    }

    void plan_layer(int64_t layer) {
        const std::string path = prefix_ + "layers." + std::to_string(layer) + ".";
        const auto i = static_cast<size_t>(layer);
        stream_norm(path + "input_layernorm.weight", energy(layer, 0), 0.5);
        const double mixed = layer == 0 ? std::sqrt(kDriftEnergy) : step();
        if (config_.mixers[i] == MixerKind::kGatedDeltaNet) {
            plan_delta_net(path + "linear_attn.", mixed);
        } else if (config_.mixers[i] == MixerKind::kMultiLatentAttention) {
            plan_latent_attention(path + "self_attn.", mixed);
        } else {
            plan_attention(path + "self_attn.", mixed);
        }
        stream_norm(path + "post_attention_layernorm.weight", energy(layer, 1), kConstantShare);
        if (config_.feed_forwards[i] == FeedForwardKind::kDense) {
            plan_mlp(path + "mlp.", config_.dense_intermediate, step());
        } else {
            plan_moe(path + "mlp.");
        }
    }

    void plan_attention(const std::string& path, double output);
    void plan_latent_attention(const std::string& path, double output);
    void plan_latent_values(const std::string& path);
    void plan_delta_net(const std::string& path, double output);
    void plan_delta_projections(const std::string& path);
    void plan_mlp(const std::string& path, int64_t intermediate, double output);
    void plan_moe(const std::string& path);
    void plan_experts(const std::string& path, double output);

    const SynthShape& shape_;
    const ModelConfig& config_;
    std::mt19937_64 random_;
    bool mlx_ = false;
    std::string prefix_, head_;
    std::vector<SynthTensor> tensors_;
};

void Planner::plan_attention(const std::string& path, double output) {
    const int64_t dim = config_.head_dim;
    const int64_t rotary = config_.rotary.dims;
    // Half of a head's energy is the constant, all of it in the slowly rotating pairs (i, i + rotary / 2).
    const int64_t quick = quick_pairs();
    const float lead = lead_for(std::sqrt(static_cast<double>(dim) / static_cast<double>(rotary - 2 * quick)));
    const std::vector<LeadColumns::Band> slow = {{quick, rotary / 2, lead}, {rotary / 2 + quick, rotary, lead}};
    const int64_t query_period = config_.gated_attention ? 2 * dim : dim;
    const int64_t hidden = config_.hidden_size;
    matrix(path + "q_proj", config_.heads * query_period, hidden, unit(), LeadColumns::banded(query_period, slow));
    matrix(path + "k_proj", config_.kv_heads * dim, hidden, unit(), LeadColumns::banded(dim, slow));
    matrix(path + "v_proj", config_.kv_heads * dim, hidden, unit(), LeadColumns::zeros());
    const double width = static_cast<double>(config_.heads * dim);
    const double gate = config_.gated_attention ? 0.54 : 1.0;
    matrix(path + "o_proj", hidden, config_.heads * dim, output / (std::sqrt(width) * gate * kAttentionAmplitude));
    const double weight = std::sqrt(kNearness / (0.5 * std::sqrt(static_cast<double>(dim))));
    norm(path + "q_norm.weight", dim, weight);
    norm(path + "k_norm.weight", dim, weight);
}

void Planner::plan_latent_attention(const std::string& path, double output) {
    const int64_t hidden = config_.hidden_size;
    const int64_t rope = config_.qk_rope_head_dim;
    const int64_t head = config_.qk_nope_head_dim + rope;
    const int64_t quick = 2 * quick_pairs();  // rows: pairs are neighbours here
    const double m = 0.1 * std::log(config_.rotary.factor) * config_.rotary.mscale_all_dim + 1;
    const double scale = m * m / std::sqrt(static_cast<double>(head));
    const double value = std::sqrt(kNearness / (static_cast<double>(rope - quick) * scale));
    // The first channels of the query's latent pass the constant on; its other channels do not see it.
    constexpr double kLatentLead = 2.0;
    matrix(path + "q_a_proj", config_.q_lora_rank, hidden, unit(),
           LeadColumns::banded(config_.q_lora_rank, {{0, kLeadColumns, lead_for(kLatentLead)}}));
    norm(path + "q_a_layernorm.weight", config_.q_lora_rank, 1);
    const double rank = static_cast<double>(config_.q_lora_rank);
    matrix(path + "q_b_proj", config_.heads * head, config_.q_lora_rank, 1 / std::sqrt(rank),
           LeadColumns::banded(head, {{config_.qk_nope_head_dim + quick, head,
                                       static_cast<float>(value / (kLatentLead * kLeadColumns))}}));
    const int64_t latent = config_.kv_lora_rank;
    matrix(path + "kv_a_proj_with_mqa", latent + rope, hidden, unit(),
           LeadColumns::banded(latent + rope, {{latent + quick, latent + rope, lead_for(value)}}));
    norm(path + "kv_a_layernorm.weight", latent, 1);
    plan_latent_values(path);
    const int64_t width = config_.heads * config_.v_head_dim;
    matrix(path + "o_proj", hidden, width, output / (std::sqrt(static_cast<double>(width)) * kAttentionAmplitude));
}

void Planner::plan_latent_values(const std::string& path) {
    const int64_t latent = config_.kv_lora_rank, nope = config_.qk_nope_head_dim, value = config_.v_head_dim;
    const double deviation = 1 / std::sqrt(static_cast<double>(latent));
    if (!shape_.split_latent || !mlx_) {
        matrix(path + "kv_b_proj", config_.heads * (nope + value), latent, deviation);
        return;
    }
    matrix(path + "embed_q", config_.heads * latent, nope, deviation).shape = {config_.heads, latent, nope};
    matrix(path + "unembed_out", config_.heads * value, latent, deviation).shape = {config_.heads, value, latent};
}

// Queries and keys are mostly the constant, so every token writes to and reads from the same place; with a small beta
// that place holds a running average of the values.
void Planner::plan_delta_net(const std::string& path, double output) {
    plan_delta_projections(path);
    const int64_t keys = config_.linear_key_heads * config_.linear_key_dim;
    const int64_t values = config_.linear_value_heads * config_.linear_value_dim;
    const int64_t kernel = config_.linear_conv_kernel;
    const int64_t channels = 2 * keys + values;
    std::vector<float> taps;
    for (int64_t channel = 0; channel < channels; ++channel) {
        // Small values stay in silu's linear part: their average has no constant of its own.
        const double size = channel < 2 * keys ? 1.0 : 0.3;
        for (int64_t tap = 0; tap < kernel; ++tap) {
            taps.push_back(static_cast<float>(size * (tap + 1 == kernel ? 0.7 : 0.1) * jitter(0.3)));
        }
    }
    const bool last = mlx_;
    vector(path + "conv1d.weight", {channels, last ? kernel : 1, last ? 1 : kernel}, std::move(taps));

    const auto heads = static_cast<size_t>(config_.linear_value_heads);
    std::vector<float> decay(heads), bias(heads);
    for (size_t head = 0; head < heads; ++head) {
        const double memory = kMemoryTokens * std::exp2(2 * jitter(1) - 2);
        decay[head] = static_cast<float>(-std::log(memory));
        bias[head] = static_cast<float>(0.54 * jitter(0.2));  // softplus of it is 1
    }
    vector(path + "A_log", {config_.linear_value_heads}, std::move(decay), DType::kF32);
    vector(path + "dt_bias", {config_.linear_value_heads}, std::move(bias));
    norm(path + "norm.weight", config_.linear_value_dim, 1, false);
    constexpr double kGateAmplitude = 1.8;  // silu of a z about 2
    matrix(path + "out_proj", config_.hidden_size, values,
           output / (std::sqrt(static_cast<double>(values)) * kGateAmplitude));
}

void Planner::plan_delta_projections(const std::string& path) {
    const int64_t hidden = config_.hidden_size;
    const int64_t key = config_.linear_key_dim;
    const int64_t key_heads = config_.linear_key_heads, value_heads = config_.linear_value_heads;
    const int64_t ratio = value_heads / key_heads;
    const int64_t values = ratio * config_.linear_value_dim;  // of one key head
    const float same = lead_for(2), gate = lead_for(2);
    const float beta = lead_for(-2 / 0.3);  // sigmoid of -2: each token counts for an eighth
    if (config_.architecture == Architecture::kQwen3Next) {
        const int64_t period = 2 * key + 2 * values;
        matrix(path + "in_proj_qkvz", key_heads * period, hidden, unit(),
               LeadColumns::banded(period, {{0, 2 * key, same}, {2 * key + values, period, gate}}));
        matrix(path + "in_proj_ba", 2 * value_heads, hidden, 0.3 * unit(),
               LeadColumns::banded(2 * ratio, {{0, ratio, 0.3f * beta}}));
        return;
    }
    const int64_t keys = key_heads * key;
    matrix(path + "in_proj_qkv", 2 * keys + key_heads * values, hidden, unit(),
           LeadColumns::banded(2 * keys + key_heads * values, {{0, 2 * keys, same}}));
    matrix(path + "in_proj_z", key_heads * values, hidden, unit(), LeadColumns::constant(gate));
    matrix(path + "in_proj_b", value_heads, hidden, 0.3 * unit(), LeadColumns::constant(0.3f * beta));
    matrix(path + "in_proj_a", value_heads, hidden, 0.3 * unit(), LeadColumns::zeros());
}

void Planner::plan_mlp(const std::string& path, int64_t intermediate, double output) {
    matrix(path + "gate_proj", intermediate, config_.hidden_size, unit(), LeadColumns::zeros());
    matrix(path + "up_proj", intermediate, config_.hidden_size, unit(), LeadColumns::zeros());
    matrix(path + "down_proj", config_.hidden_size, intermediate,
           output / (std::sqrt(static_cast<double>(intermediate)) * kExpertAmplitude));
}

void Planner::plan_moe(const std::string& path) {
    SynthTensor& router = matrix(path + "gate", config_.experts, config_.hidden_size,
                                 kRouterDeviation * unit() * std::sqrt(1 - kConstantShare));
    router.keep_float = config_.noaux_tc;
    router.eight_bits = true;
    if (config_.noaux_tc) {
        std::vector<float> bias(static_cast<size_t>(config_.experts));
        for (float& value : bias) value = static_cast<float>(jitter(0.02) - 1);
        vector(path + "gate.e_score_correction_bias", {config_.experts}, std::move(bias), DType::kF32);
    }
    // Weights that add up to the scaling factor, spread over the chosen experts.
    const double spread = std::sqrt(1.2 / static_cast<double>(config_.experts_per_token));
    plan_experts(path, step() * std::sqrt(0.7) / (spread * config_.routed_scaling_factor));
    if (config_.shared_intermediate == 0) return;
    if (!config_.shared_expert_gated) {
        plan_mlp(path + "shared_experts.", config_.shared_intermediate, step() * std::sqrt(0.3));
        return;
    }
    plan_mlp(path + "shared_expert.", config_.shared_intermediate, 2 * step() * std::sqrt(0.3));
    matrix(path + "shared_expert_gate", 1, config_.hidden_size, unit(), LeadColumns::zeros()).eight_bits = true;
}

void Planner::plan_experts(const std::string& path, double output) {
    const int64_t experts = config_.experts, inner = config_.expert_intermediate, hidden = config_.hidden_size;
    if (mlx_) {
        const size_t first = tensors_.size();
        plan_mlp(path + "switch_mlp.", inner, output);
        for (size_t i = first; i < tensors_.size(); ++i) {
            tensors_[i].shape.insert(tensors_[i].shape.begin(), experts);
        }
        return;
    }
    if (config_.architecture != Architecture::kQwen35Moe) {
        for (int64_t expert = 0; expert < experts; ++expert) {
            plan_mlp(path + "experts." + std::to_string(expert) + ".", inner, output);
        }
        return;
    }
    SynthTensor& gate_up = matrix(path + "experts.gate_up_proj", 2 * inner, hidden, unit(), LeadColumns::zeros());
    gate_up.full_name = true;
    gate_up.shape = {experts, 2 * inner, hidden};
    SynthTensor& down = matrix(path + "experts.down_proj", hidden, inner,
                               output / (std::sqrt(static_cast<double>(inner)) * kExpertAmplitude));
    down.full_name = true;
    down.shape = {experts, hidden, inner};
}

}  // namespace

float LeadColumns::value(int64_t row) const {
    const int64_t phase = row % period;
    for (const Band& band : bands) {
        if (phase >= band.begin && phase < band.end) return band.value;
    }
    return 0;
}

int64_t SynthTensor::rows() const {
    return std::accumulate(shape.begin(), shape.end() - 1, int64_t{1}, std::multiplies<>());
}

std::vector<SynthTensor> synth_tensors(const SynthShape& shape, SynthEncoding encoding, uint64_t seed) {
    return Planner(shape, encoding, seed).plan();
}

}  // namespace sluice
