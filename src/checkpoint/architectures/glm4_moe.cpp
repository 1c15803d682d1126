// GLM-4.5, 4.5-Air, 4.6, 4.7: grouped attention over half of each head's dims rotated, DeepSeek-V3's routing.

#include <nlohmann/json.hpp>

#include "checkpoint/architecture.h"
#include "checkpoint/architectures/reading.h"
#include "checkpoint/gguf_config.h"

namespace sluice {

namespace {

constexpr std::string_view kModelTypes[] = {"glm4_moe"};
constexpr std::string_view kGgufArchitectures[] = {"glm4moe"};

constexpr GgufName kGgufNames[] = {{"post_attention_norm", Role::kFeedForwardNorm, GgufShape::kVector}};

constexpr NameRule kNames[] = {
    {Role::kRouterCorrection, "mlp.gate.e_score_correction_bias", true},
    {Role::kSharedGate, "mlp.shared_experts.gate_proj"},
    {Role::kSharedUp, "mlp.shared_experts.up_proj"},
    {Role::kSharedDown, "mlp.shared_experts.down_proj"},
};

void read_glm4_moe(const JsonFields& fields, ModelConfig& config) {
    refuse_true(fields, "mlp_bias");
    refuse_true(fields, "use_sliding_window");
    read_sizes(fields, config);
    GroupedAttentionConfig attention = read_grouped_attention(fields, config, 0.5);
    const bool normed = fields.boolean_or("use_qk_norm", false);
    attention.query_key_norm = normed ? QueryKeyNorm::kPerHead : QueryKeyNorm::kNone;
    attention.query_key_value_bias = fields.boolean_or("attention_bias", false);
    for (LayerConfig& layer : config.layers) layer.mixer = attention;
    read_leading_dense_layers(fields, config);
}

// Whether there are biases and norms in attention only the tensors say.
void write_glm4_moe(const GgufHyperparameters& from, nlohmann::json& config) {
    write_sizes(from, config);
    write_grouped_attention(from, config);
    write_experts(from, config);
    write_corrected_routing(from, config);
    from.require_number("expert_gating_func", 2);
    config["use_qk_norm"] = from.find_tensor("blk.0.attn_q_norm.weight") != nullptr;
    config["attention_bias"] = from.find_tensor("blk.0.attn_q.bias") != nullptr;
}

}  // namespace

extern constinit const Architecture glm4_moe_architecture = {
    .name = "glm4_moe",
    .model_types = kModelTypes,
    .read = read_glm4_moe,
    .names = kNames,
    .gguf = {.architectures = kGgufArchitectures, .write_config = write_glm4_moe, .names = kGgufNames},
};

}  // namespace sluice
