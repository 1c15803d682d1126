// Shapes as their publishers' config.json says them, without what no shape depends on.

#include <nlohmann/json.hpp>

#include "synth/published_shape.h"

namespace sluice {

namespace {

constexpr const char* kGptOss = R"(
{"attention_bias": true, "head_dim": 64, "hidden_act": "silu", "hidden_size": 2880, "intermediate_size": 2880,
"max_position_embeddings": 131072, "model_type": "gpt_oss", "num_attention_heads": 64, "num_experts_per_tok": 4,
"num_hidden_layers": 36, "num_key_value_heads": 8, "num_local_experts": 128, "rms_norm_eps": 1e-05, "rope_scaling":
{"beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0, "original_max_position_embeddings": 4096, "rope_type": "yarn",
"truncate": false}, "rope_theta": 150000, "sliding_window": 128, "swiglu_limit": 7.0, "tie_word_embeddings": false,
"vocab_size": 201088})";

constexpr const char* kGptOss20b = R"(
{"num_hidden_layers": 24, "num_local_experts": 32})";

constexpr const char* kGemma4 = R"(
{"model_type": "gemma4", "text_config": {"attention_bias": false, "attention_k_eq_v": true, "enable_moe_block": true,
"final_logit_softcapping": 30.0, "global_head_dim": 512, "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh",
"hidden_size": 2816, "hidden_size_per_layer_input": 0, "intermediate_size": 2112, "max_position_embeddings": 262144,
"model_type": "gemma4_text", "moe_intermediate_size": 704, "num_attention_heads": 16, "num_experts": 128,
"num_global_key_value_heads": 2, "num_hidden_layers": 30, "num_key_value_heads": 8, "rms_norm_eps": 1e-06,
"rope_parameters": {"full_attention": {"partial_rotary_factor": 0.25, "rope_theta": 1000000.0, "rope_type":
"proportional"}, "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"}}, "sliding_window": 1024,
"tie_word_embeddings": true, "top_k_experts": 8, "vocab_size": 262144}, "tie_word_embeddings": true})";

constexpr const char* kGlm46 = R"(
{"attention_bias": true, "head_dim": 128, "hidden_act": "silu", "hidden_size": 5120, "partial_rotary_factor": 0.5,
"intermediate_size": 12288, "max_position_embeddings": 202752, "model_type": "glm4_moe", "moe_intermediate_size": 1536,
"norm_topk_prob": true, "num_attention_heads": 96, "n_group": 1, "topk_group": 1, "n_routed_experts": 160,
"n_shared_experts": 1, "routed_scaling_factor": 2.5, "num_experts_per_tok": 8, "first_k_dense_replace": 3,
"num_hidden_layers": 92, "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 1000000, "tie_word_embeddings":
false, "use_qk_norm": true, "vocab_size": 151552})";

constexpr const char* kGlm45Air = R"(
{"hidden_size": 4096, "intermediate_size": 10944, "max_position_embeddings": 131072, "moe_intermediate_size": 1408,
"n_routed_experts": 128, "routed_scaling_factor": 1.0, "first_k_dense_replace": 1, "num_hidden_layers": 46,
"use_qk_norm": false})";

constexpr const char* kGlm5 = R"(
{"attention_bias": false, "first_k_dense_replace": 3, "hidden_act": "silu", "hidden_size": 6144, "index_head_dim": 128,
"index_n_heads": 32, "index_topk": 2048, "indexer_rope_interleave": true, "intermediate_size": 12288, "kv_lora_rank":
512, "max_position_embeddings": 202752, "moe_intermediate_size": 2048, "moe_layer_freq": 1, "model_type":
"glm_moe_dsa", "n_group": 1, "n_routed_experts": 256, "n_shared_experts": 1, "norm_topk_prob": true,
"num_attention_heads": 64, "num_experts_per_tok": 8, "num_hidden_layers": 78, "num_key_value_heads": 64, "q_lora_rank":
2048, "qk_head_dim": 256, "qk_nope_head_dim": 192, "qk_rope_head_dim": 64, "rms_norm_eps": 1e-05, "rope_parameters":
{"rope_theta": 1000000, "rope_type": "default"}, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid",
"tie_word_embeddings": false, "topk_group": 1, "topk_method": "noaux_tc", "v_head_dim": 256, "vocab_size": 154880})";

constexpr const char* kGlm52 = R"(
{"index_skip_topk_offset": 3, "index_topk_freq": 4, "max_position_embeddings": 1048576, "rope_parameters":
{"rope_theta": 8000000}})";

constexpr const char* kGlm5Next = R"(
{"model_type": "glm5_next", "text_config": {"attention_bias": false, "hc_eps": 1e-06, "hc_mult": 4,
"hc_sinkhorn_iters": 20, "hidden_act": "silu", "hidden_size": 4096, "index_head_dim": 128, "index_kpool": 4,
"index_kpool_always_select_tail": true, "index_kpool_compress": true, "index_n_heads": 32, "index_topk": 2048,
"indexer_rope_interleave": true, "intermediate_size": 12288, "kv_lora_rank": 512, "linear_attn_config": {"num_heads":
64, "head_dim": 128, "short_conv_kernel_size": 4, "gate_lower_bound": -5.0}, "max_position_embeddings": 1048576, "mhc":
true, "mla_use_nope": true, "model_type": "glm5_next_text", "moe_intermediate_size": 2048, "n_group": 1,
"n_routed_experts": 288, "n_shared_experts": 1, "norm_topk_prob": true, "num_attention_heads": 64,
"num_experts_per_tok": 8, "num_hidden_layers": 45, "num_key_value_heads": 64, "q_lora_rank": 1536, "qk_nope_head_dim":
256, "qk_rope_head_dim": 0, "rms_norm_eps": 1e-05, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid",
"swiglu_limit": 10.0, "tie_word_embeddings": false, "topk_group": 1, "topk_method": "noaux_tc", "v_head_dim": 256,
"vocab_size": 154880}, "tie_word_embeddings": false})";

constexpr const char* kMinimaxM2 = R"(
{"head_dim": 128, "hidden_act": "silu", "hidden_size": 3072, "intermediate_size": 1536, "max_position_embeddings":
204800, "model_type": "minimax_m2", "num_attention_heads": 48, "num_experts_per_tok": 8, "num_hidden_layers": 62,
"num_key_value_heads": 8, "num_local_experts": 256, "rms_norm_eps": 1e-06, "rope_theta": 5000000, "rotary_dim": 64,
"scoring_func": "sigmoid", "tie_word_embeddings": false, "use_qk_norm": true, "vocab_size": 200064})";

constexpr const char* kDeepseekV32 = R"(
{"attention_bias": false, "first_k_dense_replace": 3, "hidden_act": "silu", "hidden_size": 7168, "index_head_dim": 128,
"index_n_heads": 64, "index_topk": 2048, "intermediate_size": 18432, "kv_lora_rank": 512, "max_position_embeddings":
163840, "model_type": "deepseek_v32", "moe_intermediate_size": 2048, "moe_layer_freq": 1, "n_group": 8,
"n_routed_experts": 256, "n_shared_experts": 1, "norm_topk_prob": true, "num_attention_heads": 128,
"num_experts_per_tok": 8, "num_hidden_layers": 61, "num_key_value_heads": 128, "q_lora_rank": 1536, "qk_nope_head_dim":
128, "qk_rope_head_dim": 64, "rms_norm_eps": 1e-06, "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40,
"mscale": 1.0, "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096, "type": "yarn"}, "rope_theta": 10000,
"routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "tie_word_embeddings": false, "topk_group": 4, "topk_method":
"noaux_tc", "v_head_dim": 128, "vocab_size": 129280})";

constexpr const char* kDeepseekV4 = R"(
{"attention_bias": false, "hc_eps": 1e-06, "hc_mult": 4, "hc_sinkhorn_iters": 20, "head_dim": 512, "hidden_act":
"silu", "hidden_size": 4096, "index_head_dim": 128, "index_n_heads": 64, "index_topk": 512, "max_position_embeddings":
1048576, "model_type": "deepseek_v4", "moe_intermediate_size": 2048, "n_routed_experts": 256, "n_shared_experts": 1,
"norm_topk_prob": true, "num_attention_heads": 64, "num_experts_per_tok": 6, "num_hidden_layers": 43,
"num_hash_layers": 3, "num_key_value_heads": 1, "o_groups": 8, "o_lora_rank": 1024, "q_lora_rank": 1024,
"qk_rope_head_dim": 64, "rms_norm_eps": 1e-06, "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 16,
"original_max_position_embeddings": 65536, "type": "yarn"}, "rope_theta": 10000, "routed_scaling_factor": 1.5,
"scoring_func": "sqrtsoftplus", "sliding_window": 128, "swiglu_limit": 10.0, "tie_word_embeddings": false,
"topk_method": "noaux_tc", "vocab_size": 129280, "compress_rope_theta": 160000, "compress_ratios": [0, 0, 4, 128, 4,
128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4,
128, 4, 128, 4, 128, 4, 128, 4, 0]})";

constexpr const char* kDeepseekV4Pro = R"(
{"hidden_size": 7168, "index_topk": 1024, "moe_intermediate_size": 3072, "n_routed_experts": 384,
"num_attention_heads": 128, "num_hidden_layers": 61, "o_groups": 16, "q_lora_rank": 1536, "routed_scaling_factor": 2.5,
"compress_ratios": [128, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128,
4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128, 4, 128,
4, 128, 4, 128, 4, 128, 4, 0]})";

constexpr const char* kKimiK25 = R"(
{"model_type": "kimi_k25", "text_config": {"model_type": "kimi_k2", "hidden_size": 7168, "num_hidden_layers": 61,
"num_attention_heads": 64, "num_key_value_heads": 64, "vocab_size": 163840, "max_position_embeddings": 262144,
"q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
"first_k_dense_replace": 1, "intermediate_size": 18432, "moe_intermediate_size": 2048, "moe_layer_freq": 1,
"n_routed_experts": 384, "n_shared_experts": 1, "num_experts_per_tok": 8, "n_group": 1, "topk_group": 1,
"norm_topk_prob": true, "routed_scaling_factor": 2.827, "scoring_func": "sigmoid", "topk_method": "noaux_tc",
"hidden_act": "silu", "rms_norm_eps": 1e-05, "rope_theta": 50000.0, "rope_scaling": {"type": "yarn", "factor": 64.0,
"beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096},
"tie_word_embeddings": false}})";

constexpr const char* kKimiLinear = R"(
{"first_k_dense_replace": 1, "head_dim": 72, "hidden_act": "silu", "hidden_size": 2304, "intermediate_size": 9216,
"kv_lora_rank": 512, "linear_attn_config": {"full_attn_layers": [4, 8, 12, 16, 20, 24, 27], "head_dim": 128,
"kda_layers": [1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19, 21, 22, 23, 25, 26], "num_heads": 32,
"short_conv_kernel_size": 4}, "mla_use_nope": true, "model_max_length": 1048576, "model_type": "kimi_linear",
"moe_intermediate_size": 1024, "moe_layer_freq": 1, "moe_renormalize": true, "moe_router_activation_func": "sigmoid",
"num_attention_heads": 32, "num_expert_group": 1, "num_experts": 256, "num_experts_per_token": 8, "num_hidden_layers":
27, "num_key_value_heads": 32, "num_shared_experts": 1, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
"rms_norm_eps": 1e-05, "rope_theta": 10000.0, "routed_scaling_factor": 2.446, "tie_word_embeddings": false,
"topk_group": 1, "v_head_dim": 128, "vocab_size": 163840})";

constexpr const char* kMimoV2 = R"(
{"model_type": "mimo_v2_flash", "num_hidden_layers": 48, "hidden_size": 4096, "num_attention_heads": 64,
"num_key_value_heads": 4, "head_dim": 192, "v_head_dim": 128, "intermediate_size": 16384, "vocab_size": 152576,
"max_position_embeddings": 262144, "rope_theta": 5000000, "swa_rope_theta": 10000, "partial_rotary_factor": 0.334,
"sliding_window": 128, "attention_chunk_size": 128, "swa_num_attention_heads": 64, "swa_num_key_value_heads": 8,
"swa_head_dim": 192, "swa_v_head_dim": 128, "hybrid_layer_pattern": [0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1,
0, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0], "moe_layer_freq": [0, 1,
1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
1, 1, 1, 1, 1, 1], "moe_intermediate_size": 2048, "n_routed_experts": 256, "num_experts_per_tok": 8, "norm_topk_prob":
true, "scoring_func": "sigmoid", "n_group": 1, "topk_group": 1, "topk_method": "noaux_tc", "hidden_act": "silu",
"layernorm_epsilon": 1e-05, "attention_bias": false, "attention_value_scale": 0.707, "add_swa_attention_sink_bias":
true, "add_full_attention_sink_bias": false, "tie_word_embeddings": false})";

constexpr const char* kNemotron3 = R"(
{"attention_bias": false, "conv_kernel": 4, "head_dim": 128, "hidden_size": 2688, "hybrid_override_pattern":
"MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME", "intermediate_size": 1856, "layer_norm_epsilon": 1e-05,
"mamba_head_dim": 64, "mamba_hidden_act": "silu", "mamba_num_heads": 64, "mamba_proj_bias": false,
"max_position_embeddings": 262144, "mlp_bias": false, "mlp_hidden_act": "relu2", "model_type": "nemotron_h",
"moe_intermediate_size": 1856, "moe_shared_expert_intermediate_size": 3712, "n_group": 1, "n_groups": 8,
"n_routed_experts": 128, "n_shared_experts": 1, "norm_topk_prob": true, "num_attention_heads": 32,
"num_experts_per_tok": 6, "num_hidden_layers": 52, "num_key_value_heads": 2, "partial_rotary_factor": 1.0,
"rope_theta": 10000, "routed_scaling_factor": 2.5, "ssm_state_size": 128, "tie_word_embeddings": false, "topk_group":
1, "use_bias": false, "use_conv_bias": true, "vocab_size": 131072})";

constexpr const char* kNemotron3Super120bA12b = R"(
{"hidden_size": 4096, "hybrid_override_pattern":
"MEMEMEM*EMEMEMEM*EMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*EMEMEMEM*EMEMEMEME", "intermediate_size": 2688,
"mamba_num_heads": 128, "moe_intermediate_size": 2688, "moe_latent_size": 1024, "moe_shared_expert_intermediate_size":
5376, "n_routed_experts": 512, "num_experts_per_tok": 22, "num_hidden_layers": 88, "routed_scaling_factor": 5.0})";

constexpr const char* kLlama4 = R"(
{"model_type": "llama4", "text_config": {"attention_bias": false, "attention_chunk_size": 8192, "head_dim": 128,
"hidden_act": "silu", "hidden_size": 5120, "interleave_moe_layer_step": 1, "intermediate_size": 8192,
"intermediate_size_mlp": 16384, "max_position_embeddings": 10485760, "model_type": "llama4_text",
"num_attention_heads": 40, "num_experts_per_tok": 1, "num_hidden_layers": 48, "num_key_value_heads": 8,
"num_local_experts": 16, "rms_norm_eps": 1e-05, "rope_scaling": {"factor": 16.0, "high_freq_factor": 1.0,
"low_freq_factor": 1.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"}, "rope_theta": 500000.0,
"use_qk_norm": true, "vocab_size": 202048}})";

constexpr const char* kLlama4Maverick = R"(
{"text_config": {"interleave_moe_layer_step": 2, "num_local_experts": 128, "max_position_embeddings": 1048576,
"rope_scaling": null, "use_qk_norm": false}})";

constexpr const char* kQwen3Vl = R"(
{"model_type": "qwen3_vl_moe", "text_config": {"attention_bias": false, "decoder_sparse_step": 1, "head_dim": 128,
"hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 6144, "max_position_embeddings": 262144,
"mlp_only_layers": [], "model_type": "qwen3_vl_moe_text", "moe_intermediate_size": 768, "norm_topk_prob": true,
"num_attention_heads": 32, "num_experts": 128, "num_experts_per_tok": 8, "num_hidden_layers": 48,
"num_key_value_heads": 4, "rms_norm_eps": 1e-06, "rope_scaling": {"mrope_interleaved": true, "mrope_section": [24, 20,
20], "rope_type": "default"}, "rope_theta": 5000000, "vocab_size": 151936}, "tie_word_embeddings": false})";

constexpr const char* kQwen3Vl235bA22b = R"(
{"text_config": {"hidden_size": 4096, "intermediate_size": 12288, "moe_intermediate_size": 1536, "num_attention_heads":
64, "num_hidden_layers": 94}})";

constexpr const char* kOlmoe = R"(
{"attention_bias": false, "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 1024,
"max_position_embeddings": 4096, "model_type": "olmoe", "norm_topk_prob": false, "num_attention_heads": 16,
"num_experts": 64, "num_experts_per_tok": 8, "num_hidden_layers": 16, "num_key_value_heads": 16, "rms_norm_eps": 1e-05,
"rope_theta": 10000.0, "tie_word_embeddings": false, "vocab_size": 50304})";

constexpr const char* kMixtral = R"(
{"hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 14336, "max_position_embeddings": 32768, "model_type":
"mixtral", "num_attention_heads": 32, "num_experts_per_tok": 2, "num_hidden_layers": 32, "num_key_value_heads": 8,
"num_local_experts": 8, "rms_norm_eps": 1e-05, "rope_theta": 1000000.0, "tie_word_embeddings": false, "vocab_size":
32000})";

constexpr const char* kMixtral8x22b = R"(
{"hidden_size": 6144, "intermediate_size": 16384, "max_position_embeddings": 65536, "num_attention_heads": 48,
"num_hidden_layers": 56, "vocab_size": 32768})";

constexpr const char* kStep37Flash = R"(
{"model_type": "step3p7", "text_config": {"model_type": "step3p5", "hidden_size": 4096, "num_hidden_layers": 45,
"vocab_size": 128896, "max_position_embeddings": 65536, "num_attention_heads": 64, "head_dim": 128,
"intermediate_size": 11264, "sliding_window": 512, "moe_intermediate_size": 1280, "share_expert_dim": 1280,
"moe_router_scaling_factor": 3.0, "num_attention_groups": 8, "moe_num_experts": 288, "moe_top_k": 8,
"first_k_dense_replace": 3, "layer_types": ["full_attention", "sliding_attention", "sliding_attention",
"sliding_attention", "full_attention", "sliding_attention", "sliding_attention", "sliding_attention", "full_attention",
"sliding_attention", "sliding_attention", "sliding_attention", "full_attention", "sliding_attention",
"sliding_attention", "sliding_attention", "full_attention", "sliding_attention", "sliding_attention",
"sliding_attention", "full_attention", "sliding_attention", "sliding_attention", "sliding_attention", "full_attention",
"sliding_attention", "sliding_attention", "sliding_attention", "full_attention", "sliding_attention",
"sliding_attention", "sliding_attention", "full_attention", "sliding_attention", "sliding_attention",
"sliding_attention", "full_attention", "sliding_attention", "sliding_attention", "sliding_attention", "full_attention",
"sliding_attention", "sliding_attention", "sliding_attention", "full_attention"]}})";

struct PublishedPreset {
    const char *name, *description;
    const char* config;
    const char* changes = "{}";  // to the config of the family's first
};

constexpr PublishedPreset kPublishedPresets[] = {
    {"gpt-oss-120b", "gpt-oss-120b: 36 layers, 128 experts, 4 per token", kGptOss},
    {"gpt-oss-20b", "gpt-oss-20b: 24 layers, 32 experts, 4 per token", kGptOss, kGptOss20b},
    {"gemma-4-26b-a4b", "Gemma-4-26B-A4B: 30 layers, 128 experts, 8 per token", kGemma4},
    {"glm-4.6", "GLM-4.6 (4.5, 4.7): 92 layers, 160 experts, 8 per token", kGlm46},
    {"glm-4.5-air", "GLM-4.5-Air: 46 layers, 128 experts, 8 per token", kGlm46, kGlm45Air},
    {"glm-5", "GLM-5 (5.1): 78 layers, 256 experts, 8 per token, an indexer in each", kGlm5},
    {"glm-5.2", "GLM-5.2: 78 layers, 256 experts, 8 per token, an indexer in every fourth", kGlm5, kGlm52},
    {"glm-5.3-flash", "GLM-5.3-Flash: 45 layers, 288 experts, 8 per token, four streams", kGlm5Next},
    {"minimax-m2", "MiniMax-M2 (to 2.7): 62 layers, 256 experts, 8 per token", kMinimaxM2},
    {"deepseek-v3.2", "DeepSeek-V3.2: 61 layers, 256 experts, 8 per token, an indexer in each", kDeepseekV32},
    {"deepseek-v4-flash", "DeepSeek-V4-Flash: 43 layers, 256 experts, 6 per token, four streams", kDeepseekV4},
    {"deepseek-v4-pro", "DeepSeek-V4-Pro: 61 layers, 384 experts, 6 per token, four streams", kDeepseekV4,
     kDeepseekV4Pro},
    {"kimi-k2.5", "Kimi-K2.5 (K2.6, K2-Thinking): 61 layers, 384 experts, 8 per token", kKimiK25},
    {"kimi-linear-48b-a3b", "Kimi-Linear-48B-A3B: 27 layers, 256 experts, 8 per token", kKimiLinear},
    {"mimo-v2-flash", "MiMo-V2-Flash: 48 layers, 256 experts, 8 per token", kMimoV2},
    {"nemotron-3-nano-30b-a3b", "Nemotron-3-Nano-30B-A3B: 52 blocks, 128 experts, 6 per token", kNemotron3},
    {"nemotron-3-super-120b-a12b", "Nemotron-3-Super-120B-A12B: 88 blocks, 512 experts, 22 per token", kNemotron3,
     kNemotron3Super120bA12b},
    {"llama-4-scout", "Llama-4-Scout: 48 layers, 16 experts, 1 per token", kLlama4},
    {"llama-4-maverick", "Llama-4-Maverick: 48 layers, 24 of them with 128 experts, 1 per token", kLlama4,
     kLlama4Maverick},
    {"qwen3-vl-30b-a3b", "Qwen3-VL-30B-A3B: 48 layers, 128 experts, 8 per token", kQwen3Vl},
    {"qwen3-vl-235b-a22b", "Qwen3-VL-235B-A22B: 94 layers, 128 experts, 8 per token", kQwen3Vl, kQwen3Vl235bA22b},
    {"olmoe-1b-7b", "OLMoE-1B-7B: 16 layers, 64 experts, 8 per token", kOlmoe},
    {"mixtral-8x7b", "Mixtral-8x7B: 32 layers, 8 experts, 2 per token", kMixtral},
    {"mixtral-8x22b", "Mixtral-8x22B: 56 layers, 8 experts, 2 per token", kMixtral, kMixtral8x22b},
    {"step-3.7-flash", "Step-3.7-Flash (3.5): 45 layers, 288 experts, 8 per token", kStep37Flash},
};

}  // namespace

std::vector<SynthShape> published_presets() {
    std::vector<SynthShape> shapes;
    for (const PublishedPreset& preset : kPublishedPresets) {
        auto config = nlohmann::ordered_json::parse(preset.config);
        config.merge_patch(nlohmann::ordered_json::parse(preset.changes));
        shapes.push_back(published_shape(config.dump(), preset.name));
        shapes.back().description = preset.description;
    }
    return shapes;
}

}  // namespace sluice
