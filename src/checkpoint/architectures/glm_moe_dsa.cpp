// GLM-5, 5.1, 5.2: DeepSeek-V3.2's attention, where layers may take over the choice of the one before.

#include <algorithm>
#include <string>
#include <vector>

#include "checkpoint/architecture.h"
#include "checkpoint/architectures/deepseek_latent.h"
#include "checkpoint/architectures/reading.h"

namespace sluice {

namespace {

constexpr std::string_view kModelTypes[] = {"glm_moe_dsa"};

// Which layers have an indexer of their own: a list, a pattern of letters, or a period.
std::vector<bool> read_own_indexers(const JsonFields& fields, const ModelConfig& config) {
    if (fields.has("indexer_types")) {
        return read_layer_words(fields, config, "indexer_types", fields.strings("indexer_types"), "full", "shared");
    }
    if (fields.has("index_topk_pattern")) {
        std::vector<std::string> letters;
        for (const char letter : fields.string_or("index_topk_pattern", "")) letters.emplace_back(1, letter);
        return read_layer_words(fields, config, "index_topk_pattern", letters, "F", "S");
    }
    const int64_t period = std::max<int64_t>(fields.integer_or("index_topk_freq", 1, 0, kMostLayers), 1);
    const int64_t offset = fields.integer_or("index_skip_topk_offset", 2, 0, kMostLayers);
    std::vector<bool> own;
    for (int64_t layer = 0; layer < config.layer_count(); ++layer) {
        own.push_back(std::max<int64_t>(layer - offset + 1, 0) % period == 0);
    }
    return own;
}

void read_mixers(const JsonFields& fields, ModelConfig& config) {
    LatentAttentionConfig attention = read_latent_attention(fields, config);
    attention.indexer = read_indexer(fields, attention);
    attention.indexer.interleaved = fields.boolean_or("indexer_rope_interleave", true);
    const std::vector<bool> own = read_own_indexers(fields, config);
    if (!own.front()) {
        fields.reject(ErrorCode::kInvalidFile, "indexer_types", "layer 0 has no layer before it to share with");
    }
    for (size_t layer = 0; layer < own.size(); ++layer) {
        attention.indexer.shared = !own[layer];
        config.layers[layer].mixer = attention;
    }
}

// A list wins over the number of leading dense layers.
void read_feed_forwards(const JsonFields& fields, ModelConfig& config) {
    constexpr std::string_view kKinds = "mlp_layer_types";
    if (!fields.has(kKinds)) return read_leading_dense_layers(fields, config);
    const std::vector<bool> dense = read_layer_words(fields, config, kKinds, fields.strings(kKinds), "dense", "sparse");
    for (size_t layer = 0; layer < dense.size(); ++layer) {
        if (dense[layer]) {
            config.layers[layer].feed_forward = read_dense_mlp(fields);
        } else {
            config.layers[layer].feed_forward = read_corrected_mixture(fields);
        }
    }
}

void read_glm_moe_dsa(const JsonFields& fields, ModelConfig& config) {
    require_string(fields, "scoring_func", {"sigmoid"});
    require_string(fields, "topk_method", {"noaux_tc"});
    read_deepseek_sizes(fields, config);
    read_mixers(fields, config);
    read_feed_forwards(fields, config);
}

}  // namespace

extern constinit const Architecture glm_moe_dsa_architecture = {
    .name = "glm_moe_dsa",
    .model_types = kModelTypes,
    .read = read_glm_moe_dsa,
    .names = kDeepseekNames,
};

}  // namespace sluice
