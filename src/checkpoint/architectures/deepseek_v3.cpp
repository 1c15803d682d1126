// DeepSeek-V3, R1, V3.1, Cogito v2, Kimi-K2: latent attention, corrected routing in groups, a plain shared expert.

#include "checkpoint/architecture.h"
#include "checkpoint/architectures/reading.h"
#include "checkpoint/rotary_config.h"

namespace sluice {

namespace {

constexpr std::string_view kModelTypes[] = {"deepseek_v3", "kimi_k2"};

constexpr NameRule kNames[] = {
    {Role::kQueryLatent, "self_attn.q_a_proj"},
    {Role::kQueryLatentBias, "self_attn.q_a_proj.bias", true},
    {Role::kQueryLatentNorm, "self_attn.q_a_layernorm"},
    {Role::kQueryFromLatent, "self_attn.q_b_proj"},
    {Role::kKeyValueLatent, "self_attn.kv_a_proj_with_mqa"},
    {Role::kKeyValueLatentBias, "self_attn.kv_a_proj_with_mqa.bias", true},
    {Role::kKeyValueLatentNorm, "self_attn.kv_a_layernorm"},
    {Role::kKeyValueFromLatent, "self_attn.kv_b_proj"},
    {Role::kKeyFold, "self_attn.embed_q"},
    {Role::kValueUnfold, "self_attn.unembed_out"},
    {Role::kRouterCorrection, "mlp.gate.e_score_correction_bias", true},
    {Role::kSharedGate, "mlp.shared_experts.gate_proj"},
    {Role::kSharedUp, "mlp.shared_experts.up_proj"},
    {Role::kSharedDown, "mlp.shared_experts.down_proj"},
};

LatentAttentionConfig read_latent_attention(const JsonFields& fields, const ModelConfig& config) {
    LatentAttentionConfig attention;
    attention.heads = fields.integer("num_attention_heads", 1, kLargestSize);
    attention.query_rank = fields.integer_or("q_lora_rank", 0, 0, kLargestSize);
    attention.key_value_rank = fields.integer("kv_lora_rank", 1, kLargestSize);
    attention.nope_dim = fields.integer("qk_nope_head_dim", 1, kLargestSize);
    attention.rope_dim = fields.integer("qk_rope_head_dim", 2, kLargestSize);
    attention.value_dim = fields.integer("v_head_dim", 1, kLargestSize);
    attention.projection_bias = fields.boolean_or("attention_bias", false);
    if (attention.rope_dim % 2 != 0) {
        fields.reject(ErrorCode::kInvalidFile, "qk_rope_head_dim", "{} is odd", attention.rope_dim);
    }
    attention.rotary = read_rotary(fields, attention.rope_dim, config.max_positions);
    attention.rotary.interleaved = fields.boolean_or("rope_interleave", true);
    return attention;
}

void read_deepseek_v3(const JsonFields& fields, ModelConfig& config) {
    refuse_true(fields, "mlp_bias");
    require_string(fields, "scoring_func", {"sigmoid"});
    require_string(fields, "topk_method", {"noaux_tc"});
    refuse_true(fields, "use_sliding_window");
    if (fields.integer_or("moe_layer_freq", 1, 1, kMostLayers) != 1) {
        fields.reject(ErrorCode::kUnsupported, "moe_layer_freq", "only 1 is supported");
    }
    read_sizes(fields, config);
    const LatentAttentionConfig attention = read_latent_attention(fields, config);
    for (LayerConfig& layer : config.layers) layer.mixer = attention;
    read_leading_dense_layers(fields, config);
}

}  // namespace

extern constinit const Architecture deepseek_v3_architecture = {
    .name = "deepseek_v3",
    .model_types = kModelTypes,
    .read = read_deepseek_v3,
    .names = kNames,
};

}  // namespace sluice
