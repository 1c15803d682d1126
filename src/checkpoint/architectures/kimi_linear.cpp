// Kimi-Linear: Kimi Delta Attention, whose state fades channel by channel, and latent attention without positions.

#include <algorithm>
#include <iterator>
#include <vector>

#include "checkpoint/architecture.h"
#include "checkpoint/architectures/deepseek_latent.h"
#include "checkpoint/architectures/reading.h"

namespace sluice {

namespace {

constexpr std::string_view kModelTypes[] = {"kimi_linear"};

constexpr NameRule kNames[] = {
    {Role::kQueryLatent, "self_attn.q_a_proj"},
    {Role::kQueryLatentNorm, "self_attn.q_a_layernorm"},
    {Role::kQueryFromLatent, "self_attn.q_b_proj"},
    {Role::kKeyValueLatent, "self_attn.kv_a_proj_with_mqa"},
    {Role::kKeyValueLatentNorm, "self_attn.kv_a_layernorm"},
    {Role::kKeyValueFromLatent, "self_attn.kv_b_proj"},
    {Role::kKeyFold, "self_attn.embed_q"},
    {Role::kValueUnfold, "self_attn.unembed_out"},
    {Role::kRouter, "block_sparse_moe.gate"},
    {Role::kRouterCorrection, "block_sparse_moe.gate.e_score_correction_bias", true},
    {Role::kSharedGate, "block_sparse_moe.shared_experts.gate_proj"},
    {Role::kSharedUp, "block_sparse_moe.shared_experts.up_proj"},
    {Role::kSharedDown, "block_sparse_moe.shared_experts.down_proj"},
};

constexpr CorrectedRoutingFields kRouting = {
    .groups = "num_expert_group", .shared_experts = "num_shared_experts", .normalize = "moe_renormalize"};

LatentAttentionConfig read_full_attention(const JsonFields& fields, const ModelConfig& config) {
    if (!fields.boolean_or("mla_use_nope", false)) return read_latent_attention(fields, config);
    return read_latent_heads(fields);
}

// The two lists count from 1 and are of all layers together.
std::vector<bool> read_full_layers(const JsonFields& lists, const ModelConfig& config) {
    std::vector<bool> full(config.layers.size()), named(config.layers.size());
    for (const std::string_view name : {"kda_layers", "full_attn_layers"}) {
        for (const int64_t number : lists.integers(name)) {
            if (number < 1 || number > config.layer_count()) {
                lists.reject(ErrorCode::kInvalidFile, name, "{} is not a layer from 1 to {}", number,
                             config.layer_count());
            }
            const auto layer = static_cast<size_t>(number - 1);
            if (named[layer]) lists.reject(ErrorCode::kInvalidFile, name, "layer {} is named twice", number);
            named[layer] = true;
            full[layer] = name == "full_attn_layers";
        }
    }
    const auto missing = std::find(named.begin(), named.end(), false);
    if (missing != named.end()) {
        lists.reject(ErrorCode::kInvalidFile, "kda_layers", "layer {} is in neither list",
                     std::distance(named.begin(), missing) + 1);
    }
    return full;
}

void read_kimi_linear(const JsonFields& fields, ModelConfig& config) {
    require_string(fields, "moe_router_activation_func", {"sigmoid"});
    read_deepseek_sizes(fields, config);
    const JsonFields linear = delta_attention_fields(fields);
    const GatedDeltaNetConfig net = read_delta_attention(linear);
    const LatentAttentionConfig attention = read_full_attention(fields, config);
    const std::vector<bool> full = read_full_layers(linear, config);
    for (size_t layer = 0; layer < full.size(); ++layer) {
        if (full[layer]) {
            config.layers[layer].mixer = attention;
        } else {
            config.layers[layer].mixer = net;
        }
    }
    read_leading_dense_layers(fields, config, kRouting);
}

}  // namespace

extern constinit const Architecture kimi_linear_architecture = {
    .name = "kimi_linear",
    .model_types = kModelTypes,
    .read = read_kimi_linear,
    .names = kNames,
    .experts = {.each = "block_sparse_moe.experts.",
                .stacked = "block_sparse_moe.switch_mlp.",
                .projections = {"w1", "w3", "w2"}},
};

}  // namespace sluice
