#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

enum class Architecture { kQwen3Moe, kQwen3Next, kQwen35Moe, kDeepseekV3 };

enum class MixerKind { kFullAttention, kGatedDeltaNet, kMultiLatentAttention };
enum class FeedForwardKind { kDense, kMoe };

struct RotaryConfig {
    int64_t dims = 0;  // rotated dims of a head; even
    double theta = 10000.0;
    bool interleaved = false;  // pairs (2i, 2i+1) instead of (i, i + dims/2)
    bool yarn = false;
    double factor = 1.0;  // the rest only where yarn
    double beta_fast = 32.0;
    double beta_slow = 1.0;
    double mscale = 1.0;
    double mscale_all_dim = 0.0;
    int64_t original_positions = 0;
};

// Everything the forward pass needs to know from config.json, checked. Sizes are element counts.
struct ModelConfig {
    Architecture architecture{};
    std::string model_type;  // as published
    int64_t hidden_size = 0;
    int64_t layers = 0;
    int64_t vocabulary = 0;
    int64_t max_positions = 0;
    double rms_norm_epsilon = 1e-6;
    bool tied_embeddings = false;

    std::vector<MixerKind> mixers;               // [layers]
    std::vector<FeedForwardKind> feed_forwards;  // [layers]

    // Grouped-query attention (gated or not); for MLA heads alone is used.
    int64_t heads = 0;
    int64_t kv_heads = 0;
    int64_t head_dim = 0;
    bool gated_attention = false;  // q_proj holds [q | gate] per head
    RotaryConfig rotary;

    // Gated DeltaNet.
    int64_t linear_key_heads = 0;
    int64_t linear_value_heads = 0;
    int64_t linear_key_dim = 0;
    int64_t linear_value_dim = 0;
    int64_t linear_conv_kernel = 0;

    // Multi-head latent attention.
    int64_t q_lora_rank = 0;  // 0: a single q_proj
    int64_t kv_lora_rank = 0;
    int64_t qk_nope_head_dim = 0;
    int64_t qk_rope_head_dim = 0;
    int64_t v_head_dim = 0;

    // Feed-forward.
    int64_t dense_intermediate = 0;  // of dense layers
    int64_t experts = 0;
    int64_t experts_per_token = 0;
    int64_t expert_intermediate = 0;
    int64_t shared_intermediate = 0;   // 0: no shared expert
    bool shared_expert_gated = false;  // output times sigmoid(shared_expert_gate . x)
    bool noaux_tc = false;             // DeepSeek-V3 routing: sigmoid scores with a correction bias, in groups
    bool normalize_top_k = true;
    int64_t expert_groups = 1;
    int64_t expert_groups_kept = 1;
    double routed_scaling_factor = 1.0;
};

// Reads and checks `folder`/config.json. Throws kNotFound, kInvalidFile or kUnsupported, naming file and field.
ModelConfig read_model_config(const std::filesystem::path& folder);
// The same from the file's text; `label` names it in messages.
ModelConfig parse_model_config(std::string_view text, const std::string& label);

}  // namespace sluice
