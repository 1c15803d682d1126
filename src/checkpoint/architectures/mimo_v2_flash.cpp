// MiMo-V2-Flash: windows with sinks and more heads of keys in most layers, values narrower than keys, DeepSeek-V3's
// routing without shared experts.

#include "checkpoint/architecture.h"
#include "checkpoint/architectures/reading.h"
#include "checkpoint/rotary_config.h"

namespace sluice {

namespace {

constexpr std::string_view kModelTypes[] = {"mimo_v2_flash"};

constexpr NameRule kNames[] = {
    {Role::kSinks, "self_attn.attention_sink_bias", true},
    {Role::kRouterCorrection, "mlp.gate.e_score_correction_bias", true},
};

// One for each layer: 0 or 1 as published, 1 for the first of two words, or the words, which later configs have.
std::vector<bool> read_pattern(const JsonFields& fields, const ModelConfig& config, std::string_view name,
                               std::string_view words_name, std::string_view first, std::string_view second) {
    if (!fields.has(name) && fields.has(words_name)) {
        return read_layer_words(fields, config, words_name, fields.strings(words_name), first, second);
    }
    const std::vector<int64_t> values = fields.integers(name);
    if (values.size() != config.layers.size()) {
        fields.reject(ErrorCode::kInvalidFile, name, "{} entries, but num_hidden_layers is {}", values.size(),
                      config.layers.size());
    }
    std::vector<bool> pattern;
    for (const int64_t value : values) {
        if (value != 0 && value != 1) fields.reject(ErrorCode::kInvalidFile, name, "{} is neither 0 nor 1", value);
        pattern.push_back(value == 1);
    }
    return pattern;
}

GroupedAttentionConfig read_full_layers(const JsonFields& fields, const ModelConfig& config) {
    GroupedAttentionConfig attention = read_attention_heads(fields, config);
    attention.rotary = read_rotary_of_layers(fields, "full_attention", attention.head_dim, config.max_positions);
    attention.query_key_norm = QueryKeyNorm::kNone;
    attention.value_dim = fields.integer_or("v_head_dim", attention.head_dim, 1, kLargestSize);
    attention.value_scale = fields.number_or("attention_value_scale", 1.0);
    attention.sinks = fields.boolean_or("add_full_attention_sink_bias", false);
    return attention;
}

// What windows have in fields of their own; twice the keys' heads where they do not say.
GroupedAttentionConfig read_window_layers(const JsonFields& fields, const ModelConfig& config,
                                          GroupedAttentionConfig attention) {
    attention.heads = fields.integer_or("swa_num_attention_heads", attention.heads, 1, kLargestSize);
    attention.kv_heads = fields.integer_or("swa_num_key_value_heads", 2 * attention.kv_heads, 1, kLargestSize);
    if (attention.heads % attention.kv_heads != 0) {
        fields.reject(ErrorCode::kInvalidFile, "swa_num_key_value_heads", "{} does not divide {} heads",
                      attention.kv_heads, attention.heads);
    }
    attention.head_dim = fields.integer_or("swa_head_dim", attention.head_dim, 1, kLargestSize);
    attention.value_dim = fields.integer_or("swa_v_head_dim", attention.value_dim, 1, kLargestSize);
    attention.sinks = fields.boolean_or("add_swa_attention_sink_bias", true);
    attention.rotary = read_rotary_of_layers(fields, "sliding_attention", attention.head_dim, config.max_positions);
    attention.rotary.theta = fields.number_or("swa_rope_theta", attention.rotary.theta);
    if (attention.rotary.theta <= 1.0) {
        fields.reject(ErrorCode::kInvalidFile, "swa_rope_theta", "{} is not above 1", attention.rotary.theta);
    }
    attention.window = fields.integer("sliding_window", 1, config.max_positions);
    return attention;
}

void read_mimo_v2_flash(const JsonFields& fields, ModelConfig& config) {
    refuse_true(fields, "attention_bias");
    require_string(fields, "scoring_func", {"sigmoid"});
    require_string(fields, "topk_method", {"noaux_tc"});
    read_sizes(fields, config);
    config.rms_norm_epsilon = read_epsilon(fields, "layernorm_epsilon", config.rms_norm_epsilon);
    const GroupedAttentionConfig full = read_full_layers(fields, config);
    const GroupedAttentionConfig window = read_window_layers(fields, config, full);
    const MixtureConfig mixture = read_corrected_mixture(fields, 1.0);
    const std::vector<bool> windows =
        read_pattern(fields, config, "hybrid_layer_pattern", "layer_types", "sliding_attention", "full_attention");
    const std::vector<bool> sparse =
        read_pattern(fields, config, "moe_layer_freq", "mlp_layer_types", "sparse", "dense");
    for (size_t layer = 0; layer < config.layers.size(); ++layer) {
        config.layers[layer].mixer = windows[layer] ? window : full;
        if (sparse[layer]) {
            config.layers[layer].feed_forward = mixture;
        } else {
            config.layers[layer].feed_forward = read_dense_mlp(fields);
        }
    }
}

}  // namespace

extern constinit const Architecture mimo_v2_flash_architecture = {
    .name = "mimo_v2_flash",
    .model_types = kModelTypes,
    .read = read_mimo_v2_flash,
    .names = kNames,
};

}  // namespace sluice
