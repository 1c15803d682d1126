#include <algorithm>
#include <cmath>

#include "synth/tensor_planner.h"

namespace sluice {

namespace {

constexpr double kNearness = 20.0;           // attention logit of the same position above that of a far one
constexpr double kMemoryTokens = 12.0;       // of DeltaNet's decay, for the middle of the heads
constexpr double kAttentionAmplitude = 0.4;  // of an average over about six random values

// Rotary pairs that turn by more than a quarter radian per token: those would tell even neighbours apart.
int64_t quick_pairs(const RotaryConfig& rotary) {
    const double pairs = static_cast<double>(rotary.dims) / 2;
    return static_cast<int64_t>(std::ceil(pairs * std::log(4.0) / std::log(rotary.theta)));
}

}  // namespace

SynthTensor TensorPlanner::values(const GroupedAttentionConfig& attention, const WeightSpec& spec, double output) {
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

SynthTensor TensorPlanner::values(const LatentAttentionConfig& attention, const WeightSpec& spec, double output) {
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
SynthTensor TensorPlanner::values(const GatedDeltaNetConfig& net, const WeightSpec& spec, double output) {
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

SynthTensor TensorPlanner::delta_vector(const GatedDeltaNetConfig& net, const WeightSpec& spec) {
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

DeltaVectors TensorPlanner::draw(const GatedDeltaNetConfig& net) {
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

}  // namespace sluice
