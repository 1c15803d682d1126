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

Routing read_group_routing(const JsonFields& fields, const MixtureConfig& mixture) {
    Routing routing = mixture.routing;
    routing.score = Routing::Score::kSigmoid;
    routing.corrected = true;
    routing.groups = fields.integer("n_group", 1, mixture.experts);
    routing.groups_kept = fields.integer("topk_group", 1, routing.groups);
    routing.scale = fields.number("routed_scaling_factor");
    if (mixture.experts % routing.groups != 0) {
        fields.reject(ErrorCode::kInvalidFile, "n_group", "{} does not divide the {} experts", routing.groups,
                      mixture.experts);
    }
    const int64_t in_group = mixture.experts / routing.groups;
    if (routing.groups > 1 && in_group < 2) {
        fields.reject(ErrorCode::kInvalidFile, "n_group", "{} groups of one expert: a group's score needs two",
                      routing.groups);
    }
    if (mixture.experts_per_token > in_group * routing.groups_kept) {
        fields.reject(ErrorCode::kInvalidFile, "topk_group", "{} groups of {} experts hold fewer than {} per token",
                      routing.groups_kept, in_group, mixture.experts_per_token);
    }
    return routing;
}

MixtureConfig read_corrected_mixture(const JsonFields& fields) {
    MixtureConfig mixture = read_mixture(fields, "moe_intermediate_size", true);
    mixture.shared_intermediate = fields.integer_or("n_shared_experts", 0, 0, kMostExperts) * mixture.intermediate;
    mixture.routing = read_group_routing(fields, mixture);
    return mixture;
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
    const auto dense = static_cast<size_t>(fields.integer_or("first_k_dense_replace", 0, 0, config.layer_count()));
    if (dense > 0) {
        const DenseMlpConfig mlp = read_dense_mlp(fields);
        for (size_t layer = 0; layer < dense; ++layer) config.layers[layer].feed_forward = mlp;
    }
    if (dense == config.layers.size()) return;
    const MixtureConfig mixture = read_corrected_mixture(fields);
    for (size_t layer = dense; layer < config.layers.size(); ++layer) config.layers[layer].feed_forward = mixture;
}

}  // namespace

extern constinit const Architecture deepseek_v3_architecture = {
    .name = "deepseek_v3",
    .model_types = kModelTypes,
    .read = read_deepseek_v3,
    .names = kNames,
};

}  // namespace sluice
