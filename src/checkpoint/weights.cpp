#include "checkpoint/weights.h"

#include <functional>
#include <numeric>

namespace sluice {

namespace {

WeightSpec matrix(Role role, int64_t rows, int64_t columns, Precision precision = Precision::kAny) {
    return {.role = role, .leading = {rows}, .columns = columns, .precision = precision};
}

// One matrix for each head.
WeightSpec matrix_of_heads(Role role, int64_t heads, int64_t rows, int64_t columns) {
    return {.role = role, .leading = {heads, rows}, .columns = columns};
}

WeightSpec vector(Role role, int64_t columns) {
    return {.role = role, .shape = WeightShape::kVector, .columns = columns};
}

// One vector for each of something.
WeightSpec table(Role role, int64_t rows, int64_t columns) {
    return {.role = role, .shape = WeightShape::kVector, .leading = {rows}, .columns = columns};
}

WeightSpec numbers(Role role, int64_t rows, int64_t columns) {
    return {.role = role, .shape = WeightShape::kNumbers, .leading = {rows}, .columns = columns};
}

WeightSpec norm(Role role, int64_t columns) {
    return {.role = role, .shape = WeightShape::kNorm, .columns = columns};
}

WeightSpec convolution(Role role, int64_t channels, int64_t taps) {
    return {.role = role, .shape = WeightShape::kConvolution, .leading = {channels}, .columns = taps};
}

WeightSpec integers(Role role, int64_t count) {
    return {.role = role, .shape = WeightShape::kNumbers, .columns = count};
}

// Each appends the weights of one connection of the residual to a block, or to the head.

void append_connection(std::vector<WeightSpec>& list, int64_t hidden, const HyperConnectionConfig& residual,
                       const ConnectionRoles& roles) {
    const bool end = roles.function == Role::kEndConnection;
    if (end && !residual.learned_end) return;
    const int64_t coefficients = end ? residual.streams : residual.coefficients();
    list.push_back(matrix(roles.function, coefficients, residual.streams * hidden, Precision::kPublished));
    list.push_back(vector(roles.base, coefficients));
    list.push_back(vector(roles.scale, end ? 1 : 3));
}

void append_connection(std::vector<WeightSpec>& list, int64_t hidden, const GatedStreamsConfig& residual,
                       const StreamsRoles& roles) {
    const int64_t width = residual.streams * hidden;
    list.push_back(norm(roles.norm, width));
    list.push_back(matrix(roles.down, residual.rank, width));
    list.push_back(matrix(roles.up, width, residual.rank));
    if (roles.norm == Role::kEndStreamsNorm) return;
    list.push_back(matrix(roles.inject, residual.streams, width, Precision::kEightBits));
}

void append_connection(std::vector<WeightSpec>& list, const ModelConfig& config, const ConnectionRoles& weighed,
                       const StreamsRoles& gated) {
    if (const auto* residual = std::get_if<HyperConnectionConfig>(&config.residual)) {
        append_connection(list, config.hidden_size, *residual, weighed);
    } else if (const auto* streams = std::get_if<GatedStreamsConfig>(&config.residual)) {
        append_connection(list, config.hidden_size, *streams, gated);
    }
}

void append_ngrams(std::vector<WeightSpec>& list, const ModelConfig& config, const NGramConfig& ngrams) {
    const int64_t channels = config.streams() * config.hidden_size;
    list.push_back(matrix(Role::kNGramKey, channels, ngrams.width()));
    list.push_back(matrix(Role::kNGramValue, config.hidden_size, ngrams.width()));
    for (const Role role : {Role::kNGramKeyNorm, Role::kNGramQueryNorm, Role::kNGramConvNorm}) {
        list.push_back(norm(role, channels));
    }
    list.push_back(convolution(Role::kNGramConv, channels, ngrams.kernel));
    if (ngrams.stored_multipliers) list.push_back(integers(Role::kNGramMultipliers, ngrams.hash.longest()));
    if (ngrams.stored_head_rows) list.push_back(integers(Role::kNGramHeadRows, ngrams.hash.heads()));
    if (ngrams.stored_head_offsets) list.push_back(integers(Role::kNGramHeadOffsets, ngrams.hash.heads()));
}

// Each appends the weights of a block that reads `hidden` channels.

void append_pooled_indexer(std::vector<WeightSpec>& list, int64_t hidden, const IndexerConfig& indexer) {
    const int64_t rows = (indexer.heads + 1) * indexer.head_dim;
    list.push_back(matrix(Role::kIndexQueryKey, rows, hidden, Precision::kEightBits));
    list.push_back(norm(Role::kIndexQueryNorm, indexer.head_dim));
    list.push_back(norm(Role::kIndexKeyNorm, indexer.head_dim));
}

void append(std::vector<WeightSpec>& list, int64_t hidden, const GroupedAttentionConfig& a) {
    const int64_t width = a.heads * a.head_dim;
    const int64_t kv_width = a.kv_heads * a.head_dim, value_width = a.kv_heads * a.value_size();
    const int64_t query_rows = a.gated ? 2 * width : width;
    list.push_back(matrix(Role::kQuery, query_rows, hidden));
    list.push_back(matrix(Role::kKey, kv_width, hidden));
    if (a.value != ValueForm::kUnitKey) list.push_back(matrix(Role::kValue, value_width, hidden));
    list.push_back(matrix(Role::kOutput, hidden, a.heads * a.value_size()));
    if (a.query_key_value_bias) {
        list.push_back(vector(Role::kQueryBias, query_rows));
        list.push_back(vector(Role::kKeyBias, kv_width));
        list.push_back(vector(Role::kValueBias, value_width));
    }
    if (a.output_bias) list.push_back(vector(Role::kOutputBias, hidden));
    if (a.query_key_norm == QueryKeyNorm::kPerHead || a.query_key_norm == QueryKeyNorm::kWholeProjection) {
        const bool whole = a.query_key_norm == QueryKeyNorm::kWholeProjection;
        list.push_back(norm(Role::kQueryNorm, whole ? width : a.head_dim));
        list.push_back(norm(Role::kKeyNorm, whole ? kv_width : a.head_dim));
    }
    if (a.sinks) list.push_back(vector(Role::kSinks, a.heads));
    if (a.head_gates) list.push_back(matrix(Role::kHeadGate, a.heads, hidden));
    if (a.indexer.own()) append_pooled_indexer(list, hidden, a.indexer);
}

void append(std::vector<WeightSpec>& list, int64_t hidden, int64_t query_rank, const IndexerConfig& indexer) {
    const Precision careful = Precision::kEightBits;
    list.push_back(matrix(Role::kIndexQuery, indexer.heads * indexer.head_dim, query_rank, careful));
    list.push_back(matrix(Role::kIndexKey, indexer.head_dim, hidden, careful));
    list.push_back(vector(Role::kIndexKeyNorm, indexer.head_dim));
    list.push_back(vector(Role::kIndexKeyNormBias, indexer.head_dim));
    list.push_back(matrix(Role::kIndexWeights, indexer.heads, hidden, careful));
    if (indexer.pool == 1) return;
    list.push_back(matrix(Role::kIndexPoolGate, indexer.head_dim, hidden, careful));
    list.push_back(table(Role::kIndexPoolOffsets, indexer.pool, indexer.head_dim));
}

void append(std::vector<WeightSpec>& list, int64_t hidden, const LatentAttentionConfig& a) {
    const int64_t query_width = a.heads * (a.nope_dim + a.rope_dim);
    if (a.query_rank > 0) {
        list.push_back(matrix(Role::kQueryLatent, a.query_rank, hidden));
        if (a.projection_bias) list.push_back(vector(Role::kQueryLatentBias, a.query_rank));
        list.push_back(vector(Role::kQueryLatentNorm, a.query_rank));
        list.push_back(matrix(Role::kQueryFromLatent, query_width, a.query_rank));
    } else {
        list.push_back(matrix(Role::kQuery, query_width, hidden));
    }
    list.push_back(matrix(Role::kKeyValueLatent, a.key_value_rank + a.rope_dim, hidden));
    if (a.projection_bias) list.push_back(vector(Role::kKeyValueLatentBias, a.key_value_rank + a.rope_dim));
    list.push_back(vector(Role::kKeyValueLatentNorm, a.key_value_rank));
    if (a.split_key_value) {
        list.push_back(matrix_of_heads(Role::kKeyFold, a.heads, a.key_value_rank, a.nope_dim));
        list.push_back(matrix_of_heads(Role::kValueUnfold, a.heads, a.value_dim, a.key_value_rank));
    } else {
        list.push_back(matrix(Role::kKeyValueFromLatent, a.heads * (a.nope_dim + a.value_dim), a.key_value_rank));
    }
    list.push_back(matrix(Role::kOutput, hidden, a.heads * a.value_dim));
    if (a.projection_bias) list.push_back(vector(Role::kOutputBias, hidden));
    if (a.indexer.own()) append(list, hidden, a.query_rank, a.indexer);
}

// What makes the keys of runs.
void append_runs(std::vector<WeightSpec>& list, int64_t hidden, const CompressedAttentionConfig& a, bool of_indexer) {
    const int64_t dim = of_indexer ? a.indexer.head_dim : a.head_dim, width = a.series() * dim;
    const Precision precision = of_indexer ? Precision::kEightBits : Precision::kAny;
    list.push_back(matrix(of_indexer ? Role::kIndexRunKey : Role::kRunKey, width, hidden, precision));
    list.push_back(matrix(of_indexer ? Role::kIndexRunGate : Role::kRunGate, width, hidden, precision));
    list.push_back(table(of_indexer ? Role::kIndexRunOffsets : Role::kRunOffsets, a.ratio, width));
    list.push_back(norm(of_indexer ? Role::kIndexRunNorm : Role::kRunNorm, dim));
}

void append(std::vector<WeightSpec>& list, int64_t hidden, const CompressedAttentionConfig& a) {
    list.push_back(matrix(Role::kQueryLatent, a.query_rank, hidden));
    list.push_back(norm(Role::kQueryLatentNorm, a.query_rank));
    list.push_back(matrix(Role::kQueryFromLatent, a.width(), a.query_rank));
    list.push_back(matrix(Role::kSharedKey, a.head_dim, hidden));
    list.push_back(norm(Role::kSharedKeyNorm, a.head_dim));
    list.push_back(vector(Role::kSinks, a.heads));
    list.push_back(matrix(Role::kOutputGroups, a.output_groups * a.output_rank, a.width() / a.output_groups));
    list.push_back(matrix(Role::kOutput, hidden, a.output_groups * a.output_rank));
    if (a.ratio > 0) append_runs(list, hidden, a, false);
    if (!a.indexer.own()) return;
    list.push_back(
        matrix(Role::kIndexQuery, a.indexer.heads * a.indexer.head_dim, a.query_rank, Precision::kEightBits));
    list.push_back(matrix(Role::kIndexWeights, a.indexer.heads, hidden, Precision::kEightBits));
    append_runs(list, hidden, a, true);
}

// Decay and update strength are small, and their error lives on in the state.
void append_gates(std::vector<WeightSpec>& list, int64_t hidden, const GatedDeltaNetConfig& net) {
    const Precision careful = Precision::kEightBits;
    if (net.fused_gates) {
        list.push_back(matrix(Role::kLinearBa, 2 * net.value_heads, hidden, careful));
        return;
    }
    list.push_back(matrix(Role::kLinearB, net.value_heads, hidden, careful));
    if (net.decay_rank == 0) {
        list.push_back(matrix(Role::kLinearA, net.value_heads, hidden, careful));
    } else {
        list.push_back(matrix(Role::kLinearDecayDown, net.decay_rank, hidden, careful));
        list.push_back(matrix(Role::kLinearDecayUp, net.decay_width(), net.decay_rank, careful));
    }
}

void append_output_gate(std::vector<WeightSpec>& list, int64_t hidden, const GatedDeltaNetConfig& net) {
    if (net.gate_rank == 0) {
        list.push_back(matrix(Role::kLinearZ, net.value_width(), hidden));
    } else {
        list.push_back(matrix(Role::kLinearGateDown, net.gate_rank, hidden));
        list.push_back(matrix(Role::kLinearGateUp, net.value_width(), net.gate_rank));
    }
}

void append_separate_projections(std::vector<WeightSpec>& list, int64_t hidden, const GatedDeltaNetConfig& net) {
    list.push_back(matrix(Role::kQuery, net.key_width(), hidden));
    list.push_back(matrix(Role::kKey, net.key_width(), hidden));
    list.push_back(matrix(Role::kValue, net.value_width(), hidden));
    list.push_back(convolution(Role::kQueryConv, net.key_width(), net.kernel));
    list.push_back(convolution(Role::kKeyConv, net.key_width(), net.kernel));
    list.push_back(convolution(Role::kValueConv, net.value_width(), net.kernel));
}

void append(std::vector<WeightSpec>& list, int64_t hidden, const GatedDeltaNetConfig& net) {
    if (net.fused_projections) {
        list.push_back(matrix(Role::kLinearQkvz, net.channels() + net.value_width(), hidden));
        list.push_back(matrix(Role::kLinearBa, 2 * net.value_heads, hidden, Precision::kEightBits));
    } else {
        if (net.separate_projections) {
            append_separate_projections(list, hidden, net);
        } else {
            list.push_back(matrix(Role::kLinearQkv, net.channels(), hidden));
        }
        append_output_gate(list, hidden, net);
        append_gates(list, hidden, net);
    }
    if (!net.separate_projections) list.push_back(convolution(Role::kLinearConv, net.channels(), net.kernel));
    list.push_back(vector(net.stored_decay ? Role::kLinearDecay : Role::kLinearALog, net.value_heads));
    list.push_back(vector(Role::kLinearDtBias, net.decay_width()));
    list.push_back(vector(Role::kLinearNorm, net.value_dim));
    list.push_back(matrix(net.separate_projections ? Role::kOutput : Role::kLinearOutput, hidden, net.value_width()));
}

// Steps steer the state, but are stored in one matrix with what it takes in.
void append(std::vector<WeightSpec>& list, int64_t hidden, const SelectiveScanConfig& scan) {
    list.push_back(matrix(Role::kScanInput, scan.inner() + scan.channels() + scan.heads, hidden));
    list.push_back(convolution(Role::kLinearConv, scan.channels(), scan.kernel));
    if (scan.convolution_bias) list.push_back(vector(Role::kLinearConvBias, scan.channels()));
    for (const Role role : {Role::kLinearALog, Role::kLinearDtBias, Role::kScanSkip}) {
        list.push_back(vector(role, scan.heads));
    }
    list.push_back(vector(Role::kLinearNorm, scan.inner()));
    list.push_back(matrix(Role::kLinearOutput, hidden, scan.inner()));
}

void append(std::vector<WeightSpec>&, int64_t, const NoMixer&) {}

void append(std::vector<WeightSpec>&, int64_t, const NoFeedForward&) {}

void append(std::vector<WeightSpec>& list, int64_t hidden, const DenseMlpConfig& mlp) {
    if (mlp.activation.gated()) list.push_back(matrix(Role::kDenseGate, mlp.intermediate, hidden));
    list.push_back(matrix(Role::kDenseUp, mlp.intermediate, hidden));
    list.push_back(matrix(Role::kDenseDown, hidden, mlp.intermediate));
    if (!mlp.bias) return;
    list.push_back(vector(Role::kDenseGateBias, mlp.intermediate));
    list.push_back(vector(Role::kDenseUpBias, mlp.intermediate));
    list.push_back(vector(Role::kDenseDownBias, hidden));
}

void append_expert_biases(std::vector<WeightSpec>& list, int64_t width, const MixtureConfig& mixture) {
    if (mixture.fused_expert_bias) {
        list.push_back(table(Role::kExpertGateUpBias, mixture.experts, 2 * mixture.intermediate));
    } else {
        list.push_back(table(Role::kExpertGateBias, mixture.experts, mixture.intermediate));
        list.push_back(table(Role::kExpertUpBias, mixture.experts, mixture.intermediate));
    }
    list.push_back(table(Role::kExpertDownBias, mixture.experts, width));
}

// A corrected router was trained with its correction, as precise as it is; MLX leaves it alone, too.
void append(std::vector<WeightSpec>& list, int64_t hidden, const MixtureConfig& mixture) {
    const bool corrected = mixture.routing.corrected, by_token = mixture.routing.by_token;
    const Precision precision = corrected || by_token ? Precision::kPublished : Precision::kEightBits;
    list.push_back(matrix(Role::kRouter, mixture.experts, hidden, precision));
    if (mixture.router_bias) list.push_back(vector(Role::kRouterBias, mixture.experts));
    if (corrected) list.push_back(vector(Role::kRouterCorrection, mixture.experts));
    const int64_t width = mixture.width(hidden);
    if (mixture.expert_bias) append_expert_biases(list, width, mixture);
    if (mixture.latent > 0) {
        list.push_back(matrix(Role::kExpertsInput, width, hidden));
        list.push_back(matrix(Role::kExpertsOutput, hidden, width));
    }
    if (mixture.shared_intermediate > 0) {
        if (mixture.activation.gated()) {
            list.push_back(matrix(Role::kSharedGate, mixture.shared_intermediate, hidden));
        }
        list.push_back(matrix(Role::kSharedUp, mixture.shared_intermediate, hidden));
        list.push_back(matrix(Role::kSharedDown, hidden, mixture.shared_intermediate));
    }
    if (mixture.shared_expert_gated) {
        list.push_back(matrix(Role::kSharedExpertGate, 1, hidden, Precision::kEightBits));
    }
    if (mixture.expert_scale) list.push_back(vector(Role::kExpertScale, mixture.experts));
    if (!mixture.own_norms) return;
    for (const Role role : {Role::kRouterNorm, Role::kExpertsNorm, Role::kExpertsPostNorm}) {
        list.push_back(norm(role, hidden));
    }
    if (mixture.shared_intermediate > 0) list.push_back(norm(Role::kSharedPostNorm, hidden));
}

}  // namespace

int64_t WeightSpec::rows() const {
    return std::accumulate(leading.begin(), leading.end(), int64_t{1}, std::multiplies<>());
}

uint64_t WeightSpec::plain_bytes() const {
    constexpr uint64_t kBf16Bytes = 2;
    const auto values = static_cast<uint64_t>(rows() * columns);
    return values * (shape == WeightShape::kNumbers ? sizeof(int64_t) : kBf16Bytes);
}

std::vector<WeightSpec> model_weights(const ModelConfig& config) {
    std::vector<WeightSpec> list = {matrix(Role::kEmbedding, config.vocabulary, config.hidden_size)};
    if (config.final_norm) list.push_back(norm(Role::kFinalNorm, config.hidden_size));
    if (!config.tied_embeddings) list.push_back(matrix(Role::kHead, config.vocabulary, config.hidden_size));
    append_connection(list, config, kEndConnectionRoles, kEndStreamsRoles);
    return list;
}

std::vector<WeightSpec> mixer_weights(const ModelConfig& config, const LayerConfig& layer) {
    const int64_t hidden = config.hidden_size;
    std::vector<WeightSpec> list;
    if (!layer.mixes()) return list;
    if (layer.ngrams.any()) append_ngrams(list, config, layer.ngrams);
    append_connection(list, config, kMixerConnectionRoles, kMixerStreamsRoles);
    if (layer.norms.before) list.push_back(norm(Role::kMixerNorm, hidden));
    std::visit([&](const auto& mixer) { append(list, hidden, mixer); }, layer.mixer);
    if (layer.norms.after) list.push_back(norm(Role::kMixerPostNorm, hidden));
    return list;
}

std::vector<WeightSpec> feed_forward_weights(const ModelConfig& config, const LayerConfig& layer) {
    const int64_t hidden = config.hidden_size;
    const auto* mixture = block_of<MixtureConfig>(layer);
    std::vector<WeightSpec> list;
    if (!layer.feeds_forward()) return list;
    append_connection(list, config, kFeedForwardConnectionRoles, kFeedForwardStreamsRoles);
    if (layer.norms.before) list.push_back(norm(norm_before_feed_forward(layer), hidden));
    std::visit([&](const auto& block) { append(list, hidden, block); }, layer.feed_forward);
    if (mixture != nullptr && mixture->routing.by_token) {
        list.push_back(numbers(Role::kRouterTable, config.vocabulary, mixture->experts_per_token));
    }
    if (layer.norms.after) list.push_back(norm(Role::kFeedForwardPostNorm, hidden));
    if (layer.scaled) list.push_back(vector(Role::kLayerScale, 1));
    return list;
}

std::vector<WeightSpec> layer_weights(const ModelConfig& config, const LayerConfig& layer) {
    std::vector<WeightSpec> list = mixer_weights(config, layer);
    const std::vector<WeightSpec> rest = feed_forward_weights(config, layer);
    list.insert(list.end(), rest.begin(), rest.end());
    return list;
}

}  // namespace sluice
