#include "synth/synth_presets.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/error.h"

namespace sluice {

namespace {

// A mixer and a feed-forward block for each layer; every `interval`th layer is full attention, 0: all of one kind.
void set_layers(ModelConfig& config, int64_t layers, MixerKind mixer, int64_t interval, int64_t dense_layers) {
    config.layers = layers;
    config.mixers.assign(static_cast<size_t>(layers), mixer);
    config.feed_forwards.assign(static_cast<size_t>(layers), FeedForwardKind::kMoe);
    for (int64_t layer = 0; layer < layers; ++layer) {
        const auto i = static_cast<size_t>(layer);
        if (interval > 0 && (layer + 1) % interval == 0) config.mixers[i] = MixerKind::kFullAttention;
        if (layer < dense_layers) config.feed_forwards[i] = FeedForwardKind::kDense;
    }
}

struct QwenNumbers {
    int64_t layers, hidden, heads, kv_heads;
    int64_t experts, experts_per_token, expert_intermediate;
    int64_t vocabulary, max_positions;
};

ModelConfig qwen3_moe(const QwenNumbers& n, int64_t dense_intermediate) {
    ModelConfig config;
    config.architecture = Architecture::kQwen3Moe;
    config.model_type = "qwen3_moe";
    config.hidden_size = n.hidden;
    config.vocabulary = n.vocabulary;
    config.max_positions = n.max_positions;
    set_layers(config, n.layers, MixerKind::kFullAttention, 0, 0);
    config.heads = n.heads;
    config.kv_heads = n.kv_heads;
    config.head_dim = 128;
    config.rotary = {.dims = 128, .theta = 1e6};
    config.dense_intermediate = dense_intermediate;
    config.experts = n.experts;
    config.experts_per_token = n.experts_per_token;
    config.expert_intermediate = n.expert_intermediate;
    return config;
}

// Qwen3-Next, Qwen3.5 and Qwen3.6: gated DeltaNet with gated full attention in every fourth layer.
ModelConfig qwen_hybrid(Architecture architecture, const QwenNumbers& n, int64_t linear_value_heads) {
    ModelConfig config = qwen3_moe(n, architecture == Architecture::kQwen3Next ? 5120 : 0);
    config.architecture = architecture;
    config.model_type = architecture == Architecture::kQwen3Next ? "qwen3_next" : "qwen3_5_moe";
    set_layers(config, n.layers, MixerKind::kGatedDeltaNet, 4, 0);
    config.head_dim = 256;
    config.gated_attention = true;
    config.rotary = {.dims = 64, .theta = 1e7};
    config.linear_key_heads = 16;
    config.linear_value_heads = linear_value_heads;
    config.linear_key_dim = 128;
    config.linear_value_dim = 128;
    config.linear_conv_kernel = 4;
    config.shared_intermediate = n.expert_intermediate;
    config.shared_expert_gated = true;
    return config;
}

ModelConfig deepseek_v3(int64_t vocabulary) {
    ModelConfig config;
    config.architecture = Architecture::kDeepseekV3;
    config.model_type = "deepseek_v3";
    config.hidden_size = 7168;
    config.vocabulary = vocabulary;
    config.max_positions = 163840;
    set_layers(config, 61, MixerKind::kMultiLatentAttention, 0, 3);
    config.heads = 128;
    config.kv_heads = 128;
    config.rotary = {.dims = 64, .theta = 1e4, .interleaved = true, .yarn = true, .factor = 40};
    config.rotary.mscale_all_dim = 1;
    config.rotary.original_positions = 4096;
    config.q_lora_rank = 1536;
    config.kv_lora_rank = 512;
    config.qk_nope_head_dim = 128;
    config.qk_rope_head_dim = 64;
    config.v_head_dim = 128;
    config.dense_intermediate = 18432;
    config.experts = 256;
    config.experts_per_token = 8;
    config.expert_intermediate = 2048;
    config.shared_intermediate = 2048;
    config.noaux_tc = true;
    config.expert_groups = 8;
    config.expert_groups_kept = 4;
    config.routed_scaling_factor = 2.5;
    return config;
}

ModelConfig kimi_k2() {
    ModelConfig config = deepseek_v3(163840);
    config.model_type = "kimi_k2";
    config.max_positions = 131072;
    set_layers(config, 61, MixerKind::kMultiLatentAttention, 0, 1);
    config.heads = 64;
    config.kv_heads = 64;
    config.rotary.theta = 5e4;
    config.rotary.factor = 32;
    config.rotary.beta_fast = 1;
    config.experts = 384;
    config.expert_groups = 1;
    config.expert_groups_kept = 1;
    config.routed_scaling_factor = 2.827;
    return config;
}

constexpr QwenNumbers kQwen3_30b{48, 2048, 32, 4, 128, 8, 768, 151936, 40960};
constexpr QwenNumbers kQwen3_235b{94, 4096, 64, 4, 128, 8, 1536, 151936, 40960};
constexpr QwenNumbers kQwen3Next80b{48, 2048, 16, 2, 512, 10, 512, 151936, 262144};
constexpr QwenNumbers kQwen36_35b{40, 2048, 16, 2, 256, 8, 512, 248320, 262144};
constexpr QwenNumbers kQwen35_397b{60, 4096, 32, 2, 512, 10, 1024, 248320, 262144};

std::vector<SynthShape> make_shapes() {
    constexpr Architecture kNext = Architecture::kQwen3Next;
    constexpr Architecture kQwen35 = Architecture::kQwen35Moe;
    return {
        {"qwen3-30b-a3b", "Qwen3-30B-A3B: 48 layers, 128 experts, 8 per token", qwen3_moe(kQwen3_30b, 6144)},
        {"qwen3-235b-a22b", "Qwen3-235B-A22B: 94 layers, 128 experts, 8 per token", qwen3_moe(kQwen3_235b, 12288)},
        {"qwen3-next-80b-a3b", "Qwen3-Next-80B-A3B: 48 layers, 512 experts, 10 per token",
         qwen_hybrid(kNext, kQwen3Next80b, 32)},
        {"qwen3.6-35b-a3b", "Qwen3.6-35B-A3B: 40 layers, 256 experts, 8 per token",
         qwen_hybrid(kQwen35, kQwen36_35b, 32)},
        {"qwen3.5-397b-a17b", "Qwen3.5-397B-A17B: 60 layers, 512 experts, 10 per token",
         qwen_hybrid(kQwen35, kQwen35_397b, 64)},
        {"deepseek-v3", "DeepSeek-V3 (R1, V3.1): 61 layers, 256 experts, 8 per token", deepseek_v3(129280)},
        {"cogito-v2-671b", "Cogito v2 671B: DeepSeek-V3 with a vocabulary of 128815", deepseek_v3(128815)},
        {"kimi-k2", "Kimi-K2: 61 layers, 384 experts, 8 per token", kimi_k2(), true},
    };
}

}  // namespace

const std::vector<SynthShape>& synth_shapes() {
    static const std::vector<SynthShape> shapes = make_shapes();
    return shapes;
}

SynthShape cut_layers(const SynthShape& shape, int64_t layers) {
    if (layers < 1 || layers > shape.config.layers) {
        fail(ErrorCode::kUsage, "--layers {}: {} has 1 to {} layers", layers, shape.name, shape.config.layers);
    }
    SynthShape cut = shape;
    ModelConfig& config = cut.config;
    config.layers = layers;
    config.mixers.resize(static_cast<size_t>(layers));
    config.feed_forwards.resize(static_cast<size_t>(layers));
    config.feed_forwards.back() = FeedForwardKind::kMoe;
    return cut;
}

}  // namespace sluice
