#include "synth/synth_tensors.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <random>
#include <utility>

#include "base/error.h"
#include "checkpoint/architecture.h"
#include "checkpoint/tensor_names.h"
#include "checkpoint/weights.h"

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

// What is drawn together for a DeltaNet block.
struct DeltaVectors {
    std::vector<float> taps, decay, bias;
};

class Planner {
  public:
    Planner(const SynthShape& shape, SynthEncoding encoding, uint64_t seed)
        : layout_(*shape.layout), config_(shape.config), names_(*config_.architecture), random_(seed) {
        mlx_ = encoding == SynthEncoding::kAffine4 || encoding == SynthEncoding::kAffine8;
        prefix_ = mlx_ ? layout_.mlx_prefix : layout_.prefix;
        change_blocks<LatentAttentionConfig>(config_, [this](LatentAttentionConfig& attention) {
            attention.split_key_value = mlx_ && layout_.mlx_splits_key_value;
        });
    }

    std::vector<SynthTensor> plan() {
        for (const WeightSpec& spec : model_weights(config_)) {
            if (spec.role != Role::kEmbedding) continue;
            add(prefix_, spec, random_matrix(1.0, LeadColumns::constant(static_cast<float>(kLeadValue))));
        }
        for (int layer = 0; layer < config_.layer_count(); ++layer) plan_layer(layer);
        for (const WeightSpec& spec : model_weights(config_)) {
            if (add_connection(prefix_, spec, energy(config_.layer_count(), 0), 0)) continue;
            if (spec.role == Role::kEndConnection || spec.role == Role::kEndConnectionBase ||
                spec.role == Role::kEndConnectionScale) {
                add(prefix_, spec, plain(spec));
            }
            if (spec.role == Role::kFinalNorm) add(prefix_, spec, stream_norm(energy(config_.layer_count(), 0), 0));
            if (spec.role == Role::kHead) {
                add(mlx_ ? std::string(layout_.mlx_outer_prefix) : "", spec,
                    random_matrix(kHeadDeviation / std::sqrt(free_columns()), LeadColumns::zeros()));
            }
        }
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
               kGrowth * static_cast<double>(2 * layer + after_mixer) / static_cast<double>(2 * config_.layer_count());
    }
    // What one block adds, as a deviation.
    double step() const { return std::sqrt(kGrowth / static_cast<double>(2 * config_.layer_count())); }

    double jitter(double spread) { return 1 + spread * std::uniform_real_distribution<double>(-1, 1)(random_); }

    // ---- tensors without name and shape

    static SynthTensor random_matrix(double deviation, LeadColumns lead = {}) {
        SynthTensor tensor;
        tensor.deviation = static_cast<float>(deviation);
        tensor.lead = std::move(lead);
        return tensor;
    }

    static SynthTensor vector(std::vector<float> values, DType dtype = DType::kBF16) {
        SynthTensor tensor;
        tensor.dtype = dtype;
        tensor.values = std::move(values);
        return tensor;
    }

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
    SynthTensor stream_norm(double free_energy, double share) {
        const double lead_energy = kLeadColumns * kLeadValue * kLeadValue;
        const double root =
            std::sqrt((free_columns() * free_energy + lead_energy) / static_cast<double>(config_.hidden_size));
        const double lead = std::sqrt(share / (1 - share) * free_columns() / kLeadColumns);
        std::vector<float> weights(static_cast<size_t>(config_.hidden_size));
        for (size_t i = 0; i < weights.size(); ++i) {
            const bool in_lead = i < static_cast<size_t>(kLeadColumns);
            const double weight = in_lead ? lead * root / kLeadValue : root / std::sqrt(free_energy);
            weights[i] = static_cast<float>(weight * jitter(0.05) - offset(WeightShape::kNorm));
        }
        return vector(std::move(weights));
    }

    // The value in lead columns that makes a row's constant output `ratio` times its random one; for a norm with a
    // share of 1/2.
    float lead_for(double ratio) const { return static_cast<float>(ratio * unit() / std::sqrt(kLeadColumns)); }

    // ---- putting them down

    void add(const std::string& path, const WeightSpec& spec, SynthTensor tensor) {
        const ModuleName module = names_.module(spec.role);
        tensor.name = path + std::string(module.module);
        if (!spec.is_matrix() && !module.bare) tensor.name += ".weight";
        if (spec.is_matrix() && module.bare) tensor.full_name = tensor.keep_float = true;
        tensor.shape = spec.leading;
        tensor.shape.push_back(spec.columns);
        if (spec.shape == WeightShape::kConvolution) tensor.shape.insert(tensor.shape.begin() + (mlx_ ? 2 : 1), 1);
        tensors_.push_back(std::move(tensor));
    }

    void plan_layer(int layer) {
        const std::string path = layer_path(prefix_, layer);
        const LayerConfig& block = config_.layers[static_cast<size_t>(layer)];
        const double mixed = layer == 0 ? std::sqrt(kDriftEnergy) : step();
        for (const WeightSpec& spec : mixer_weights(config_, block)) {
            if (add_connection(path, spec, energy(layer, 0), 0.5) || add_ngrams(path, spec, block.ngrams)) continue;
            add(path, spec,
                spec.role == Role::kMixerNorm
                    ? stream_norm(energy(layer, 0), 0.5)
                    : std::visit([&](const auto& mixer) { return values(mixer, spec, mixed); }, block.mixer));
        }
        bool experts_wait = std::holds_alternative<MixtureConfig>(block.feed_forward);
        for (const WeightSpec& spec : feed_forward_weights(config_, block)) {
            if (experts_wait && spec.role == Role::kSharedGate) {
                plan_experts(path, *config_.mixture_of(layer));
                experts_wait = false;
            }
            if (add_connection(path, spec, energy(layer, 1), kConstantShare)) continue;
            add(path, spec,
                spec.role == Role::kFeedForwardNorm
                    ? stream_norm(energy(layer, 1), kConstantShare)
                    : std::visit([&](const auto& mlp) { return values(mlp, spec); }, block.feed_forward));
        }
        if (experts_wait) plan_experts(path, *config_.mixture_of(layer));
    }

    // Of what has no part in routing: values that keep the stream near its size.
    SynthTensor plain(const WeightSpec& spec) {
        if (spec.is_matrix()) return random_matrix(1 / std::sqrt(static_cast<double>(spec.columns)));
        if (spec.shape == WeightShape::kNorm) return norm(spec, 1);
        const bool factor = spec.role == Role::kLayerScale || spec.role == Role::kExpertScale;
        const double middle = factor ? 1 : spec.shape == WeightShape::kConvolution ? 0.5 : 0;
        std::vector<float> values(static_cast<size_t>(spec.rows() * spec.columns));
        for (float& value : values) value = static_cast<float>(middle + jitter(0.1) - 1);
        return vector(std::move(values));
    }

    // Of gated streams: all begin alike and stay nearly so, since gates are nearly halves and shares nearly 1.
    bool add_connection(const std::string& path, const WeightSpec& spec, double free_energy, double share) {
        constexpr double kGate = 0.5, kSmall = 0.1;
        switch (spec.role) {
            case Role::kMixerStreamsNorm:
            case Role::kFeedForwardStreamsNorm:
            case Role::kEndStreamsNorm: {
                const SynthTensor one = stream_norm(free_energy, share);
                SynthTensor all = one;
                all.values.clear();
                for (const float value : one.values) {
                    const double stored = offset(spec.shape);
                    all.values.push_back(static_cast<float>((value + stored) / kGate - stored));
                }
                const std::vector<float> first = all.values;
                for (int64_t s = 1; s < config_.streams(); ++s) {
                    all.values.insert(all.values.end(), first.begin(), first.end());
                }
                add(path, spec, std::move(all));
                return true;
            }
            case Role::kMixerStreamsDown:
            case Role::kFeedForwardStreamsDown:
            case Role::kEndStreamsDown:
                add(path, spec, plain(spec));
                return true;
            case Role::kMixerStreamsUp:
            case Role::kFeedForwardStreamsUp:
            case Role::kEndStreamsUp:
            case Role::kMixerStreamsInject:
            case Role::kFeedForwardStreamsInject: {
                SynthTensor matrix = random_matrix(kSmall / std::sqrt(static_cast<double>(spec.columns)));
                matrix.eight_bits = spec.role == Role::kFeedForwardStreamsInject;
                add(path, spec, std::move(matrix));
                return true;
            }
            default:
                return false;
        }
    }

    // The table is a hole, so n-grams add nothing: what is measured is how its rows are read.
    bool add_ngrams(const std::string& path, const WeightSpec& spec, const NGramConfig& ngrams) {
        switch (spec.role) {
            case Role::kNGramKey: {
                const int64_t rows = (ngrams.table_rows + ngrams.parts - 1) / ngrams.parts;
                for (int64_t part = 0; part * rows < ngrams.table_rows; ++part) {
                    SynthTensor table = random_matrix(1);
                    table.name = fmt::format("{}{}.shard_{}", path, config_.architecture->row_table, part);
                    table.shape = {std::min(rows, ngrams.table_rows - part * rows), ngrams.row_dim};
                    table.keep_float = table.hole = true;
                    tensors_.push_back(std::move(table));
                }
                [[fallthrough]];
            }
            case Role::kNGramValue:
            case Role::kNGramKeyNorm:
            case Role::kNGramQueryNorm:
            case Role::kNGramConvNorm:
            case Role::kNGramConv:
                add(path, spec, plain(spec));
                return true;
            default:
                return false;
        }
    }

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

// Rotary pairs that turn by more than a quarter radian per token: those would tell even neighbours apart.
int64_t quick_pairs(const RotaryConfig& rotary) {
    const double pairs = static_cast<double>(rotary.dims) / 2;
    return static_cast<int64_t>(std::ceil(pairs * std::log(4.0) / std::log(rotary.theta)));
}

SynthTensor Planner::values(const GroupedAttentionConfig& attention, const WeightSpec& spec, double output) {
    const int64_t dim = attention.head_dim;
    const int64_t rotary = attention.rotary.dims;
    // Half of a head's energy is the constant, all of it in the slowly rotating pairs (i, i + rotary / 2).
    const int64_t quick = quick_pairs(attention.rotary);
    const float lead = lead_for(std::sqrt(static_cast<double>(dim) / static_cast<double>(rotary - 2 * quick)));
    const std::vector<LeadColumns::Band> slow = {{quick, rotary / 2, lead}, {rotary / 2 + quick, rotary, lead}};
    const double width = static_cast<double>(attention.heads * dim);
    const double gate = attention.gated ? 0.54 : 1.0;
    switch (spec.role) {
        case Role::kQuery:
            return random_matrix(unit(), LeadColumns::banded(attention.gated ? 2 * dim : dim, slow));
        case Role::kKey:
            return random_matrix(unit(), LeadColumns::banded(dim, slow));
        case Role::kValue:
            return random_matrix(unit(), LeadColumns::zeros());
        case Role::kOutput:
            return random_matrix(output / (std::sqrt(width) * gate * kAttentionAmplitude));
        case Role::kIndexQueryKey:
            return random_matrix(unit(), LeadColumns::zeros());
        case Role::kIndexQueryNorm:
        case Role::kIndexKeyNorm:
            return norm(spec, 1);
        case Role::kQueryNorm:
        case Role::kKeyNorm:
            return norm(spec, std::sqrt(kNearness / (0.5 * std::sqrt(static_cast<double>(dim)))));
        default:
            return plain(spec);
    }
}

SynthTensor Planner::values(const LatentAttentionConfig& attention, const WeightSpec& spec, double output) {
    const int64_t rope = attention.rope_dim;
    const int64_t head = attention.nope_dim + rope;
    const int64_t quick = 2 * quick_pairs(attention.rotary);  // rows: pairs are neighbours here
    const double m = 0.1 * std::log(attention.rotary.factor) * attention.rotary.mscale_all_dim + 1;
    const double scale = m * m / std::sqrt(static_cast<double>(head));
    const double value = std::sqrt(kNearness / (static_cast<double>(rope - quick) * scale));
    const int64_t latent = attention.key_value_rank;
    // The first channels of the query's latent pass the constant on; its other channels do not see it.
    constexpr double kLatentLead = 2.0;
    switch (spec.role) {
        case Role::kQueryLatent:
            return random_matrix(unit(),
                                 LeadColumns::banded(attention.query_rank, {{0, kLeadColumns, lead_for(kLatentLead)}}));
        case Role::kQueryFromLatent:
            return random_matrix(
                1 / std::sqrt(static_cast<double>(attention.query_rank)),
                LeadColumns::banded(head, {{attention.nope_dim + quick, head,
                                            static_cast<float>(value / (kLatentLead * kLeadColumns))}}));
        case Role::kKeyValueLatent:
            return random_matrix(
                unit(), LeadColumns::banded(latent + rope, {{latent + quick, latent + rope, lead_for(value)}}));
        case Role::kQueryLatentNorm:
        case Role::kKeyValueLatentNorm:
            return norm(spec, 1);
        case Role::kKeyValueFromLatent:
        case Role::kKeyFold:
        case Role::kValueUnfold:
            return random_matrix(1 / std::sqrt(static_cast<double>(latent)));
        case Role::kOutput:
            return random_matrix(output / (std::sqrt(static_cast<double>(spec.columns)) * kAttentionAmplitude));
        default:
            return plain(spec);
    }
}

// Queries and keys are mostly the constant, so every token writes to and reads from the same place; with a small beta
// that place holds a running average of the values.
SynthTensor Planner::values(const GatedDeltaNetConfig& net, const WeightSpec& spec, double output) {
    const int64_t key = net.key_dim;
    const int64_t ratio = net.value_heads / net.key_heads;
    const int64_t values = ratio * net.value_dim;  // of one key head
    const int64_t period = 2 * (key + values);
    const float same = lead_for(2), gate = lead_for(2);
    const float beta = lead_for(-2 / 0.3);  // sigmoid of -2: each token counts for an eighth
    constexpr double kGateAmplitude = 1.8;  // silu of a z about 2
    switch (spec.role) {
        case Role::kLinearQkvz:
            return random_matrix(unit(),
                                 LeadColumns::banded(period, {{0, 2 * key, same}, {2 * key + values, period, gate}}));
        case Role::kLinearBa:
            return random_matrix(0.3 * unit(), LeadColumns::banded(2 * ratio, {{0, ratio, 0.3f * beta}}));
        case Role::kLinearQkv:
            return random_matrix(unit(), LeadColumns::banded(net.channels(), {{0, 2 * net.key_width(), same}}));
        case Role::kLinearZ:
            return random_matrix(unit(), LeadColumns::constant(gate));
        case Role::kLinearB:
            return random_matrix(0.3 * unit(), LeadColumns::constant(0.3f * beta));
        case Role::kLinearA:
            return random_matrix(0.3 * unit(), LeadColumns::zeros());
        case Role::kLinearOutput:
            return random_matrix(output / (std::sqrt(static_cast<double>(net.value_width())) * kGateAmplitude));
        default:
            return delta_vector(net, spec);
    }
}

SynthTensor Planner::delta_vector(const GatedDeltaNetConfig& net, const WeightSpec& spec) {
    if (net.separate_projections) return plain(spec);
    switch (spec.role) {
        case Role::kLinearConv:
            delta_ = draw(net);
            return vector(std::move(delta_.taps));
        case Role::kLinearALog:
            return vector(std::move(delta_.decay), DType::kF32);
        case Role::kLinearDtBias:
            return vector(std::move(delta_.bias));
        case Role::kLinearNorm:
            return norm(spec, 1);
        default:
            return plain(spec);
    }
}

DeltaVectors Planner::draw(const GatedDeltaNetConfig& net) {
    DeltaVectors drawn;
    for (int64_t channel = 0; channel < net.channels(); ++channel) {
        // Small values stay in silu's linear part: their average has no constant of its own.
        const double size = channel < 2 * net.key_width() ? 1.0 : 0.3;
        for (int64_t tap = 0; tap < net.kernel; ++tap) {
            drawn.taps.push_back(static_cast<float>(size * (tap + 1 == net.kernel ? 0.7 : 0.1) * jitter(0.3)));
        }
    }
    for (int64_t head = 0; head < net.value_heads; ++head) {
        const double memory = kMemoryTokens * std::exp2(2 * jitter(1) - 2);
        drawn.decay.push_back(static_cast<float>(-std::log(memory)));
        drawn.bias.push_back(static_cast<float>(0.54 * jitter(0.2)));  // softplus of it is 1
    }
    return drawn;
}

SynthTensor Planner::down_projection(int64_t intermediate, double output) const {
    return random_matrix(output / (std::sqrt(static_cast<double>(intermediate)) * kExpertAmplitude));
}

SynthTensor Planner::values(const DenseMlpConfig& mlp, const WeightSpec& spec) {
    if (spec.role == Role::kDenseDown) return down_projection(mlp.intermediate, step());
    if (spec.role == Role::kDenseGate || spec.role == Role::kDenseUp)
        return random_matrix(unit(), LeadColumns::zeros());
    return plain(spec);
}

SynthTensor Planner::values(const MixtureConfig& mixture, const WeightSpec& spec) {
    if (spec.role == Role::kRouter) {
        SynthTensor router = random_matrix(kRouterDeviation * unit() * std::sqrt(1 - kConstantShare));
        router.keep_float = spec.precision == Precision::kPublished;
        router.eight_bits = spec.precision == Precision::kEightBits;
        return router;
    }
    if (spec.role == Role::kRouterTable) {  // a token's experts differ
        std::vector<float> experts;
        for (int64_t row = 0; row < spec.rows(); ++row) {
            const auto first = static_cast<int64_t>(random_() % static_cast<uint64_t>(mixture.experts));
            for (int64_t i = 0; i < spec.columns; ++i) {
                experts.push_back(static_cast<float>((first + i * (mixture.experts / spec.columns)) % mixture.experts));
            }
        }
        return vector(std::move(experts), DType::kI32);
    }
    if (spec.role == Role::kRouterCorrection) {
        std::vector<float> correction(static_cast<size_t>(spec.columns));
        for (float& value : correction) value = static_cast<float>(jitter(0.02) - 1);
        return vector(std::move(correction), DType::kF32);
    }
    return shared_expert(mixture, spec);
}

SynthTensor Planner::shared_expert(const MixtureConfig& mixture, const WeightSpec& spec) {
    const double gate = mixture.shared_expert_gated ? 2 : 1;  // its sigmoid halves what the expert adds
    switch (spec.role) {
        case Role::kSharedGate:
        case Role::kSharedUp:
            return random_matrix(unit(), LeadColumns::zeros());
        case Role::kSharedDown:
            return down_projection(mixture.shared_intermediate, gate * step() * std::sqrt(0.3));
        case Role::kSharedExpertGate: {
            SynthTensor projection = random_matrix(unit(), LeadColumns::zeros());
            projection.eight_bits = true;
            return projection;
        }
        default:
            return plain(spec);
    }
}

void Planner::plan_experts(const std::string& path, const MixtureConfig& mixture) {
    // Weights that add up to the scaling factor, spread over the chosen experts.
    const double spread = std::sqrt(1.2 / static_cast<double>(mixture.experts_per_token));
    const double output = step() * std::sqrt(0.7) / (spread * mixture.routing.scale);
    const ExpertNames& names = config_.architecture->experts;
    if (mlx_)
        return plan_expert(path + std::string(names.stacked), names.stacked_projections, {mixture.experts}, mixture,
                           output);
    const std::string each = path + std::string(names.each);
    if (layout_.fused_experts) return plan_fused_experts(each, mixture, output);
    for (int64_t expert = 0; expert < mixture.experts; ++expert) {
        plan_expert(each + std::to_string(expert) + ".", names.projections, {}, mixture, output);
    }
}

// Gate, up and down of one expert, or of as many as `leading` says in each tensor.
void Planner::plan_expert(const std::string& path, const std::array<std::string_view, 3>& projections,
                          std::vector<int64_t> leading, const MixtureConfig& mixture, double output) {
    const auto put = [&](std::string_view name, int64_t rows, int64_t columns, SynthTensor tensor) {
        tensor.name = path + std::string(name);
        tensor.shape = leading;
        tensor.shape.insert(tensor.shape.end(), {rows, columns});
        tensors_.push_back(std::move(tensor));
    };
    const int64_t inner = mixture.intermediate, width = mixture.width(config_.hidden_size);
    if (mixture.activation.gated()) put(projections[0], inner, width, random_matrix(unit(), LeadColumns::zeros()));
    put(projections[1], inner, width, random_matrix(unit(), LeadColumns::zeros()));
    put(projections[2], width, inner, down_projection(inner, output));
}

void Planner::plan_fused_experts(const std::string& path, const MixtureConfig& mixture, double output) {
    const int64_t inner = mixture.intermediate;
    SynthTensor gate_up = random_matrix(unit(), LeadColumns::zeros());
    gate_up.name = path + "gate_up_proj";
    gate_up.full_name = true;
    gate_up.shape = {mixture.experts, 2 * inner, config_.hidden_size};
    tensors_.push_back(std::move(gate_up));
    SynthTensor down = down_projection(inner, output);
    down.name = path + "down_proj";
    down.full_name = true;
    down.shape = {mixture.experts, config_.hidden_size, inner};
    tensors_.push_back(std::move(down));
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
