// Configs whose layers differ in what moves information between tokens: indexers, delta attention, Mamba-2.

#include <gtest/gtest.h>

#include "checkpoint/architecture.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/model_config.h"
#include "checkpoint/weights.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_families.h"

namespace sluice {
namespace {

using nlohmann::json;
using testing::tiny_deepseek_v32_config;
using testing::tiny_kimi_linear_config;
using testing::tiny_nemotron_h_config;

ModelConfig parse(const json& config) {
    return parse_model_config(config.dump(), "dir/config.json");
}

void expect_refused(const json& good, const json& change, ErrorCode code, std::vector<std::string> parts) {
    json config = good;
    config.merge_patch(change);
    parts.emplace_back("dir/config.json");
    testing::expect_error(code, parts, [&] { parse(config); });
}

json glm_moe_dsa(int layers) {
    json config = testing::tiny_deepseek_v32_config();
    config.update({{"model_type", "glm_moe_dsa"}, {"num_hidden_layers", layers}});
    return config;
}

// Of each layer, whether it chooses tokens itself.
std::vector<bool> own_indexers(const ModelConfig& config) {
    std::vector<bool> own;
    for (const LayerConfig& layer : config.layers) own.push_back(block_of<LatentAttentionConfig>(layer)->indexer.own());
    return own;
}

TEST(MixerConfig, DeepseekV32ChoosesTokensInEveryLayer) {
    const ModelConfig parsed = parse(tiny_deepseek_v32_config());
    const IndexerConfig& indexer = first_block<LatentAttentionConfig>(parsed)->indexer;
    EXPECT_EQ(parsed.architecture->name, "deepseek_v32");
    EXPECT_EQ(indexer.heads, 4);
    EXPECT_EQ(indexer.head_dim, 32);
    EXPECT_EQ(indexer.tokens, 20);
    EXPECT_FALSE(indexer.interleaved);
    EXPECT_EQ(own_indexers(parsed), (std::vector{true, true}));
    expect_refused(tiny_deepseek_v32_config(), {{"index_topk", nullptr}}, ErrorCode::kInvalidFile,
                   {"index_topk", "missing"});
    expect_refused(tiny_deepseek_v32_config(), {{"q_lora_rank", nullptr}}, ErrorCode::kInvalidFile, {"q_lora_rank"});
    expect_refused(tiny_deepseek_v32_config(), {{"index_head_dim", 2}}, ErrorCode::kInvalidFile,
                   {"index_head_dim", "2"});
}

TEST(MixerConfig, LayersOfGlmShareChoicesByListPatternOrPeriod) {
    json config = glm_moe_dsa(5);
    EXPECT_EQ(own_indexers(parse(config)), (std::vector{true, true, true, true, true}));
    EXPECT_TRUE(first_block<LatentAttentionConfig>(parse(config))->indexer.interleaved);
    config.update({{"index_topk_freq", 2}, {"index_skip_topk_offset", 3}});
    EXPECT_EQ(own_indexers(parse(config)), (std::vector{true, true, true, false, true}));
    config["index_topk_pattern"] = "FSSFS";
    EXPECT_EQ(own_indexers(parse(config)), (std::vector{true, false, false, true, false}));
    config["indexer_types"] = {"full", "full", "shared", "full", "shared"};
    EXPECT_EQ(own_indexers(parse(config)), (std::vector{true, true, false, true, false}));
    EXPECT_EQ(mixer_weights(parse(config), parse(config).layers[2]).size() + 5,
              mixer_weights(parse(config), parse(config).layers[1]).size());
    config["mlp_layer_types"] = {"dense", "sparse", "dense", "sparse", "sparse"};
    EXPECT_EQ(parse(config).mixture_of(2), nullptr);
    EXPECT_NE(parse(config).mixture_of(1), nullptr);
    expect_refused(config, {{"indexer_types", {"shared", "full", "full", "full", "full"}}}, ErrorCode::kInvalidFile,
                   {"indexer_types", "layer 0"});
    expect_refused(config, {{"indexer_types", {"full", "half", "full", "full", "full"}}}, ErrorCode::kInvalidFile,
                   {"indexer_types", "half", "shared"});
    expect_refused(config, {{"mlp_layer_types", json::array({"dense"})}}, ErrorCode::kInvalidFile,
                   {"mlp_layer_types", "1", "5"});
}

TEST(MixerConfig, KimiLinearCountsLayersFromOne) {
    const ModelConfig parsed = parse(tiny_kimi_linear_config());
    std::vector<bool> delta;
    for (const LayerConfig& layer : parsed.layers) delta.push_back(block_of<GatedDeltaNetConfig>(layer) != nullptr);
    EXPECT_EQ(delta, (std::vector{true, true, false, true}));
    const auto& net = *first_block<GatedDeltaNetConfig>(parsed);
    EXPECT_TRUE(net.separate_projections && net.sigmoid_gate);
    EXPECT_EQ(net.decay_width(), 32);
    EXPECT_EQ(first_block<LatentAttentionConfig>(parsed)->rotary.dims, 0);
    EXPECT_FALSE(first_block<MixtureConfig>(parsed)->routing.normalize);
    EXPECT_EQ(first_block<MixtureConfig>(parsed)->shared_intermediate, 24);
    EXPECT_EQ(parsed.max_positions, 512);
    json rotated = tiny_kimi_linear_config();
    rotated["mla_use_nope"] = false;
    EXPECT_EQ(first_block<LatentAttentionConfig>(parse(rotated))->rotary.dims, 8);
    const auto lists = [](const json& change) { return json{{"linear_attn_config", change}}; };
    expect_refused(tiny_kimi_linear_config(), lists({{"kda_layers", {1, 2}}}), ErrorCode::kInvalidFile,
                   {"linear_attn_config.kda_layers", "layer 4", "neither"});
    expect_refused(tiny_kimi_linear_config(), lists({{"kda_layers", {1, 2, 3, 4}}}), ErrorCode::kInvalidFile,
                   {"full_attn_layers", "3", "twice"});
    expect_refused(tiny_kimi_linear_config(), lists({{"kda_layers", {0, 1, 2, 4}}}), ErrorCode::kInvalidFile,
                   {"kda_layers", "0"});
    expect_refused(tiny_kimi_linear_config(), {{"linear_attn_config", nullptr}}, ErrorCode::kInvalidFile,
                   {"linear_attn_config"});
}

TEST(MixerConfig, NemotronHHasOneBlockALayer) {
    const ModelConfig parsed = parse(tiny_nemotron_h_config());
    EXPECT_TRUE(parsed.layers[0].mixes() && !parsed.layers[0].feeds_forward());
    EXPECT_TRUE(!parsed.layers[1].mixes() && parsed.layers[1].feeds_forward());
    EXPECT_NE(block_of<SelectiveScanConfig>(parsed.layers[0]), nullptr);
    EXPECT_EQ(first_block<GroupedAttentionConfig>(parsed)->rotary.dims, 0);
    EXPECT_FALSE(first_block<MixtureConfig>(parsed)->activation.gated());
    EXPECT_EQ(first_block<MixtureConfig>(parsed)->shared_intermediate, 48);
    EXPECT_EQ(first_block<DenseMlpConfig>(parsed)->intermediate, 40);
    EXPECT_EQ(parsed.rms_norm_epsilon, 1e-5);
    // A norm and the block: of an MLP its two matrices.
    EXPECT_EQ(layer_weights(parsed, parsed.layers[3]).size(), 3u);
    EXPECT_EQ(layer_weights(parsed, parsed.layers[3]).front().role, Role::kMixerNorm);
    expect_refused(tiny_nemotron_h_config(), {{"hybrid_override_pattern", "ME*"}}, ErrorCode::kInvalidFile,
                   {"hybrid_override_pattern", "3 letters", "4"});
    expect_refused(tiny_nemotron_h_config(), {{"hybrid_override_pattern", "ME?-"}}, ErrorCode::kUnsupported,
                   {"hybrid_override_pattern", "letter 3"});
    json words = tiny_nemotron_h_config();
    words.erase("hybrid_override_pattern");
    words["layers_block_type"] = {"mamba", "moe", "attention", "mlp"};
    EXPECT_EQ(parse(words).layers, parsed.layers);
    words.erase("num_hidden_layers");
    words["layers_block_type"] = {"linear_attention", "moe", "full_attention", "mlp"};
    EXPECT_EQ(parse(words).layers, parsed.layers);
    expect_refused(words, {{"layers_block_type", {"mamba", "moe", "window", "mlp"}}}, ErrorCode::kUnsupported,
                   {"layers_block_type", "window", "attention"});
    expect_refused(tiny_nemotron_h_config(), {{"moe_latent_size", 0}}, ErrorCode::kInvalidFile, {"moe_latent_size"});
    expect_refused(tiny_nemotron_h_config(), {{"n_groups", 3}}, ErrorCode::kInvalidFile, {"n_groups", "3", "4"});
    expect_refused(tiny_nemotron_h_config(), {{"mlp_hidden_act", "silu"}}, ErrorCode::kUnsupported,
                   {"mlp_hidden_act", "relu2"});
}

// What transformers writes when it has read a published config: words for lists, settings by type of layer.
TEST(MixerConfig, MimoV2FlashAsPublishedAndAsSaved) {
    json common = {{"model_type", "mimo_v2_flash"},
                   {"hidden_size", 32},
                   {"num_hidden_layers", 3},
                   {"vocab_size", 64},
                   {"intermediate_size", 48},
                   {"max_position_embeddings", 256},
                   {"num_attention_heads", 4},
                   {"num_key_value_heads", 1},
                   {"head_dim", 16},
                   {"v_head_dim", 12},
                   {"sliding_window", 8},
                   {"n_routed_experts", 4},
                   {"num_experts_per_tok", 2},
                   {"n_group", 1},
                   {"topk_group", 1},
                   {"moe_intermediate_size", 24},
                   {"norm_topk_prob", true},
                   {"attention_value_scale", 0.707}};
    json published = common, saved = common;
    published.update({{"hybrid_layer_pattern", {0, 1, 0}},
                      {"moe_layer_freq", {0, 1, 1}},
                      {"rope_theta", 5e6},
                      {"swa_rope_theta", 1e4},
                      {"partial_rotary_factor", 0.5},
                      {"swa_num_key_value_heads", 2},
                      {"layernorm_epsilon", 1e-5},
                      {"routed_scaling_factor", nullptr}});
    saved.update({{"layer_types", {"full_attention", "sliding_attention", "full_attention"}},
                  {"mlp_layer_types", {"dense", "sparse", "sparse"}},
                  {"rms_norm_eps", 1e-5},
                  {"routed_scaling_factor", 1.0}});
    const auto rope = [](double theta) {
        return json{{"rope_type", "default"}, {"rope_theta", theta}, {"partial_rotary_factor", 0.5}};
    };
    saved["rope_parameters"] = {{"full_attention", rope(5e6)}, {"sliding_attention", rope(1e4)}};
    const ModelConfig parsed = parse(published);
    const auto* window = block_of<GroupedAttentionConfig>(parsed.layers[1]);
    EXPECT_EQ(window->kv_heads, 2);
    EXPECT_EQ(window->rotary.theta, 1e4);
    EXPECT_EQ(block_of<GroupedAttentionConfig>(parsed.layers[2])->rotary.theta, 5e6);
    EXPECT_EQ(parse(saved).layers, parsed.layers);
    expect_refused(saved, {{"rope_parameters", {{"sliding_attention", {{"rope_theta", 0.5}}}}}},
                   ErrorCode::kInvalidFile, {"sliding_attention.", "rope_theta", "0.5"});
    expect_refused(saved, {{"mlp_layer_types", {"dense", "sparse", "none"}}}, ErrorCode::kInvalidFile,
                   {"mlp_layer_types", "none"});
}

TEST(MixerConfig, OneLayerOfLlama4InSoManyHasNoPositions) {
    json config = {{"model_type", "llama4_text"}, {"hidden_size", 32},
                   {"num_hidden_layers", 4},      {"vocab_size", 64},
                   {"intermediate_size", 24},     {"max_position_embeddings", 256},
                   {"num_attention_heads", 2},    {"num_local_experts", 4},
                   {"num_experts_per_tok", 1},    {"no_rope_layer_interval", 2}};
    const auto still = [](const ModelConfig& parsed) {
        std::vector<bool> layers;
        for (const LayerConfig& layer : parsed.layers) {
            layers.push_back(block_of<GroupedAttentionConfig>(layer)->rotary.dims == 0);
        }
        return layers;
    };
    EXPECT_EQ(still(parse(config)), (std::vector{false, true, false, true}));
    config["no_rope_layers"] = {0, 1, 1, 1};
    EXPECT_EQ(still(parse(config)), (std::vector{true, false, false, false}));
    expect_refused(config, {{"no_rope_layer_interval", 0}}, ErrorCode::kInvalidFile, {"no_rope_layer_interval"});
}

// `rotary_dim` is a share of a head in configs that transformers saved.
TEST(MixerConfig, MinimaxM2RotatesAPartOfAHead) {
    json config = {{"model_type", "minimax_m2"},
                   {"hidden_size", 32},
                   {"num_hidden_layers", 1},
                   {"vocab_size", 64},
                   {"intermediate_size", 24},
                   {"max_position_embeddings", 256},
                   {"num_attention_heads", 2},
                   {"num_local_experts", 4},
                   {"num_experts_per_tok", 1},
                   {"head_dim", 16},
                   {"rotary_dim", 8},
                   {"rope_theta", 5e6}};
    const ModelConfig parsed = parse(config);
    EXPECT_EQ(first_block<GroupedAttentionConfig>(parsed)->rotary.dims, 8);
    config.erase("rotary_dim");
    config.erase("rope_theta");
    config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 5e6}, {"partial_rotary_factor", 0.5}};
    EXPECT_EQ(parse(config).layers, parsed.layers);
}

TEST(MixerConfig, NemotronHsExpertsMayReadLessThanTheHiddenSize) {
    const ModelConfig parsed = parse(testing::tiny_nemotron_h_latent_config(16));
    EXPECT_EQ(first_block<MixtureConfig>(parsed)->width(parsed.hidden_size), 16);
    const std::vector<WeightSpec> weights = feed_forward_weights(parsed, parsed.layers[1]);
    const auto input = std::ranges::find(weights, Role::kExpertsInput, &WeightSpec::role);
    ASSERT_NE(input, weights.end());
    EXPECT_EQ(input->rows(), 16);
    EXPECT_EQ(input->columns, 32);
    EXPECT_EQ(first_block<MixtureConfig>(parse(tiny_nemotron_h_config()))->width(32), 32);
}

TEST(MixerConfig, Glm5NextPoolsKeysAndBoundsDecays) {
    using testing::tiny_glm5_next_config;
    const ModelConfig parsed = parse(tiny_glm5_next_config());
    std::vector<bool> delta;
    for (const LayerConfig& layer : parsed.layers) delta.push_back(block_of<GatedDeltaNetConfig>(layer) != nullptr);
    EXPECT_EQ(delta, (std::vector{true, true, false, false}));
    EXPECT_EQ(first_block<GatedDeltaNetConfig>(parsed)->decay_bound, -5);
    const auto& attention = *first_block<LatentAttentionConfig>(parsed);
    EXPECT_EQ(attention.rope_dim, 0);
    EXPECT_EQ(attention.norm_epsilon, 1e-5);
    EXPECT_EQ(attention.indexer.pool, 4);
    EXPECT_EQ(attention.indexer.most_seen(), 15);
    EXPECT_TRUE(block_of<LatentAttentionConfig>(parsed.layers[3])->indexer.shared);
    EXPECT_EQ(first_block<DenseMlpConfig>(parsed)->activation.limit, 1.5);
    EXPECT_EQ(first_block<MixtureConfig>(parsed)->activation.limit, 1.5);
    EXPECT_EQ(first_block<MixtureConfig>(parsed)->routing.scale, 2.5);
    EXPECT_EQ(first_block<MixtureConfig>(parsed)->shared_intermediate, 24);
    const auto& residual = std::get<HyperConnectionConfig>(parsed.residual);
    EXPECT_EQ(residual.streams, 3);
    EXPECT_EQ(residual.rounds, 20);
    EXPECT_FALSE(residual.learned_end);
    EXPECT_EQ(model_weights(parsed).size(), 3u);

    json defaults = tiny_glm5_next_config();
    for (const char* name : {"layer_types", "mlp_layer_types", "indexer_types", "hc_mult", "swiglu_limit"}) {
        defaults.erase(name);
    }
    const ModelConfig by_default = parse(defaults);
    EXPECT_NE(block_of<LatentAttentionConfig>(by_default.layers[3]), nullptr);
    EXPECT_NE(block_of<GatedDeltaNetConfig>(by_default.layers[2]), nullptr);
    EXPECT_EQ(by_default.mixture_of(2), nullptr);
    EXPECT_EQ(by_default.streams(), 4);
    EXPECT_EQ(first_block<DenseMlpConfig>(by_default)->activation.limit, 10);
    const auto bound = [](const json& change) {
        json config = tiny_glm5_next_config();
        config["linear_attn_config"].update(change);
        return first_block<GatedDeltaNetConfig>(parse(config))->decay_bound;
    };
    EXPECT_EQ(bound({{"gate_lower_bound", nullptr}}), -5);
    EXPECT_EQ(bound({{"gate_lower_bound", nullptr}, {"safe_gate", false}}), 0);

    expect_refused(tiny_glm5_next_config(), {{"index_topk", 3}}, ErrorCode::kInvalidFile, {"index_topk", "3", "4"});
    expect_refused(tiny_glm5_next_config(), {{"qk_rope_head_dim", 8}}, ErrorCode::kUnsupported, {"qk_rope_head_dim"});
    expect_refused(tiny_glm5_next_config(), {{"mhc", false}}, ErrorCode::kUnsupported, {"mhc"});
    expect_refused(tiny_glm5_next_config(), {{"indexer_types", {"full", "full", "shared", "full"}}},
                   ErrorCode::kInvalidFile, {"indexer_types", "layer 2"});
    expect_refused(tiny_glm5_next_config(), {{"linear_attn_config", {{"gate_lower_bound", 5}}}},
                   ErrorCode::kInvalidFile, {"linear_attn_config.gate_lower_bound", "5"});
}

TEST(MixerConfig, Step3p7HasMoreHeadsInWindowsAndCutsTheLastLayers) {
    const json good = testing::tiny_step3p7_config();
    const ModelConfig parsed = parse(good);
    EXPECT_EQ(parsed.architecture->name, "step3p7");
    EXPECT_EQ(parsed.rms_norm_epsilon, 1e-5);
    ASSERT_EQ(parsed.layers.size(), 4u);
    EXPECT_NE(block_of<DenseMlpConfig>(parsed.layers[0]), nullptr);
    for (const size_t layer : {0u, 1u, 2u, 3u}) {
        const auto& attention = *block_of<GroupedAttentionConfig>(parsed.layers[layer]);
        const bool full = layer == 0 || layer == 3;
        EXPECT_EQ(attention.heads, full ? 4 : 6);
        EXPECT_EQ(attention.kv_heads, 2);
        EXPECT_EQ(attention.window, full ? 0 : 9);
        EXPECT_TRUE(attention.head_gates);
        EXPECT_EQ(attention.rotary.dims, full ? 8 : 16);
        EXPECT_EQ(attention.rotary.theta, full ? 5000 : 100);
        EXPECT_EQ(attention.rotary.high_frequency_factor, full ? 8 : 0);
    }
    const auto& experts = *block_of<MixtureConfig>(parsed.layers[3]);
    EXPECT_EQ(experts.activation.limit, 0.5);
    EXPECT_EQ(experts.shared_activation->limit, 0.75);
    EXPECT_EQ(block_of<MixtureConfig>(parsed.layers[2])->activation.limit, 0);
    const auto refused = [&](const json& change, std::vector<std::string> parts) {
        expect_refused(good, {{"text_config", change}}, ErrorCode::kInvalidFile, std::move(parts));
    };
    refused({{"rope_theta", {100.0, 100.0}}}, {"rope_theta", "layer 2"});
    refused({{"moe_layers_enum", "1,-2"}}, {"moe_layers_enum"});
    refused({{"num_attention_groups", 3}}, {"num_attention_groups", "3"});
    refused({{"layer_types", {"full_attention", "global", "full_attention", "full_attention"}}}, {"layer_types"});
}

TEST(MixerConfig, ExpertsByTokenAreOfThoseThatThereAre) {
    const testing::TemporaryFolder folder;
    testing::tiny_model(testing::tiny_deepseek_v4_config()).write(folder / "model");
    const auto checkpoint = Checkpoint::open(folder / "model");
    EXPECT_EQ(checkpoint->numbers(0, Role::kRouterTable, 8).size(), 40u * 2);
    testing::expect_error(ErrorCode::kInvalidFile, {"layers.0.ffn.gate.tid2eid", "not below 2"},
                          [&] { checkpoint->numbers(0, Role::kRouterTable, 2); });
}

TEST(MixerConfig, DeepseekV4CompressesRunsOfTwoLengths) {
    using testing::tiny_deepseek_v4_config;
    const ModelConfig parsed = parse(tiny_deepseek_v4_config());
    const auto attention = [&](size_t layer) { return *block_of<CompressedAttentionConfig>(parsed.layers[layer]); };
    EXPECT_EQ(attention(0).ratio, 0);
    EXPECT_FALSE(attention(0).rotary.yarn);
    EXPECT_EQ(attention(0).rotary.theta, 10000);
    EXPECT_EQ(attention(1).ratio, 4);
    EXPECT_TRUE(attention(1).overlapping && attention(1).indexer.own() && attention(1).rotary.yarn);
    EXPECT_EQ(attention(1).rotary.theta, 160000);
    EXPECT_EQ(attention(1).rotary.mscale, 0);
    EXPECT_EQ(attention(2).ratio, 128);
    EXPECT_FALSE(attention(2).overlapping || attention(2).indexer.own());
    EXPECT_TRUE(parsed.mixture_of(0)->routing.by_token);
    EXPECT_FALSE(parsed.mixture_of(0)->routing.corrected);
    EXPECT_TRUE(parsed.mixture_of(1)->routing.corrected);
    EXPECT_EQ(parsed.mixture_of(1)->routing.score, Routing::Score::kSqrtSoftplus);
    EXPECT_TRUE(std::get<HyperConnectionConfig>(parsed.residual).learned_end);
    EXPECT_EQ(model_weights(parsed).size(), 6u);
    expect_refused(tiny_deepseek_v4_config(), {{"compress_ratios", {0, 4}}}, ErrorCode::kInvalidFile,
                   {"compress_ratios", "2", "3"});
    expect_refused(tiny_deepseek_v4_config(), {{"compress_ratios", {0, 8, 128}}}, ErrorCode::kUnsupported,
                   {"compress_ratios", "8"});
    expect_refused(tiny_deepseek_v4_config(), {{"o_groups", 3}}, ErrorCode::kInvalidFile, {"o_groups", "3", "4"});
    expect_refused(tiny_deepseek_v4_config(), {{"scoring_func", "sigmoid"}}, ErrorCode::kUnsupported, {"scoring_func"});
    expect_refused(tiny_deepseek_v4_config(), {{"qk_rope_head_dim", 9}}, ErrorCode::kInvalidFile,
                   {"qk_rope_head_dim", "odd"});
}

}  // namespace
}  // namespace sluice
