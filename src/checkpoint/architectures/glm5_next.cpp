// GLM-5.3-Flash, the text model: Kimi Delta Attention with bounded decays beside latent attention without positions,
// whose indexer scores pools of tokens; hyper-connections around every block.

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/architecture.h"
#include "checkpoint/architectures/deepseek_latent.h"
#include "checkpoint/architectures/reading.h"

namespace sluice {

namespace {

constexpr std::string_view kModelTypes[] = {"glm5_next", "glm5_next_text"};
constexpr CorrectedRoutingFields kRouting = {.default_groups = 1, .default_shared_experts = 1};
constexpr double kRoutedScale = 2.5;

// A bound that is null counts where `safe_gate` says so.
double read_decay_bound(const JsonFields& linear) {
    constexpr std::string_view kBound = "gate_lower_bound";
    constexpr double kPublished = -5.0;
    if (linear.raw().contains(kBound) && !linear.has(kBound) && !linear.boolean_or("safe_gate", true)) return 0;
    const double bound = linear.number_or(kBound, kPublished);
    if (bound >= 0) linear.reject(ErrorCode::kInvalidFile, kBound, "{} is not below 0", bound);
    return bound;
}

IndexerConfig read_pooled_indexer(const JsonFields& fields, const LatentAttentionConfig& attention) {
    constexpr int64_t kDefaultPool = 16;
    for (const std::string_view name : {"index_kpool_compress", "index_kpool_always_select_tail"}) {
        if (!fields.boolean_or(name, true)) {
            fields.reject(ErrorCode::kUnsupported, name, "false is not supported, only true");
        }
    }
    IndexerConfig indexer = read_indexer(fields, attention);
    indexer.pool = fields.integer_or("index_kpool", kDefaultPool, 1, kLargestSize);
    if (indexer.tokens < indexer.pool) {
        fields.reject(ErrorCode::kInvalidFile, "index_topk", "{} is below index_kpool {}", indexer.tokens,
                      indexer.pool);
    }
    indexer.tokens -= indexer.tokens % indexer.pool;
    return indexer;
}

LatentAttentionConfig read_sparse_attention(const JsonFields& fields, const ModelConfig& config) {
    LatentAttentionConfig attention = read_latent_heads(fields, 0);
    if (attention.rope_dim != 0) {
        fields.reject(ErrorCode::kUnsupported, "qk_rope_head_dim", "{} is not supported, only 0", attention.rope_dim);
    }
    attention.norm_epsilon = config.rms_norm_epsilon;
    attention.indexer = read_pooled_indexer(fields, attention);
    return attention;
}

// A list, or every fourth layer.
std::vector<bool> read_sparse_attention_layers(const JsonFields& fields, const ModelConfig& config) {
    constexpr std::string_view kName = "layer_types", kSparse = "deepseek_sparse_attention";
    constexpr size_t kPeriod = 4;
    if (fields.has(kName)) {
        std::vector<std::string> words = fields.strings(kName);
        std::ranges::replace(words, "full_attention", std::string(kSparse));
        return read_layer_words(fields, config, kName, words, kSparse, "linear_attention");
    }
    std::vector<bool> sparse;
    for (size_t layer = 0; layer < config.layers.size(); ++layer) sparse.push_back(layer % kPeriod == kPeriod - 1);
    return sparse;
}

std::vector<bool> read_own_indexers(const JsonFields& fields, const ModelConfig& config) {
    constexpr std::string_view kName = "indexer_types";
    if (!fields.has(kName)) return std::vector<bool>(config.layers.size(), true);
    return read_layer_words(fields, config, kName, fields.strings(kName), "full", "shared");
}

void read_mixers(const JsonFields& fields, ModelConfig& config) {
    const JsonFields linear = delta_attention_fields(fields);
    GatedDeltaNetConfig net = read_delta_attention(linear);
    net.decay_bound = read_decay_bound(linear);
    LatentAttentionConfig attention = read_sparse_attention(fields, config);
    const std::vector<bool> sparse = read_sparse_attention_layers(fields, config);
    const std::vector<bool> own = read_own_indexers(fields, config);
    bool chosen = false;  // by a layer before
    for (size_t layer = 0; layer < sparse.size(); ++layer) {
        if (!sparse[layer]) {
            config.layers[layer].mixer = net;
            continue;
        }
        if (!own[layer] && !chosen) {
            fields.reject(ErrorCode::kInvalidFile, "indexer_types", "layer {} has no layer before it to share with",
                          layer);
        }
        chosen = true;
        attention.indexer.shared = !own[layer];
        config.layers[layer].mixer = attention;
    }
}

// A list, or a number of leading dense layers.
std::vector<bool> read_dense_layers(const JsonFields& fields, const ModelConfig& config) {
    constexpr std::string_view kName = "mlp_layer_types";
    constexpr int64_t kDefaultDense = 3;
    if (fields.has(kName)) return read_layer_words(fields, config, kName, fields.strings(kName), "dense", "sparse");
    const int64_t count = fields.integer_or("first_k_dense_replace", kDefaultDense, 0, kMostLayers);
    std::vector<bool> dense;
    for (int64_t layer = 0; layer < config.layer_count(); ++layer) dense.push_back(layer < count);
    return dense;
}

void read_feed_forwards(const JsonFields& fields, ModelConfig& config) {
    constexpr double kDefaultLimit = 10;
    require_string(fields, "hidden_act", {"silu"});
    const double limit = fields.number_or("swiglu_limit", kDefaultLimit);
    if (limit <= 0) fields.reject(ErrorCode::kInvalidFile, "swiglu_limit", "{} is not above 0", limit);
    const std::vector<bool> dense = read_dense_layers(fields, config);
    for (size_t layer = 0; layer < dense.size(); ++layer) {
        if (dense[layer]) {
            config.layers[layer].feed_forward = read_dense_mlp(fields);
        } else {
            config.layers[layer].feed_forward = read_corrected_mixture(fields, kRoutedScale, kRouting);
        }
    }
    change_blocks<DenseMlpConfig>(config, [&](DenseMlpConfig& mlp) { mlp.activation.limit = limit; });
    change_blocks<MixtureConfig>(config, [&](MixtureConfig& mixture) { mixture.activation.limit = limit; });
}

void read_glm5_next(const JsonFields& fields, ModelConfig& config) {
    require_string(fields, "scoring_func", {"sigmoid"});
    require_string(fields, "topk_method", {"noaux_tc"});
    if (!fields.boolean_or("mhc", true)) {
        fields.reject(ErrorCode::kUnsupported, "mhc", "false is not supported, only true");
    }
    read_deepseek_sizes(fields, config);
    config.rms_norm_epsilon = read_epsilon(fields, "rms_norm_eps", 1e-5);
    config.residual = read_hyper_connections(fields);
    read_mixers(fields, config);
    read_feed_forwards(fields, config);
}

}  // namespace

extern constinit const Architecture glm5_next_architecture = {
    .name = "glm5_next",
    .model_types = kModelTypes,
    .read = read_glm5_next,
    .names = kDeepseekNames,
};

}  // namespace sluice
