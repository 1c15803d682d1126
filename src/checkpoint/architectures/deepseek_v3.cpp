// DeepSeek-V3, R1, V3.1, Cogito v2, Kimi-K2 to K2.6: latent attention, corrected routing in groups, a plain shared
// expert. In GGUF also V2-Lite, whose routing is a softmax.

#include <nlohmann/json.hpp>

#include "checkpoint/architecture.h"
#include "checkpoint/architectures/deepseek_latent.h"
#include "checkpoint/architectures/reading.h"
#include "checkpoint/gguf_config.h"

namespace sluice {

namespace {

constexpr std::string_view kModelTypes[] = {"deepseek_v3", "kimi_k2", "kimi_k25"};
constexpr std::string_view kGgufArchitectures[] = {"deepseek2"};

constexpr GgufName kGgufNames[] = {
    {"attn_q_a", Role::kQueryLatent},
    {"attn_q_a_norm", Role::kQueryLatentNorm, GgufShape::kVector},
    {"attn_q_b", Role::kQueryFromLatent},
    {"attn_kv_a_mqa", Role::kKeyValueLatent},
    {"attn_kv_a_norm", Role::kKeyValueLatentNorm, GgufShape::kVector},
    {"attn_kv_b", Role::kKeyValueFromLatent},
    {"attn_k_b", Role::kKeyFold, GgufShape::kHeads},
    {"attn_v_b", Role::kValueUnfold, GgufShape::kHeads},
};

// DeepSeek-V2-Lite and those like it: the best of a softmax.
bool is_greedy(const JsonFields& fields) {
    return fields.string_or("scoring_func", "sigmoid") == "softmax";
}

void choose_by_softmax(const JsonFields& fields, ModelConfig& config) {
    if (fields.integer_or("n_group", 1, 1, kMostExperts) != 1) {
        fields.reject(ErrorCode::kUnsupported, "n_group", "groups are supported with sigmoid scores alone");
    }
    change_blocks<MixtureConfig>(config, [](MixtureConfig& mixture) {
        mixture.routing.score = Routing::Score::kSoftmax;
        mixture.routing.corrected = false;
    });
}

void read_deepseek_v3(const JsonFields& fields, ModelConfig& config) {
    require_string(fields, "scoring_func", {"sigmoid", "softmax"});
    require_string(fields, "topk_method", {is_greedy(fields) ? "greedy" : "noaux_tc"});
    read_deepseek_sizes(fields, config);
    const LatentAttentionConfig attention = read_latent_attention(fields, config);
    for (LayerConfig& layer : config.layers) layer.mixer = attention;
    read_leading_dense_layers(fields, config);
    if (is_greedy(fields)) choose_by_softmax(fields, config);
}

// Of files that were made before the halves of kv_b were stored apart, the plain lengths are those of a head.
void write_latent_attention(const GgufHyperparameters& from, nlohmann::json& config) {
    const bool split = from.has("attention.key_length_mla");
    const int64_t rope_dim = from.integer("rope.dimension_count");
    const int64_t key_dim = from.integer(split ? "attention.key_length_mla" : "attention.key_length");
    config["num_attention_heads"] = from.integer("attention.head_count");
    config["q_lora_rank"] = from.integer_or("attention.q_lora_rank", 0);
    config["kv_lora_rank"] = from.integer("attention.kv_lora_rank");
    config["qk_rope_head_dim"] = rope_dim;
    config["qk_nope_head_dim"] = key_dim - rope_dim;
    config["v_head_dim"] = from.integer(split ? "attention.value_length_mla" : "attention.value_length");
    write_rotary(from, config);
}

void write_deepseek_v3(const GgufHyperparameters& from, nlohmann::json& config) {
    constexpr int64_t kSigmoid = 2;
    write_sizes(from, config);
    write_latent_attention(from, config);
    write_experts(from, config);
    write_corrected_routing(from, config);
    config["scoring_func"] = from.integer_or("expert_gating_func", 1) == kSigmoid ? "sigmoid" : "softmax";
    if (config["scoring_func"] == "softmax") config["topk_method"] = "greedy";
}

}  // namespace

extern constinit const Architecture deepseek_v3_architecture = {
    .name = "deepseek_v3",
    .model_types = kModelTypes,
    .read = read_deepseek_v3,
    .names = kDeepseekNames,
    .gguf = {.architectures = kGgufArchitectures, .write_config = write_deepseek_v3, .names = kGgufNames},
};

}  // namespace sluice
