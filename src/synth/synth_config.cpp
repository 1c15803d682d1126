#include <algorithm>
#include <nlohmann/json.hpp>

#include "synth/synth_presets.h"

namespace sluice {

namespace {

using Json = nlohmann::ordered_json;

Json shared_settings(const ModelConfig& config) {
    return {{"attention_bias", false},
            {"attention_dropout", 0.0},
            {"bos_token_id", nullptr},
            {"eos_token_id", nullptr},
            {"hidden_act", "silu"},
            {"hidden_size", config.hidden_size},
            {"initializer_range", 0.02},
            {"max_position_embeddings", config.max_positions},
            {"moe_intermediate_size", config.expert_intermediate},
            {"num_attention_heads", config.heads},
            {"num_experts_per_tok", config.experts_per_token},
            {"num_hidden_layers", config.layers},
            {"num_key_value_heads", config.kv_heads},
            {"rms_norm_eps", config.rms_norm_epsilon},
            {"tie_word_embeddings", config.tied_embeddings},
            {"use_cache", true},
            {"vocab_size", config.vocabulary}};
}

Json qwen3_moe_settings(const ModelConfig& config) {
    Json json = shared_settings(config);
    json["decoder_sparse_step"] = 1;
    json["head_dim"] = config.head_dim;
    json["intermediate_size"] = config.dense_intermediate;
    json["mlp_only_layers"] = Json::array();
    json["norm_topk_prob"] = config.normalize_top_k;
    json["num_experts"] = config.experts;
    json["output_router_logits"] = false;
    json["rope_scaling"] = nullptr;
    json["rope_theta"] = config.rotary.theta;
    json["router_aux_loss_coef"] = 0.001;
    json["sliding_window"] = nullptr;
    json["use_sliding_window"] = false;
    json["torch_dtype"] = "bfloat16";
    return json;
}

void add_linear_attention(Json& json, const ModelConfig& config) {
    json["linear_conv_kernel_dim"] = config.linear_conv_kernel;
    json["linear_key_head_dim"] = config.linear_key_dim;
    json["linear_num_key_heads"] = config.linear_key_heads;
    json["linear_num_value_heads"] = config.linear_value_heads;
    json["linear_value_head_dim"] = config.linear_value_dim;
    json["shared_expert_intermediate_size"] = config.shared_intermediate;
}

double partial_rotary(const ModelConfig& config) {
    return static_cast<double>(config.rotary.dims) / static_cast<double>(config.head_dim);
}

Json qwen3_next_settings(const SynthShape& shape) {
    Json json = qwen3_moe_settings(shape.config);
    add_linear_attention(json, shape.config);
    json["full_attention_interval"] = shape.full_attention_interval;
    json["partial_rotary_factor"] = partial_rotary(shape.config);
    return json;
}

// The text settings of Qwen3.5 stand one level down, beside the vision tower's (which a synthetic one lacks).
Json qwen3_5_settings(const SynthShape& shape) {
    const ModelConfig& config = shape.config;
    Json text = shared_settings(config);
    add_linear_attention(text, config);
    text["model_type"] = "qwen3_5_moe_text";
    text["dtype"] = "bfloat16";
    text["head_dim"] = config.head_dim;
    text["num_experts"] = config.experts;
    text["full_attention_interval"] = shape.full_attention_interval;
    Json types = Json::array();
    for (const MixerKind mixer : config.mixers) {
        types.push_back(mixer == MixerKind::kFullAttention ? "full_attention" : "linear_attention");
    }
    text["layer_types"] = types;
    // A third of the rotary pairs for each of time, height and width; the rest goes to time.
    const int64_t third = config.rotary.dims / 6;
    const int64_t time = config.rotary.dims / 2 - 2 * third;
    text["rope_parameters"] = {{"mrope_interleaved", true},
                               {"mrope_section", {time, third, third}},
                               {"partial_rotary_factor", partial_rotary(config)},
                               {"rope_theta", config.rotary.theta},
                               {"rope_type", "default"}};
    return {{"text_config", text}, {"tie_word_embeddings", config.tied_embeddings}};
}

Json deepseek_settings(const ModelConfig& config) {
    Json json = shared_settings(config);
    const auto dense = std::count(config.feed_forwards.begin(), config.feed_forwards.end(), FeedForwardKind::kDense);
    json["first_k_dense_replace"] = dense;
    json["intermediate_size"] = config.dense_intermediate;
    json["kv_lora_rank"] = config.kv_lora_rank;
    json["moe_layer_freq"] = 1;
    json["n_group"] = config.expert_groups;
    json["n_routed_experts"] = config.experts;
    json["n_shared_experts"] = config.shared_intermediate / config.expert_intermediate;
    json["norm_topk_prob"] = config.normalize_top_k;
    json["num_nextn_predict_layers"] = 0;
    json["q_lora_rank"] = config.q_lora_rank;
    json["qk_nope_head_dim"] = config.qk_nope_head_dim;
    json["qk_rope_head_dim"] = config.qk_rope_head_dim;
    json["rope_scaling"] = {{"beta_fast", config.rotary.beta_fast},
                            {"beta_slow", config.rotary.beta_slow},
                            {"factor", config.rotary.factor},
                            {"mscale", config.rotary.mscale},
                            {"mscale_all_dim", config.rotary.mscale_all_dim},
                            {"original_max_position_embeddings", config.rotary.original_positions},
                            {"type", "yarn"}};
    json["rope_theta"] = config.rotary.theta;
    json["routed_scaling_factor"] = config.routed_scaling_factor;
    json["scoring_func"] = "sigmoid";
    json["topk_group"] = config.expert_groups_kept;
    json["topk_method"] = "noaux_tc";
    json["torch_dtype"] = "bfloat16";
    json["v_head_dim"] = config.v_head_dim;
    return json;
}

std::string class_name(Architecture architecture) {
    switch (architecture) {
        case Architecture::kQwen3Moe:
            return "Qwen3MoeForCausalLM";
        case Architecture::kQwen3Next:
            return "Qwen3NextForCausalLM";
        case Architecture::kQwen35Moe:
            return "Qwen3_5MoeForConditionalGeneration";
        case Architecture::kDeepseekV3:
            return "DeepseekV3ForCausalLM";
    }
    return {};
}

Json settings(const SynthShape& shape) {
    switch (shape.config.architecture) {
        case Architecture::kQwen3Next:
            return qwen3_next_settings(shape);
        case Architecture::kQwen35Moe:
            return qwen3_5_settings(shape);
        case Architecture::kDeepseekV3:
            return deepseek_settings(shape.config);
        case Architecture::kQwen3Moe:
            break;
    }
    return qwen3_moe_settings(shape.config);
}

// MLX's table, with the gates it keeps at 8 bits.
Json affine_table(const ModelConfig& config, int bits) {
    Json table = {{"group_size", 64}, {"bits", bits}, {"mode", "affine"}};
    if (config.architecture == Architecture::kDeepseekV3 || bits == 8) return table;
    const std::string prefix = config.architecture == Architecture::kQwen35Moe ? "language_model." : "";
    for (int64_t layer = 0; layer < config.layers; ++layer) {
        const std::string path = prefix + "model.layers." + std::to_string(layer) + ".mlp.";
        const Json eight_bits = {{"group_size", 64}, {"bits", 8}};
        table[path + "gate"] = eight_bits;
        if (config.shared_expert_gated) table[path + "shared_expert_gate"] = eight_bits;
    }
    return table;
}

}  // namespace

std::string synth_config_json(const SynthShape& shape, SynthEncoding encoding) {
    Json json = {{"architectures", {class_name(shape.config.architecture)}}, {"model_type", shape.config.model_type}};
    json.update(settings(shape));
    if (encoding == SynthEncoding::kAffine4 || encoding == SynthEncoding::kAffine8) {
        json["quantization"] = affine_table(shape.config, encoding == SynthEncoding::kAffine4 ? 4 : 8);
        json["quantization_config"] = json["quantization"];
    } else if (encoding == SynthEncoding::kFp8) {
        json["quantization_config"] = {{"activation_scheme", "dynamic"},
                                       {"fmt", "e4m3"},
                                       {"quant_method", "fp8"},
                                       {"weight_block_size", {128, 128}}};
    }
    return json.dump(2) + "\n";
}

}  // namespace sluice
