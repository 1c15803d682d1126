#include "tests/support/tiny_families.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "checkpoint/expert_layout.h"
#include "checkpoint/tensor_names.h"
#include "checkpoint/weights.h"

namespace sluice::testing {

using nlohmann::json;

json tiny_deepseek_v32_config() {
    json config = tiny_deepseek_v3().config;
    config.update({{"model_type", "deepseek_v32"}, {"index_n_heads", 4}, {"index_head_dim", 32}, {"index_topk", 20}});
    return config;
}

json tiny_glm_moe_dsa_config() {
    json config = tiny_deepseek_v32_config();
    config.update({{"model_type", "glm_moe_dsa"}, {"num_hidden_layers", 4}, {"index_topk_pattern", "FSSF"}});
    return config;
}

json tiny_kimi_linear_config() {
    return {{"model_type", "kimi_linear"},
            {"hidden_size", 32},
            {"num_hidden_layers", 4},
            {"vocab_size", 40},
            {"model_max_length", 512},
            {"num_attention_heads", 2},
            {"kv_lora_rank", 16},
            {"qk_nope_head_dim", 16},
            {"qk_rope_head_dim", 8},
            {"v_head_dim", 16},
            {"mla_use_nope", true},
            {"linear_attn_config",
             {{"kda_layers", {1, 2, 4}},
              {"full_attn_layers", json::array({3})},
              {"num_heads", 2},
              {"head_dim", 16},
              {"short_conv_kernel_size", 4}}},
            {"first_k_dense_replace", 1},
            {"intermediate_size", 48},
            {"moe_intermediate_size", 24},
            {"num_experts", 8},
            {"num_experts_per_token", 2},
            {"num_expert_group", 1},
            {"topk_group", 1},
            {"num_shared_experts", 1},
            {"moe_renormalize", false},
            {"routed_scaling_factor", 2.446}};
}

json tiny_qwen4_exp_config() {
    return {{"model_type", "qwen4_exp_text"},
            {"hidden_size", 32},
            {"num_hidden_layers", 4},
            {"layer_types", {"linear_attention", "linear_attention", "full_attention", "full_attention"}},
            {"vocab_size", 40},
            {"max_position_embeddings", 512},
            {"num_attention_heads", 4},
            {"num_key_value_heads", 2},
            {"head_dim", 16},
            {"linear_num_key_heads", 2},
            {"linear_num_value_heads", 4},
            {"linear_key_head_dim", 8},
            {"linear_value_head_dim", 8},
            {"linear_conv_kernel_dim", 4},
            {"output_gate_type", "sigmoid"},
            {"hc_count", 3},
            {"hc_lowrank", 8},
            {"num_experts", 8},
            {"num_experts_per_tok", 2},
            {"moe_intermediate_size", 24},
            {"shared_expert_intermediate_size", 16},
            {"ple_layer_ids", {1, 2}},
            {"ple_embed_dim", 24},
            {"heads_per_ngram", 2},
            {"ngram_vocab_size_base", 29},
            {"make_ngram_vocab_size_divisible_by", 8},
            {"split_ngram_parts", 12},
            {"indexer_n_heads", 4},
            {"indexer_head_dim", 8},
            {"indexer_budget", 16},
            {"eos_token_id", 9}};
}

json tiny_nemotron_h_config() {
    return {{"model_type", "nemotron_h"},
            {"hidden_size", 32},
            {"num_hidden_layers", 4},
            {"hybrid_override_pattern", "ME*-"},
            {"vocab_size", 40},
            {"max_position_embeddings", 512},
            {"layer_norm_epsilon", 1e-5},
            {"num_attention_heads", 4},
            {"num_key_value_heads", 2},
            {"head_dim", 8},
            {"mamba_num_heads", 4},
            {"mamba_head_dim", 8},
            {"n_groups", 2},
            {"ssm_state_size", 16},
            {"conv_kernel", 4},
            {"mlp_hidden_act", "relu2"},
            {"intermediate_size", 40},
            {"moe_intermediate_size", 24},
            {"moe_shared_expert_intermediate_size", 48},
            {"n_routed_experts", 8},
            {"n_shared_experts", 1},
            {"num_experts_per_tok", 2},
            {"n_group", 1},
            {"topk_group", 1},
            {"routed_scaling_factor", 2.5},
            {"sliding_window", nullptr}};
}

json tiny_nemotron_h_latent_config(int64_t width) {
    json config = tiny_nemotron_h_config();
    config["moe_latent_size"] = width;
    return config;
}

json tiny_glm5_next_config() {
    return {{"model_type", "glm5_next_text"},
            {"hidden_size", 32},
            {"num_hidden_layers", 4},
            {"vocab_size", 40},
            {"max_position_embeddings", 512},
            {"layer_types",
             {"linear_attention", "linear_attention", "deepseek_sparse_attention", "deepseek_sparse_attention"}},
            {"indexer_types", {"full", "full", "full", "shared"}},
            {"mlp_layer_types", {"dense", "sparse", "sparse", "sparse"}},
            {"num_attention_heads", 2},
            {"q_lora_rank", 24},
            {"kv_lora_rank", 16},
            {"qk_nope_head_dim", 16},
            {"qk_rope_head_dim", 0},
            {"v_head_dim", 12},
            {"index_n_heads", 4},
            {"index_head_dim", 16},
            {"index_topk", 12},
            {"index_kpool", 4},
            {"linear_attn_config",
             {{"num_heads", 2}, {"head_dim", 16}, {"short_conv_kernel_size", 4}, {"gate_lower_bound", -5.0}}},
            {"hc_mult", 3},
            {"intermediate_size", 48},
            {"moe_intermediate_size", 24},
            {"n_routed_experts", 8},
            {"num_experts_per_tok", 2},
            {"swiglu_limit", 1.5}};
}

json tiny_deepseek_v4_config() {
    return {{"model_type", "deepseek_v4"},
            {"hidden_size", 32},
            {"num_hidden_layers", 3},
            {"vocab_size", 40},
            {"max_position_embeddings", 512},
            {"compress_ratios", {0, 4, 128, 0}},
            {"compress_rope_theta", 160000},
            {"rope_theta", 10000},
            {"rope_scaling", {{"type", "yarn"}, {"factor", 4}, {"original_max_position_embeddings", 64}}},
            {"num_attention_heads", 4},
            {"head_dim", 16},
            {"qk_rope_head_dim", 8},
            {"q_lora_rank", 24},
            {"o_groups", 2},
            {"o_lora_rank", 8},
            {"sliding_window", 10},
            {"index_n_heads", 4},
            {"index_head_dim", 16},
            {"index_topk", 6},
            {"hc_mult", 3},
            {"num_hash_layers", 1},
            {"moe_intermediate_size", 24},
            {"n_routed_experts", 8},
            {"num_experts_per_tok", 2},
            {"swiglu_limit", 1.5}};
}

json tiny_step3p7_config() {
    return {{"model_type", "step3p7"},
            {"text_config",
             {{"model_type", "step3p5"},
              {"hidden_size", 32},
              {"num_hidden_layers", 4},
              {"num_nextn_predict_layers", 1},
              {"vocab_size", 48},
              {"max_position_embeddings", 512},
              {"num_attention_heads", 4},
              {"num_attention_groups", 2},
              {"head_dim", 16},
              {"attention_other_setting",
               {{"attention_type", "sliding_attention"}, {"num_attention_heads", 6}, {"num_attention_groups", 2}}},
              {"sliding_window", 9},
              {"layer_types",
               {"full_attention", "sliding_attention", "sliding_attention", "full_attention", "sliding_attention"}},
              {"rope_theta", {5000.0, 100.0, 100.0, 5000.0, 100.0}},
              {"partial_rotary_factors", {0.5, 1.0, 1.0, 0.5, 1.0}},
              {"rope_scaling",
               {{"rope_type", "llama3"},
                {"factor", 2.0},
                {"original_max_position_embeddings", 64},
                {"low_freq_factor", 1.0},
                {"high_freq_factor", 8.0}}},
              {"yarn_only_types", {"full_attention"}},
              {"intermediate_size", 48},
              {"moe_layers_enum", "1,2,3,4"},
              {"moe_num_experts", 8},
              {"moe_top_k", 3},
              {"moe_intermediate_size", 24},
              {"share_expert_dim", 20},
              {"moe_router_scaling_factor", 3.0},
              {"swiglu_limits", {0.0, 0.0, nullptr, 0.5, 0.5}},
              {"swiglu_limits_shared", {0.0, 0.0, 0.0, 0.75, 0.75}}}}};
}

namespace {

class ModelMaker {
  public:
    explicit ModelMaker(const json& config)
        : config_(parse_model_config(config.dump(), "config.json")), names_(*config_.architecture) {
        tiny_.config = config;
    }

    TinyCheckpoint make() {
        const std::string prefix = config_.architecture->unprefixed             ? ""
                                   : config_.architecture->name == "nemotron_h" ? "backbone."
                                                                                : "model.";
        for (const WeightSpec& spec : model_weights(config_)) {
            add(spec.role == Role::kHead ? "" : layer_path(prefix, kNoLayer), spec);
        }
        for (int layer = 0; layer < config_.layer_count(); ++layer) {
            const std::string path = layer_path(prefix, layer);
            for (const WeightSpec& spec : layer_weights(config_, config_.layers[static_cast<size_t>(layer)])) {
                add(path, spec);
            }
            if (const MixtureConfig* mixture = config_.mixture_of(layer)) add_experts(path, *mixture);
            const NGramConfig& ngrams = config_.layers[static_cast<size_t>(layer)].ngrams;
            if (ngrams.any()) add_row_table(path, ngrams);
        }
        return std::move(tiny_);
    }

  private:
    // Matrices keep the size of what they read; norms are near 1.
    void add(const std::string& path, const WeightSpec& spec) {
        const ModuleName module = names_.module(spec.role);
        std::vector<int64_t> shape = spec.leading;
        shape.push_back(spec.columns);
        if (spec.shape == WeightShape::kNumbers)
            return add_experts_of_tokens(fmt::format("{}{}", path, module.module), shape);
        if (spec.shape == WeightShape::kConvolution) shape.insert(shape.begin() + 1, 1);
        const bool near_one = spec.role == Role::kLinearNorm || spec.shape == WeightShape::kNorm;
        const double scale =
            spec.shape == WeightShape::kVector ? 0.5 : 1 / std::sqrt(static_cast<double>(spec.columns));
        add(fmt::format("{}{}{}", path, module.module, module.bare ? "" : ".weight"), shape, near_one ? 0.1 : scale,
            near_one ? 1 : 0);
    }

    void add_row_table(const std::string& path, const NGramConfig& ngrams) {
        const int64_t rows = (ngrams.table_rows + ngrams.parts - 1) / ngrams.parts;
        for (int64_t part = 0; part * rows < ngrams.table_rows; ++part) {
            add(fmt::format("{}{}.shard_{}.weight", path, config_.architecture->row_table, part),
                {std::min(rows, ngrams.table_rows - part * rows), ngrams.row_dim}, 0.5, 0);
        }
    }

    void add_experts_of_tokens(const std::string& name, const std::vector<int64_t>& shape) {
        std::uniform_int_distribution<int64_t> experts(0, config_.experts() - 1);
        const auto count = static_cast<size_t>(shape[0] * shape[1]);
        TinyTensor tensor{DType::kI64, shape, std::vector<std::byte>(count * sizeof(int64_t))};
        for (size_t i = 0; i < count; ++i) {
            const int64_t expert = experts(random_);
            std::memcpy(tensor.bytes.data() + i * sizeof(int64_t), &expert, sizeof(expert));
        }
        tiny_.tensors[name] = std::move(tensor);
    }

    void add_experts(const std::string& path, const MixtureConfig& mixture) {
        const int64_t width = mixture.width(config_.hidden_size);
        const ExpertNames& names = config_.architecture->experts;
        for (int64_t expert = 0; expert < mixture.experts; ++expert) {
            for (const Projection projection : kProjections) {
                if (projection == Projection::kGate && !mixture.activation.gated()) continue;
                const bool down = projection == Projection::kDown;
                const int64_t rows = down ? width : mixture.intermediate;
                const int64_t columns = down ? mixture.intermediate : width;
                const std::string_view name = names.projections[static_cast<size_t>(projection)];
                add(fmt::format("{}{}{}.{}.weight", path, names.each, expert, name), {rows, columns},
                    1 / std::sqrt(static_cast<double>(columns)), 0);
            }
        }
    }

    void add(const std::string& name, const std::vector<int64_t>& shape, double scale, double mean) {
        std::normal_distribution<double> normal(mean, scale);
        size_t count = 1;
        for (const int64_t size : shape) count *= static_cast<size_t>(size);
        TinyTensor tensor{DType::kF32, shape, std::vector<std::byte>(count * sizeof(float))};
        for (size_t i = 0; i < count; ++i) {
            const auto value = static_cast<float>(normal(random_));
            std::memcpy(tensor.bytes.data() + i * sizeof(float), &value, sizeof(float));
        }
        tiny_.tensors[name] = std::move(tensor);
    }

    ModelConfig config_;
    TensorNames names_;
    TinyCheckpoint tiny_;
    std::mt19937_64 random_{7};
};

}  // namespace

TinyCheckpoint tiny_model(const json& config) {
    return ModelMaker(config).make();
}

}  // namespace sluice::testing
