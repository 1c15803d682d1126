// Step-3.5-Flash, and Step-3.7-Flash without its eyes: windows with more heads in three of four layers, a gate for each
// head, corrected routing, an activation that is cut in the last layers.

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "checkpoint/architecture.h"
#include "checkpoint/architectures/reading.h"
#include "checkpoint/rotary_config.h"

namespace sluice {

namespace {

constexpr std::string_view kModelTypes[] = {"step3p5", "step3p7"};

// As published; then as MLX writes them.
constexpr NameRule kNames[] = {
    {Role::kHeadGate, "self_attn.g_proj"},
    {Role::kRouter, "moe.gate"},
    {Role::kRouter, "mlp.gate.gate"},
    {Role::kRouterCorrection, "moe.router_bias", true},
    {Role::kRouterCorrection, "mlp.gate.router_bias", true},
    {Role::kSharedGate, "share_expert.gate_proj"},
    {Role::kSharedGate, "mlp.share_expert.gate_proj"},
    {Role::kSharedUp, "share_expert.up_proj"},
    {Role::kSharedUp, "mlp.share_expert.up_proj"},
    {Role::kSharedDown, "share_expert.down_proj"},
    {Role::kSharedDown, "mlp.share_expert.down_proj"},
};

constexpr double kDefaultTheta = 1e4, kDefaultEpsilon = 1e-5;
constexpr size_t kDenseLayers = 3;  // where the config does not say which they are

// The field under the first of its names that is there.
std::string_view present(const JsonFields& fields, std::string_view name, std::string_view other) {
    return !fields.has(name) && fields.has(other) ? other : name;
}

// What a list says of a layer, or one value of all; lists go on with layers that predict several tokens.
double number_of_layer(const JsonFields& fields, std::string_view name, size_t layer, double fallback) {
    if (!fields.has(name)) return fallback;
    const nlohmann::json& value = fields.raw()[std::string(name)];
    if (!value.is_array()) return fields.number(name);
    if (layer >= value.size() || !(value[layer].is_number() || value[layer].is_null())) {
        fields.reject(ErrorCode::kInvalidFile, name, "there is no number for layer {}", layer);
    }
    return value[layer].is_null() ? fallback : value[layer].get<double>();
}

// Whether each layer is of the first of two kinds; nothing where the config does not list them.
std::vector<bool> read_kinds(const JsonFields& fields, const ModelConfig& config, std::string_view name,
                             std::string_view first, std::string_view second) {
    std::vector<std::string> words = fields.strings(name);
    if (words.empty()) return {};
    if (words.size() > config.layers.size()) words.resize(config.layers.size());
    return read_layer_words(fields, config, name, words, first, second);
}

std::vector<bool> read_experts_layers(const JsonFields& fields, const ModelConfig& config) {
    std::vector<bool> sparse = read_kinds(fields, config, "mlp_layer_types", "sparse", "dense");
    if (!sparse.empty()) return sparse;
    const int64_t layers = config.layer_count();
    const auto dense = std::min<int64_t>(kDenseLayers, layers - 1);
    const int64_t first = fields.integer_or("first_k_dense_replace", dense, 0, layers);
    for (int64_t layer = 0; layer < layers; ++layer) sparse.push_back(layer >= first);
    constexpr std::string_view kListed = "moe_layers_enum";
    if (!fields.has(kListed)) return sparse;
    // "3,4,5"
    const nlohmann::json& listed = fields.raw()[std::string(kListed)];
    const nlohmann::json numbers =
        listed.is_string() ? parse_json(fmt::format("[{}]", listed.get<std::string>()), fields.label()) : listed;
    sparse.assign(sparse.size(), false);
    for (const nlohmann::json& number : numbers) {
        if (!number.is_number_integer() || number.get<int64_t>() < 0) {
            fields.reject(ErrorCode::kInvalidFile, kListed, "it is no list of layers");
        }
        if (number.get<int64_t>() < layers) sparse[number.get<size_t>()] = true;
    }
    return sparse;
}

// Only layers that see everything have their positions stretched.
RotaryConfig read_rotary_of(const JsonFields& fields, const ModelConfig& config, size_t layer, bool full,
                            int64_t head_dim) {
    const double factor = number_of_layer(fields, "partial_rotary_factors", layer, 1.0);
    if (factor <= 0.0 || factor > 1.0) {
        fields.reject(ErrorCode::kInvalidFile, "partial_rotary_factors", "{} is not above 0 and up to 1", factor);
    }
    const auto dims = static_cast<int64_t>(static_cast<double>(head_dim) * factor);
    if (dims % 2 != 0) fields.reject(ErrorCode::kInvalidFile, "partial_rotary_factors", "{} dims are odd", dims);
    nlohmann::json own = {{"rope_theta", number_of_layer(fields, "rope_theta", layer, kDefaultTheta)}};
    if (full && fields.has("rope_scaling")) own["rope_scaling"] = fields.raw()["rope_scaling"];
    return read_rotary(JsonFields(own, fields.label()), dims, config.max_positions);
}

void require_shared_heads(const JsonFields& fields, std::string_view name, const GroupedAttentionConfig& attention) {
    if (attention.heads % attention.kv_heads == 0) return;
    fields.reject(ErrorCode::kInvalidFile, name, "{} does not divide {} heads", attention.kv_heads, attention.heads);
}

GroupedAttentionConfig read_full_layers(const JsonFields& fields, const ModelConfig& config) {
    constexpr std::string_view kGroups = "num_attention_groups";
    GroupedAttentionConfig attention = read_attention_heads(fields, config);
    attention.kv_heads = fields.integer_or(kGroups, attention.kv_heads, 1, kLargestSize);
    require_shared_heads(fields, kGroups, attention);
    attention.head_gates = fields.boolean_or("use_head_wise_attn_gate", true);
    return attention;
}

GroupedAttentionConfig read_window_layers(const JsonFields& fields, const ModelConfig& config,
                                          GroupedAttentionConfig attention) {
    constexpr std::string_view kOther = "attention_other_setting";
    attention.window = fields.integer("sliding_window", 1, config.max_positions);
    attention.heads = fields.integer_or("num_sliding_attention_heads", attention.heads, 1, kLargestSize);
    if (const std::optional<JsonFields> other = fields.object(kOther)) {
        attention.heads = other->integer_or("num_attention_heads", attention.heads, 1, kLargestSize);
        attention.kv_heads = other->integer_or("num_attention_groups", attention.kv_heads, 1, kLargestSize);
        attention.head_dim = other->integer_or("head_dim", attention.head_dim, 1, kLargestSize);
    }
    require_shared_heads(fields, kOther, attention);
    return attention;
}

ActivationConfig cut_above(const JsonFields& fields, std::string_view name, size_t layer) {
    return {.limit = number_of_layer(fields, name, layer, 0.0), .limit_after = true};
}

MixtureConfig read_experts(const JsonFields& fields) {
    MixtureConfig mixture;
    mixture.experts = fields.integer(present(fields, "moe_num_experts", "num_experts"), 1, kMostExperts);
    mixture.experts_per_token = fields.integer(present(fields, "moe_top_k", "num_experts_per_tok"), 1, mixture.experts);
    mixture.intermediate = fields.integer("moe_intermediate_size", 1, kLargestSize);
    mixture.shared_intermediate = fields.integer("share_expert_dim", 1, kLargestSize);
    mixture.routing = {.score = Routing::Score::kSigmoid,
                       .corrected = fields.boolean_or("use_moe_router_bias", true),
                       .normalize = fields.boolean_or("norm_expert_weight", true),
                       .scale = fields.number_or("moe_router_scaling_factor", 1.0)};
    return mixture;
}

void read_step3p7(const JsonFields& fields, ModelConfig& config) {
    refuse_true(fields, "attention_bias");
    refuse_true(fields, "mlp_bias");
    require_string(fields, "hidden_act", {"silu"});
    require_string(fields, present(fields, "moe_router_activation", "scoring_func"), {"sigmoid"});
    read_sizes(fields, config);
    config.rms_norm_epsilon = read_epsilon(fields, "rms_norm_eps", kDefaultEpsilon);
    const GroupedAttentionConfig full = read_full_layers(fields, config);
    std::vector<bool> is_full = read_kinds(fields, config, "layer_types", "full_attention", "sliding_attention");
    is_full.resize(config.layers.size(), is_full.empty());
    const bool windows = std::ranges::find(is_full, false) != is_full.end();
    const GroupedAttentionConfig window = windows ? read_window_layers(fields, config, full) : full;
    const std::vector<bool> sparse = read_experts_layers(fields, config);
    for (size_t layer = 0; layer < config.layers.size(); ++layer) {
        GroupedAttentionConfig attention = is_full[layer] ? full : window;
        attention.rotary = read_rotary_of(fields, config, layer, is_full[layer], attention.head_dim);
        config.layers[layer].mixer = attention;
        const ActivationConfig shared = cut_above(fields, "swiglu_limits_shared", layer);
        if (sparse[layer]) {
            MixtureConfig mixture = read_experts(fields);
            mixture.activation = cut_above(fields, "swiglu_limits", layer);
            mixture.shared_activation = shared;
            config.layers[layer].feed_forward = mixture;
        } else {
            config.layers[layer].feed_forward = DenseMlpConfig{
                .intermediate = fields.integer("intermediate_size", 1, kLargestSize), .activation = shared};
        }
    }
}

}  // namespace

extern constinit const Architecture step3p7_architecture = {
    .name = "step3p7",
    .model_types = kModelTypes,
    .read = read_step3p7,
    .names = kNames,
    .experts = {.each = "moe.experts.", .stacked = "moe.", .also_stacked = "mlp.switch_mlp."},
    .norms = NormStorage::kOffset,
};

}  // namespace sluice
