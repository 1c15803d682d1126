#include "checkpoint/architectures/qwen_hybrid.h"

#include <optional>

#include "checkpoint/architectures/reading.h"

namespace sluice {

namespace {

GatedDeltaNetConfig read_gated_delta_net(const JsonFields& fields) {
    GatedDeltaNetConfig net;
    net.key_heads = fields.integer("linear_num_key_heads", 1, kLargestSize);
    net.value_heads = fields.integer("linear_num_value_heads", 1, kLargestSize);
    net.key_dim = fields.integer("linear_key_head_dim", 1, kLargestSize);
    net.value_dim = fields.integer("linear_value_head_dim", 1, kLargestSize);
    net.kernel = fields.integer("linear_conv_kernel_dim", 2, 64);
    if (net.value_heads % net.key_heads != 0) {
        fields.reject(ErrorCode::kInvalidFile, "linear_num_key_heads", "{} does not divide linear_num_value_heads {}",
                      net.key_heads, net.value_heads);
    }
    return net;
}

// Every `full_attention_interval`th layer where no list says which.
std::vector<bool> full_attention_layers(const JsonFields& fields, const ModelConfig& config) {
    std::vector<bool> full = read_full_attention_layers(fields, config, "linear_attention");
    if (!full.empty()) return full;
    const int64_t interval = fields.integer_or("full_attention_interval", 4, 1, kMostLayers);
    for (int64_t layer = 0; layer < config.layer_count(); ++layer) full.push_back((layer + 1) % interval == 0);
    return full;
}

}  // namespace

void read_qwen_hybrid_mixers(const JsonFields& fields, ModelConfig& config) {
    refuse_true(fields, "mlp_bias");
    require_string(fields, "scoring_func", {"softmax"});
    refuse_true(fields, "attention_bias");
    refuse_true(fields, "use_sliding_window");
    read_sizes(fields, config);
    const std::vector<bool> full = full_attention_layers(fields, config);
    GroupedAttentionConfig attention = read_grouped_attention(fields, config, 0.25);
    attention.gated = fields.boolean_or("attn_output_gate", true);
    std::optional<GatedDeltaNetConfig> net;
    for (size_t layer = 0; layer < full.size(); ++layer) {
        if (full[layer]) {
            config.layers[layer].mixer = attention;
        } else {
            if (!net) net = read_gated_delta_net(fields);
            config.layers[layer].mixer = *net;
        }
    }
}

void read_gated_shared_expert(const JsonFields& fields, ModelConfig& config) {
    change_blocks<MixtureConfig>(config, [&](MixtureConfig& mixture) {
        mixture.shared_intermediate = fields.integer_or("shared_expert_intermediate_size", 0, 0, kLargestSize);
        mixture.shared_expert_gated = mixture.shared_intermediate > 0;
    });
}

}  // namespace sluice
