#include <algorithm>
#include <nlohmann/json.hpp>

#include "checkpoint/tensor_names.h"
#include "synth/synth_presets.h"

namespace sluice {

namespace {

using Json = nlohmann::ordered_json;

struct Heads {
    int64_t query, key_value;
};

const GroupedAttentionConfig& grouped_attention(const SynthShape& shape) {
    const auto* attention = first_block<GroupedAttentionConfig>(shape.config);
    return attention != nullptr ? *attention : shape.cut_attention.value();
}

Heads heads_of(const SynthShape& shape) {
    if (const auto* latent = first_block<LatentAttentionConfig>(shape.config)) return {latent->heads, latent->heads};
    const GroupedAttentionConfig& grouped = grouped_attention(shape);
    return {grouped.heads, grouped.kv_heads};
}

Json shared_settings(const SynthShape& shape) {
    const ModelConfig& config = shape.config;
    const auto* mixture = first_block<MixtureConfig>(config);
    const Heads heads = heads_of(shape);
    return {{"attention_bias", false},
            {"attention_dropout", 0.0},
            {"bos_token_id", nullptr},
            {"eos_token_id", nullptr},
            {"hidden_act", "silu"},
            {"hidden_size", config.hidden_size},
            {"initializer_range", 0.02},
            {"max_position_embeddings", config.max_positions},
            {"moe_intermediate_size", mixture->intermediate},
            {"num_attention_heads", heads.query},
            {"num_experts_per_tok", mixture->experts_per_token},
            {"num_hidden_layers", config.layer_count()},
            {"num_key_value_heads", heads.key_value},
            {"rms_norm_eps", config.rms_norm_epsilon},
            {"tie_word_embeddings", config.tied_embeddings},
            {"use_cache", true},
            {"vocab_size", config.vocabulary}};
}

Json qwen3_moe_settings(const SynthShape& shape) {
    const GroupedAttentionConfig& attention = grouped_attention(shape);
    const auto* mixture = first_block<MixtureConfig>(shape.config);
    Json json = shared_settings(shape);
    json["decoder_sparse_step"] = 1;
    json["head_dim"] = attention.head_dim;
    json["intermediate_size"] = shape.dense_intermediate;
    json["mlp_only_layers"] = Json::array();
    json["norm_topk_prob"] = mixture->routing.normalize;
    json["num_experts"] = mixture->experts;
    json["output_router_logits"] = false;
    json["rope_scaling"] = nullptr;
    json["rope_theta"] = attention.rotary.theta;
    json["router_aux_loss_coef"] = 0.001;
    json["sliding_window"] = nullptr;
    json["use_sliding_window"] = false;
    json["torch_dtype"] = "bfloat16";
    return json;
}

void add_linear_attention(Json& json, const ModelConfig& config) {
    const auto* net = first_block<GatedDeltaNetConfig>(config);
    json["linear_conv_kernel_dim"] = net->kernel;
    json["linear_key_head_dim"] = net->key_dim;
    json["linear_num_key_heads"] = net->key_heads;
    json["linear_num_value_heads"] = net->value_heads;
    json["linear_value_head_dim"] = net->value_dim;
    json["shared_expert_intermediate_size"] = first_block<MixtureConfig>(config)->shared_intermediate;
}

double partial_rotary(const GroupedAttentionConfig& attention) {
    return static_cast<double>(attention.rotary.dims) / static_cast<double>(attention.head_dim);
}

Json qwen3_next_settings(const SynthShape& shape) {
    Json json = qwen3_moe_settings(shape);
    add_linear_attention(json, shape.config);
    json["full_attention_interval"] = shape.full_attention_interval;
    json["partial_rotary_factor"] = partial_rotary(grouped_attention(shape));
    return json;
}

// The text settings of Qwen3.5 stand one level down, beside the vision tower's (which a synthetic one lacks).
Json qwen3_5_settings(const SynthShape& shape) {
    const ModelConfig& config = shape.config;
    const GroupedAttentionConfig& attention = grouped_attention(shape);
    Json text = shared_settings(shape);
    add_linear_attention(text, config);
    text["model_type"] = "qwen3_5_moe_text";
    text["dtype"] = "bfloat16";
    text["head_dim"] = attention.head_dim;
    text["num_experts"] = config.experts();
    text["full_attention_interval"] = shape.full_attention_interval;
    Json types = Json::array();
    for (const LayerConfig& layer : config.layers) {
        const bool full = std::holds_alternative<GroupedAttentionConfig>(layer.mixer);
        types.push_back(full ? "full_attention" : "linear_attention");
    }
    text["layer_types"] = types;
    // A third of the rotary pairs for each of time, height and width; the rest goes to time.
    const int64_t third = attention.rotary.dims / 6;
    const int64_t time = attention.rotary.dims / 2 - 2 * third;
    text["rope_parameters"] = {{"mrope_interleaved", true},
                               {"mrope_section", {time, third, third}},
                               {"partial_rotary_factor", partial_rotary(attention)},
                               {"rope_theta", attention.rotary.theta},
                               {"rope_type", "default"}};
    return {{"text_config", text}, {"tie_word_embeddings", config.tied_embeddings}};
}

// Beside what Qwen3.5 says.
Json qwen4_exp_settings(const SynthShape& shape) {
    const ModelConfig& config = shape.config;
    Json json = qwen3_5_settings(shape);
    Json& text = json["text_config"];
    text["model_type"] = "qwen4_exp_text";
    text["output_gate_type"] = "sigmoid";
    const auto& streams = std::get<GatedStreamsConfig>(config.residual);
    text["hc_count"] = streams.streams;
    text["hc_lowrank"] = streams.rank;
    const IndexerConfig& indexer = grouped_attention(shape).indexer;
    text["indexer_n_heads"] = indexer.heads;
    text["indexer_kv_heads"] = 1;
    text["indexer_head_dim"] = indexer.head_dim;
    text["indexer_budget"] = indexer.tokens;
    text["indexer_compress_ratio"] = indexer.pool;
    text["ple_layer_ids"] = Json::array();
    for (int64_t layer = 0; layer < config.layer_count(); ++layer) {
        const NGramConfig& ngrams = config.layers[static_cast<size_t>(layer)].ngrams;
        if (!ngrams.any()) continue;
        text["ple_layer_ids"].push_back(layer + 1);
        text["ple_embed_dim"] = ngrams.width();
        text["ple_conv_kernel_size"] = ngrams.kernel;
        text["ngram_size"] = ngrams.hash.longest();
        text["heads_per_ngram"] = ngrams.hash.heads_per_order;
        text["ngram_vocab_size_base"] = ngrams.hash.head_rows.front();
        text["make_ngram_vocab_size_divisible_by"] = 128;
        text["split_ngram_parts"] = ngrams.parts;
    }
    return json;
}

Json deepseek_settings(const SynthShape& shape) {
    const ModelConfig& config = shape.config;
    const auto* attention = first_block<LatentAttentionConfig>(config);
    const auto* mixture = first_block<MixtureConfig>(config);
    Json json = shared_settings(shape);
    json["first_k_dense_replace"] = std::ranges::count_if(config.layers, [](const LayerConfig& layer) {
        return std::holds_alternative<DenseMlpConfig>(layer.feed_forward);
    });
    json["intermediate_size"] = shape.dense_intermediate;
    json["kv_lora_rank"] = attention->key_value_rank;
    json["moe_layer_freq"] = 1;
    json["n_group"] = mixture->routing.groups;
    json["n_routed_experts"] = mixture->experts;
    json["n_shared_experts"] = mixture->shared_intermediate / mixture->intermediate;
    json["norm_topk_prob"] = mixture->routing.normalize;
    json["num_nextn_predict_layers"] = 0;
    json["q_lora_rank"] = attention->query_rank;
    json["qk_nope_head_dim"] = attention->nope_dim;
    json["qk_rope_head_dim"] = attention->rope_dim;
    const RotaryConfig& rotary = attention->rotary;
    json["rope_scaling"] = {{"beta_fast", rotary.beta_fast},
                            {"beta_slow", rotary.beta_slow},
                            {"factor", rotary.factor},
                            {"mscale", rotary.mscale},
                            {"mscale_all_dim", rotary.mscale_all_dim},
                            {"original_max_position_embeddings", rotary.original_positions},
                            {"type", "yarn"}};
    json["rope_theta"] = rotary.theta;
    json["routed_scaling_factor"] = mixture->routing.scale;
    json["scoring_func"] = "sigmoid";
    json["topk_group"] = mixture->routing.groups_kept;
    json["topk_method"] = "noaux_tc";
    json["torch_dtype"] = "bfloat16";
    json["v_head_dim"] = attention->value_dim;
    return json;
}

// MLX's table, with the gates it keeps at 8 bits.
Json affine_table(const SynthShape& shape, int bits) {
    Json table = {{"group_size", 64}, {"bits", bits}, {"mode", "affine"}};
    if (bits == 8) return table;
    const TensorNames names(*shape.config.architecture);
    for (int layer = 0; layer < shape.config.layer_count(); ++layer) {
        const std::string path = layer_path(shape.layout->mlx_prefix, layer);
        const LayerConfig& block = shape.config.layers[static_cast<size_t>(layer)];
        for (const WeightSpec& spec : feed_forward_weights(shape.config, block)) {
            if (spec.precision != Precision::kEightBits) continue;
            table[path + std::string(names.module(spec.role).module)] = {{"group_size", 64}, {"bits", 8}};
        }
    }
    return table;
}

}  // namespace

constinit const SynthLayout kQwen3MoeLayout = {.class_name = "Qwen3MoeForCausalLM", .settings = qwen3_moe_settings};
constinit const SynthLayout kQwen3NextLayout = {.class_name = "Qwen3NextForCausalLM", .settings = qwen3_next_settings};
constinit const SynthLayout kQwen35Layout = {.class_name = "Qwen3_5MoeForConditionalGeneration",
                                             .settings = qwen3_5_settings,
                                             .prefix = "model.language_model.",
                                             .mlx_prefix = "language_model.model.",
                                             .mlx_outer_prefix = "language_model.",
                                             .fused_experts = true};
constinit const SynthLayout kQwen4ExpLayout = {.class_name = "Qwen4ExpForConditionalGeneration",
                                               .settings = qwen4_exp_settings,
                                               .prefix = "model.language_model.",
                                               .mlx_prefix = "language_model.model.",
                                               .mlx_outer_prefix = "language_model.",
                                               .fused_experts = true};
constinit const SynthLayout kDeepseekLayout = {
    .class_name = "DeepseekV3ForCausalLM", .settings = deepseek_settings, .fp8 = true};
constinit const SynthLayout kKimiLayout = {
    .class_name = "DeepseekV3ForCausalLM", .settings = deepseek_settings, .mlx_splits_key_value = true, .fp8 = true};

std::string synth_config_json(const SynthShape& shape, SynthEncoding encoding) {
    Json json = Json::object();
    if (shape.published.empty()) {
        json = {{"architectures", {std::string(shape.layout->class_name)}}, {"model_type", shape.config.model_type}};
    }
    json.update(shape.layout->settings(shape));
    if (encoding == SynthEncoding::kAffine4 || encoding == SynthEncoding::kAffine8) {
        json["quantization"] = affine_table(shape, encoding == SynthEncoding::kAffine4 ? 4 : 8);
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
