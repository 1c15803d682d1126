#include "checkpoint/architectures/reading.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "checkpoint/rotary_config.h"

namespace sluice {

namespace {

constexpr int64_t kLargestVocabulary = int64_t{1} << 24;
constexpr int64_t kLargestPosition = int64_t{1} << 40;

// The one count of experts, under whichever of its three names.
int64_t read_expert_count(const JsonFields& fields) {
    int64_t count = 0;
    std::string_view counted_by;
    for (const std::string_view name : {"num_experts", "num_local_experts", "n_routed_experts"}) {
        if (!fields.has(name)) continue;
        const int64_t value = fields.integer(name, 1, kMostExperts);
        if (count != 0 && value != count) {
            fields.reject(ErrorCode::kInvalidFile, name, "{}, but {} is {}", value, counted_by, count);
        }
        count = value;
        counted_by = name;
    }
    if (count == 0) fields.reject(ErrorCode::kInvalidFile, "num_experts", "missing, as are its other names");
    return count;
}

std::string_view name_of_top_k(const JsonFields& fields) {
    for (const std::string_view name : {"num_experts_per_token", "experts_per_token", "top_k_experts"}) {
        if (fields.has(name) && !fields.has("num_experts_per_tok")) return name;
    }
    return "num_experts_per_tok";
}

Routing read_group_routing(const JsonFields& fields, const MixtureConfig& mixture, std::optional<double> default_scale,
                           const CorrectedRoutingFields& names) {
    const std::string_view groups_field = names.groups;
    Routing routing = mixture.routing;
    routing.score = Routing::Score::kSigmoid;
    routing.corrected = true;
    const auto count = [&](std::string_view name, int64_t most) {
        return names.default_groups ? fields.integer_or(name, *names.default_groups, 1, most)
                                    : fields.integer(name, 1, most);
    };
    routing.groups = count(groups_field, mixture.experts);
    routing.groups_kept = count("topk_group", routing.groups);
    constexpr std::string_view kScale = "routed_scaling_factor";
    routing.scale = default_scale ? fields.number_or(kScale, *default_scale) : fields.number(kScale);
    if (mixture.experts % routing.groups != 0) {
        fields.reject(ErrorCode::kInvalidFile, groups_field, "{} does not divide the {} experts", routing.groups,
                      mixture.experts);
    }
    const int64_t in_group = mixture.experts / routing.groups;
    if (routing.groups > 1 && in_group < 2) {
        fields.reject(ErrorCode::kInvalidFile, groups_field, "{} groups of one expert: a group's score needs two",
                      routing.groups);
    }
    if (mixture.experts_per_token > in_group * routing.groups_kept) {
        fields.reject(ErrorCode::kInvalidFile, "topk_group", "{} groups of {} experts hold fewer than {} per token",
                      routing.groups_kept, in_group, mixture.experts_per_token);
    }
    return routing;
}

}  // namespace

void require_string(const JsonFields& fields, std::string_view name,
                    std::initializer_list<std::string_view> supported) {
    const std::string value = fields.string_or(name, *supported.begin());
    if (std::ranges::find(supported, value) != supported.end()) return;
    fields.reject(ErrorCode::kUnsupported, name, "\"{}\" is not supported, only \"{}\"", value, *supported.begin());
}

void refuse_true(const JsonFields& fields, std::string_view name) {
    if (!fields.boolean_or(name, false)) return;
    fields.reject(ErrorCode::kUnsupported, name, "true is not supported, only false");
}

ActivationConfig read_activation(const JsonFields& fields) {
    using Kind = ActivationConfig::Kind;
    static constexpr std::pair<std::string_view, Kind> kKinds[] = {
        {"silu", Kind::kSilu}, {"swish", Kind::kSilu}, {"gelu_pytorch_tanh", Kind::kGeluTanh}};
    const std::string_view name = fields.has("hidden_act") ? "hidden_act" : "hidden_activation";
    const std::string value = fields.string_or(name, "silu");
    const auto found = std::ranges::find(kKinds, value, &std::pair<std::string_view, Kind>::first);
    if (found != std::end(kKinds)) return {.kind = found->second};
    std::vector<std::string_view> known;
    for (const auto& kind : kKinds) known.push_back(kind.first);
    fields.reject(ErrorCode::kUnsupported, name, "\"{}\" is not supported, only \"{}\"", value,
                  fmt::join(known, "\" and \""));
}

double read_epsilon(const JsonFields& fields, std::string_view name, double fallback) {
    const double epsilon = fields.number_or(name, fallback);
    if (epsilon <= 0.0 || epsilon >= 1.0) {
        fields.reject(ErrorCode::kInvalidFile, name, "{} is not between 0 and 1", epsilon);
    }
    return epsilon;
}

void read_sizes(const JsonFields& fields, ModelConfig& config) {
    config.hidden_size = fields.integer("hidden_size", 1, kLargestSize);
    constexpr std::string_view kLayers = "num_hidden_layers";
    if (fields.has(kLayers) || config.layers.empty()) {
        config.layers.resize(static_cast<size_t>(fields.integer(kLayers, 1, kMostLayers)));
    }
    config.vocabulary = fields.integer("vocab_size", 1, kLargestVocabulary);
    constexpr std::string_view kPositions = "max_position_embeddings", kOtherName = "model_max_length";
    const bool other = !fields.has(kPositions) && fields.has(kOtherName);
    config.max_positions = fields.integer(other ? kOtherName : kPositions, 1, kLargestPosition);
    config.rms_norm_epsilon = read_epsilon(fields, "rms_norm_eps", 1e-6);
}

GroupedAttentionConfig read_attention_heads(const JsonFields& fields, const ModelConfig& config) {
    GroupedAttentionConfig attention;
    attention.heads = fields.integer("num_attention_heads", 1, kLargestSize);
    attention.kv_heads = fields.integer_or("num_key_value_heads", attention.heads, 1, kLargestSize);
    if (attention.heads % attention.kv_heads != 0) {
        fields.reject(ErrorCode::kInvalidFile, "num_key_value_heads", "{} does not divide num_attention_heads {}",
                      attention.kv_heads, attention.heads);
    }
    if (!fields.has("head_dim") && config.hidden_size % attention.heads != 0) {
        fields.reject(ErrorCode::kInvalidFile, "head_dim", "missing, and num_attention_heads {} does not divide {}",
                      attention.heads, config.hidden_size);
    }
    attention.head_dim = fields.integer_or("head_dim", config.hidden_size / attention.heads, 1, kLargestSize);
    return attention;
}

GroupedAttentionConfig read_grouped_attention(const JsonFields& fields, const ModelConfig& config,
                                              double rotary_factor) {
    GroupedAttentionConfig attention = read_attention_heads(fields, config);
    attention.rotary = read_partial_rotary(fields, attention.head_dim, rotary_factor, config.max_positions);
    return attention;
}

std::vector<bool> read_layer_words(const JsonFields& fields, const ModelConfig& config, std::string_view name,
                                   const std::vector<std::string>& words, std::string_view first,
                                   std::string_view second) {
    if (words.size() != config.layers.size()) {
        fields.reject(ErrorCode::kInvalidFile, name, "{} entries, but num_hidden_layers is {}", words.size(),
                      config.layers.size());
    }
    std::vector<bool> kinds;
    for (const std::string& word : words) {
        if (word != first && word != second) {
            fields.reject(ErrorCode::kInvalidFile, name, "\"{}\" is neither \"{}\" nor \"{}\"", word, first, second);
        }
        kinds.push_back(word == first);
    }
    return kinds;
}

std::vector<bool> read_full_attention_layers(const JsonFields& fields, const ModelConfig& config,
                                             std::string_view other) {
    std::vector<bool> full;
    if (!fields.has("layer_types")) return full;
    const std::vector<std::string> types = fields.strings("layer_types");
    if (types.size() != config.layers.size()) {
        fields.reject(ErrorCode::kInvalidFile, "layer_types", "{} entries, but num_hidden_layers is {}", types.size(),
                      config.layers.size());
    }
    for (const std::string& type : types) {
        if (type != "full_attention" && (other.empty() || type != other)) {
            fields.reject(ErrorCode::kUnsupported, "layer_types", "\"{}\" is not supported in {}", type,
                          config.model_type);
        }
        full.push_back(type == "full_attention");
    }
    return full;
}

DenseMlpConfig read_dense_mlp(const JsonFields& fields) {
    return {.intermediate = fields.integer("intermediate_size", 1, kLargestSize),
            .activation = read_activation(fields)};
}

MixtureConfig read_mixture(const JsonFields& fields, std::string_view intermediate_field, bool normalize_by_default) {
    MixtureConfig mixture;
    mixture.experts = read_expert_count(fields);
    mixture.experts_per_token = fields.integer(name_of_top_k(fields), 1, mixture.experts);
    mixture.intermediate = fields.integer(intermediate_field, 1, kLargestSize);
    mixture.activation = read_activation(fields);
    mixture.routing.normalize = fields.boolean_or("norm_topk_prob", normalize_by_default);
    return mixture;
}

MixtureConfig read_corrected_mixture(const JsonFields& fields, std::optional<double> default_scale,
                                     const CorrectedRoutingFields& names) {
    MixtureConfig mixture = read_mixture(fields, "moe_intermediate_size", true);
    mixture.routing.normalize = fields.boolean_or(names.normalize, true);
    mixture.shared_intermediate =
        fields.integer_or(names.shared_experts, names.default_shared_experts, 0, kMostExperts) * mixture.intermediate;
    mixture.routing = read_group_routing(fields, mixture, default_scale, names);
    return mixture;
}

void read_leading_dense_layers(const JsonFields& fields, ModelConfig& config, const CorrectedRoutingFields& names) {
    const auto dense = static_cast<size_t>(fields.integer_or("first_k_dense_replace", 0, 0, config.layer_count()));
    if (dense > 0) {
        const DenseMlpConfig mlp = read_dense_mlp(fields);
        for (size_t layer = 0; layer < dense; ++layer) config.layers[layer].feed_forward = mlp;
    }
    if (dense == config.layers.size()) return;
    const MixtureConfig mixture = read_corrected_mixture(fields, std::nullopt, names);
    for (size_t layer = dense; layer < config.layers.size(); ++layer) config.layers[layer].feed_forward = mixture;
}

JsonFields delta_attention_fields(const JsonFields& fields) {
    constexpr std::string_view kName = "linear_attn_config";
    const std::optional<JsonFields> linear = fields.object(kName);
    if (!linear) fields.reject(ErrorCode::kInvalidFile, kName, "missing");
    return *linear;
}

GatedDeltaNetConfig read_delta_attention(const JsonFields& fields) {
    GatedDeltaNetConfig net;
    net.key_heads = net.value_heads = fields.integer("num_heads", 1, kLargestSize);
    net.key_dim = net.value_dim = fields.integer("head_dim", 1, kLargestSize);
    net.kernel = fields.integer("short_conv_kernel_size", 2, 64);
    net.separate_projections = true;
    net.decay_rank = net.gate_rank = net.key_dim;
    net.sigmoid_gate = true;
    return net;
}

IndexerConfig read_index_heads(const JsonFields& fields, int64_t rotated) {
    IndexerConfig indexer;
    indexer.heads = fields.integer("index_n_heads", 1, kLargestSize);
    indexer.head_dim = fields.integer("index_head_dim", 1, kLargestSize);
    indexer.tokens = fields.integer("index_topk", 1, kLargestSize);
    if (indexer.head_dim < rotated) {
        fields.reject(ErrorCode::kInvalidFile, "index_head_dim", "{} is below qk_rope_head_dim {}", indexer.head_dim,
                      rotated);
    }
    return indexer;
}

HyperConnectionConfig read_hyper_connections(const JsonFields& fields) {
    constexpr int64_t kMostStreams = 64, kMostRounds = 1000;
    HyperConnectionConfig residual;
    residual.streams = fields.integer_or("hc_mult", 4, 1, kMostStreams);
    residual.rounds = fields.integer_or("hc_sinkhorn_iters", 20, 1, kMostRounds);
    residual.epsilon = read_epsilon(fields, "hc_eps", 1e-6);
    return residual;
}

void read_sparse_layers(const JsonFields& fields, bool normalize_by_default, ModelConfig& config) {
    const std::vector<int64_t> listed = fields.integers("mlp_only_layers");
    const int64_t step = fields.integer_or("decoder_sparse_step", 1, 1, kMostLayers);
    std::optional<DenseMlpConfig> dense;
    std::optional<MixtureConfig> mixture;
    for (int64_t layer = 0; layer < config.layer_count(); ++layer) {
        FeedForwardConfig& block = config.layers[static_cast<size_t>(layer)].feed_forward;
        if (std::ranges::find(listed, layer) != listed.end() || (layer + 1) % step != 0) {
            if (!dense) dense = read_dense_mlp(fields);
            block = *dense;
        } else {
            if (!mixture) mixture = read_mixture(fields, "moe_intermediate_size", normalize_by_default);
            block = *mixture;
        }
    }
}

}  // namespace sluice
