#include "synth/synth_presets.h"

#include <fmt/core.h>

#include "base/error.h"
#include "checkpoint/architecture.h"
#include "synth/published_shape.h"

namespace sluice {

namespace {

struct QwenNumbers {
    int64_t layers, hidden, heads, kv_heads;
    int64_t experts, experts_per_token, expert_intermediate;
    int64_t vocabulary, max_positions;
};

ModelConfig model(const std::string& model_type, int64_t hidden, int64_t vocabulary, int64_t max_positions) {
    ModelConfig config;
    config.architecture = find_architecture(model_type);
    config.model_type = model_type;
    config.hidden_size = hidden;
    config.vocabulary = vocabulary;
    config.max_positions = max_positions;
    return config;
}

LayerConfig qwen_layer(const QwenNumbers& n) {
    LayerConfig layer;
    layer.mixer = GroupedAttentionConfig{
        .heads = n.heads, .kv_heads = n.kv_heads, .head_dim = 128, .rotary = {.dims = 128, .theta = 1e6}};
    layer.feed_forward = MixtureConfig{
        .experts = n.experts, .experts_per_token = n.experts_per_token, .intermediate = n.expert_intermediate};
    return layer;
}

ModelConfig qwen3_moe(const QwenNumbers& n) {
    ModelConfig config = model("qwen3_moe", n.hidden, n.vocabulary, n.max_positions);
    config.layers.assign(static_cast<size_t>(n.layers), qwen_layer(n));
    return config;
}

// Qwen3-Next, Qwen3.5 and Qwen3.6: gated DeltaNet with gated full attention in every fourth layer.
ModelConfig qwen_hybrid(const std::string& model_type, const QwenNumbers& n, int64_t value_heads) {
    ModelConfig config = model(model_type, n.hidden, n.vocabulary, n.max_positions);
    config.layers.assign(static_cast<size_t>(n.layers), qwen_layer(n));
    change_blocks<MixtureConfig>(config, [&](MixtureConfig& mixture) {
        mixture.shared_intermediate = n.expert_intermediate;
        mixture.shared_expert_gated = true;
    });
    change_blocks<GroupedAttentionConfig>(config, [](GroupedAttentionConfig& attention) {
        attention.head_dim = 256;
        attention.gated = true;
        attention.rotary = {.dims = 64, .theta = 1e7};
    });
    for (size_t layer = 0; layer < config.layers.size(); ++layer) {
        if ((layer + 1) % 4 == 0) continue;
        config.layers[layer].mixer = GatedDeltaNetConfig{.key_heads = 16,
                                                         .value_heads = value_heads,
                                                         .key_dim = 128,
                                                         .value_dim = 128,
                                                         .kernel = 4,
                                                         .fused_projections = model_type == "qwen3_next"};
    }
    return config;
}

// Qwen3.8-Flash-Next.
ModelConfig qwen4_exp(const QwenNumbers& n) {
    ModelConfig config = qwen_hybrid("qwen4_exp", n, 48);
    config.final_norm = false;
    config.residual = GatedStreamsConfig{.streams = 4, .rank = 320};
    for (LayerConfig& layer : config.layers) layer.norms.before = false;
    change_blocks<GatedDeltaNetConfig>(config, [](GatedDeltaNetConfig& net) { net.sigmoid_gate = true; });
    change_blocks<GroupedAttentionConfig>(config, [](GroupedAttentionConfig& attention) {
        attention.indexer = {.heads = 4, .head_dim = 128, .tokens = 2048, .pool = 4};
    });
    NGramConfig& ngrams = config.layers[1].ngrams;
    ngrams = {.hash = {}, .row_dim = 160, .kernel = 4, .parts = 128, .table_rows = 320'001'536};
    ngrams.hash.heads_per_order = 8;
    ngrams.hash.end_token = 248044;
    ngrams.hash.multipliers = ngram_multipliers(n.vocabulary, 3, 0, 1234);
    ngrams.hash.head_rows = primes_from(20'000'000, 0, 16);
    ngrams.hash.head_offsets = offsets_of(ngrams.hash.head_rows);
    return config;
}

LatentAttentionConfig latent_attention(int64_t heads, double theta, double factor, double beta_fast) {
    LatentAttentionConfig attention{
        .heads = heads, .query_rank = 1536, .key_value_rank = 512, .nope_dim = 128, .rope_dim = 64, .value_dim = 128};
    attention.rotary = {.dims = 64, .theta = theta, .interleaved = true, .yarn = true, .factor = factor};
    attention.rotary.beta_fast = beta_fast;
    attention.rotary.mscale_all_dim = 1;
    attention.rotary.original_positions = 4096;
    return attention;
}

MixtureConfig corrected_mixture(int64_t experts, int64_t groups, int64_t groups_kept, double scale) {
    return {.experts = experts,
            .experts_per_token = 8,
            .intermediate = 2048,
            .routing = {.score = Routing::Score::kSigmoid,
                        .corrected = true,
                        .groups = groups,
                        .groups_kept = groups_kept,
                        .scale = scale},
            .shared_intermediate = 2048};
}

constexpr int64_t kDeepseekDense = 18432;

void set_layers(ModelConfig& config, const LatentAttentionConfig& attention, const MixtureConfig& mixture,
                size_t dense_layers) {
    config.layers.assign(61, {.mixer = attention, .feed_forward = mixture});
    for (size_t layer = 0; layer < dense_layers; ++layer) {
        config.layers[layer].feed_forward = DenseMlpConfig{.intermediate = kDeepseekDense};
    }
}

ModelConfig deepseek_v3(int64_t vocabulary) {
    ModelConfig config = model("deepseek_v3", 7168, vocabulary, 163840);
    set_layers(config, latent_attention(128, 1e4, 40, 32), corrected_mixture(256, 8, 4, 2.5), 3);
    return config;
}

ModelConfig kimi_k2() {
    ModelConfig config = model("kimi_k2", 7168, 163840, 131072);
    set_layers(config, latent_attention(64, 5e4, 32, 1), corrected_mixture(384, 1, 1, 2.827), 1);
    return config;
}

constexpr QwenNumbers kQwen3_30b{48, 2048, 32, 4, 128, 8, 768, 151936, 40960};
constexpr QwenNumbers kQwen3_235b{94, 4096, 64, 4, 128, 8, 1536, 151936, 40960};
constexpr QwenNumbers kQwen3Next80b{48, 2048, 16, 2, 512, 10, 512, 151936, 262144};
constexpr QwenNumbers kQwen36_35b{40, 2048, 16, 2, 256, 8, 512, 248320, 262144};
constexpr QwenNumbers kQwen38Flash{48, 2560, 24, 2, 512, 10, 640, 248320, 262144};
constexpr QwenNumbers kQwen35_397b{60, 4096, 32, 2, 512, 10, 1024, 248320, 262144};

std::vector<SynthShape> make_shapes() {
    std::vector<SynthShape> shapes = {
        {"qwen3-30b-a3b", "Qwen3-30B-A3B: 48 layers, 128 experts, 8 per token", &kQwen3MoeLayout, qwen3_moe(kQwen3_30b),
         6144},
        {"qwen3-235b-a22b", "Qwen3-235B-A22B: 94 layers, 128 experts, 8 per token", &kQwen3MoeLayout,
         qwen3_moe(kQwen3_235b), 12288},
        {"qwen3-next-80b-a3b", "Qwen3-Next-80B-A3B: 48 layers, 512 experts, 10 per token", &kQwen3NextLayout,
         qwen_hybrid("qwen3_next", kQwen3Next80b, 32), 5120},
        {"qwen3.6-35b-a3b", "Qwen3.6-35B-A3B: 40 layers, 256 experts, 8 per token", &kQwen35Layout,
         qwen_hybrid("qwen3_5_moe", kQwen36_35b, 32)},
        {"qwen3.5-397b-a17b", "Qwen3.5-397B-A17B: 60 layers, 512 experts, 10 per token", &kQwen35Layout,
         qwen_hybrid("qwen3_5_moe", kQwen35_397b, 64)},
        {"qwen3.8-flash-next", "Qwen3.8-Flash-Next: 48 layers, 512 experts, 10 per token, a table of 102 GB as a hole",
         &kQwen4ExpLayout, qwen4_exp(kQwen38Flash)},
        {"deepseek-v3", "DeepSeek-V3 (R1, V3.1): 61 layers, 256 experts, 8 per token", &kDeepseekLayout,
         deepseek_v3(129280), kDeepseekDense},
        {"cogito-v2-671b", "Cogito v2 671B: DeepSeek-V3 with a vocabulary of 128815", &kDeepseekLayout,
         deepseek_v3(128815), kDeepseekDense},
        {"kimi-k2", "Kimi-K2: 61 layers, 384 experts, 8 per token", &kKimiLayout, kimi_k2(), kDeepseekDense},
    };
    for (SynthShape& shape : published_presets()) shapes.push_back(std::move(shape));
    return shapes;
}

}  // namespace

const std::vector<SynthShape>& synth_shapes() {
    static const std::vector<SynthShape> shapes = make_shapes();
    return shapes;
}

SynthShape cut_layers(const SynthShape& shape, int64_t layers) {
    if (layers < 1 || layers > shape.config.layer_count()) {
        fail(ErrorCode::kUsage, "`layers` {}: {} has 1 to {} layers", layers, shape.name, shape.config.layer_count());
    }
    if (!shape.published.empty()) return cut_published_shape(shape, layers);
    SynthShape cut = shape;
    cut.config.layers.resize(static_cast<size_t>(layers));
    cut.config.layers.back().feed_forward = *first_block<MixtureConfig>(shape.config);
    const auto* attention = first_block<GroupedAttentionConfig>(shape.config);
    if (attention != nullptr) cut.cut_attention = *attention;
    return cut;
}

}  // namespace sluice
