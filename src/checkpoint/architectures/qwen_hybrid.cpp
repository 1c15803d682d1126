#include "checkpoint/architectures/qwen_hybrid.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "checkpoint/architectures/reading.h"
#include "checkpoint/gguf_config.h"

namespace sluice {

namespace {

GatedDeltaNetConfig read_gated_delta_net(const JsonFields& fields) {
    GatedDeltaNetConfig net;
    net.key_heads = fields.integer("linear_num_key_heads", 1, kLargestSize);
    net.value_heads = fields.integer("linear_num_value_heads", 1, kLargestSize);
    net.key_dim = fields.integer("linear_key_head_dim", 1, kLargestSize);
    net.value_dim = fields.integer("linear_value_head_dim", 1, kLargestSize);
    net.kernel = fields.integer("linear_conv_kernel_dim", 2, 64);
    net.tiled_value_heads = fields.boolean_or("linear_value_heads_tiled", false);
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

// A list in the file wins over the interval.
nlohmann::json layer_types(const GgufHyperparameters& from, int64_t layers) {
    constexpr std::string_view kRecurrent = "attention.recurrent_layers";
    const std::vector<bool> recurrent = from.header().booleans(from.key(kRecurrent));
    if (!recurrent.empty() && static_cast<int64_t>(recurrent.size()) < layers) {
        from.header().reject(ErrorCode::kInvalidFile, from.key(kRecurrent), "{} items for {} layers", recurrent.size(),
                             layers);
    }
    const int64_t interval = from.integer_or("full_attention_interval", 4);
    if (interval < 1) {
        from.header().reject(ErrorCode::kInvalidFile, from.key("full_attention_interval"), "{} is below 1", interval);
    }
    nlohmann::json types = nlohmann::json::array();
    for (int64_t layer = 0; layer < std::min(layers, kMostLayers); ++layer) {
        const bool linear =
            recurrent.empty() ? (layer + 1) % interval != 0 : static_cast<bool>(recurrent[static_cast<size_t>(layer)]);
        types.push_back(linear ? "linear_attention" : "full_attention");
    }
    return types;
}

}  // namespace

void write_qwen_hybrid(const GgufHyperparameters& from, nlohmann::json& config) {
    write_sizes(from, config);
    write_grouped_attention(from, config);
    write_experts(from, config);
    from.require_number("expert_weights_scale", 1.0);
    config["moe_intermediate_size"] = expert_intermediate(from);
    config["shared_expert_intermediate_size"] = from.integer_or("expert_shared_feed_forward_length", 0);
    config["norm_topk_prob"] = true;
    config["layer_types"] = layer_types(from, from.layers());
    const int64_t value_heads = from.integer("ssm.time_step_rank");
    const int64_t value_width = from.integer("ssm.inner_size");
    if (value_heads < 1 || value_width % value_heads != 0) {
        from.header().reject(ErrorCode::kInvalidFile, from.key("ssm.time_step_rank"),
                             "{} does not divide ssm.inner_size {}", value_heads, value_width);
    }
    config["linear_num_key_heads"] = from.integer("ssm.group_count");
    config["linear_num_value_heads"] = value_heads;
    config["linear_key_head_dim"] = from.integer("ssm.state_size");
    config["linear_value_head_dim"] = value_width / value_heads;
    config["linear_conv_kernel_dim"] = from.integer("ssm.conv_kernel");
}

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
