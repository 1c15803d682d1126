#include "checkpoint/model_config.h"

#include <gtest/gtest.h>

#include "checkpoint/architecture.h"
#include "tests/support/tiny_checkpoint.h"

namespace sluice {
namespace {

using nlohmann::json;
using testing::expect_error;

ModelConfig parse(const json& config) {
    return parse_model_config(config.dump(), "dir/config.json");
}

json qwen3_moe() {
    return testing::tiny_qwen3_moe().config;
}

json qwen35() {
    return testing::tiny_qwen35_moe().config;
}

json deepseek() {
    return testing::tiny_deepseek_v3().config;
}

template <class Block>
const Block& first(const ModelConfig& config) {
    return *first_block<Block>(config);
}

RotaryConfig rotary_of(const ModelConfig& config) {
    if (const auto* latent = first_block<LatentAttentionConfig>(config)) return latent->rotary;
    return first<GroupedAttentionConfig>(config).rotary;
}

std::vector<bool> layers_with_experts(const ModelConfig& config) {
    std::vector<bool> layers;
    for (int64_t layer = 0; layer < config.layer_count(); ++layer)
        layers.push_back(config.mixture_of(layer) != nullptr);
    return layers;
}

std::vector<bool> layers_of_full_attention(const ModelConfig& config) {
    std::vector<bool> layers;
    for (const LayerConfig& layer : config.layers) {
        layers.push_back(std::holds_alternative<GroupedAttentionConfig>(layer.mixer));
    }
    return layers;
}

void expect_refused(const json& config, ErrorCode code, std::vector<std::string> parts) {
    parts.emplace_back("dir/config.json");
    expect_error(code, parts, [&] { parse(config); });
}

TEST(ModelConfig, Qwen3Moe) {
    json config = qwen3_moe();
    config["rms_norm_eps"] = 1e-5;
    const ModelConfig parsed = parse(config);
    EXPECT_EQ(parsed.architecture->name, "qwen3_moe");
    EXPECT_EQ(parsed.hidden_size, 64);
    EXPECT_EQ(parsed.rms_norm_epsilon, 1e-5);
    EXPECT_FALSE(parsed.tied_embeddings);
    ASSERT_EQ(parsed.layer_count(), 2);
    for (const LayerConfig& layer : parsed.layers) {
        const auto& attention = std::get<GroupedAttentionConfig>(layer.mixer);
        EXPECT_EQ(attention.heads, 4);
        EXPECT_EQ(attention.kv_heads, 2);
        EXPECT_EQ(attention.head_dim, 16);
        EXPECT_EQ(attention.rotary.dims, 16);
        EXPECT_EQ(attention.query_key_norm, QueryKeyNorm::kPerHead);
        EXPECT_FALSE(attention.gated);
        const auto& mixture = std::get<MixtureConfig>(layer.feed_forward);
        EXPECT_EQ(mixture.routing.score, Routing::Score::kSoftmax);
        EXPECT_FALSE(mixture.routing.normalize);
        EXPECT_FALSE(mixture.routing.corrected);
        EXPECT_EQ(mixture.shared_intermediate, 0);
    }
}

TEST(ModelConfig, DenseLayersOfQwen) {
    json config = qwen3_moe();
    config["num_hidden_layers"] = 6;
    config["decoder_sparse_step"] = 2;
    config["mlp_only_layers"] = {3};
    config["intermediate_size"] = 96;
    const ModelConfig parsed = parse(config);
    EXPECT_EQ(layers_with_experts(parsed), (std::vector{false, true, false, false, false, true}));
    EXPECT_EQ(first<DenseMlpConfig>(parsed).intermediate, 96);
    config.erase("intermediate_size");
    expect_refused(config, ErrorCode::kInvalidFile, {"intermediate_size", "missing"});
}

TEST(ModelConfig, Qwen35Nested) {
    json config = qwen35();
    ModelConfig parsed = parse(config);
    EXPECT_EQ(parsed.architecture->name, "qwen3_5_moe");
    EXPECT_EQ(parsed.model_type, "qwen3_5_moe");
    EXPECT_TRUE(first<GroupedAttentionConfig>(parsed).gated);
    EXPECT_TRUE(first<MixtureConfig>(parsed).routing.normalize);
    EXPECT_TRUE(first<MixtureConfig>(parsed).shared_expert_gated);
    EXPECT_EQ(first<MixtureConfig>(parsed).shared_intermediate, 32);
    EXPECT_EQ(rotary_of(parsed).dims, 8);
    EXPECT_EQ(rotary_of(parsed).theta, 1e7);
    EXPECT_EQ(first<GatedDeltaNetConfig>(parsed).kernel, 4);
    EXPECT_EQ(layers_of_full_attention(parsed), (std::vector{false, true}));
    // The factor inside rope_parameters wins over one beside it.
    config["text_config"]["partial_rotary_factor"] = 1.0;
    EXPECT_EQ(rotary_of(parse(config)).dims, 8);
    config["text_config"]["rope_parameters"].erase("partial_rotary_factor");
    EXPECT_EQ(rotary_of(parse(config)).dims, 16);
    config["text_config"].erase("partial_rotary_factor");
    EXPECT_EQ(rotary_of(parse(config)).dims, 4);
    // The nested tie is asked first.
    config["tie_word_embeddings"] = true;
    EXPECT_TRUE(parse(config).tied_embeddings);
    config["text_config"]["tie_word_embeddings"] = false;
    EXPECT_FALSE(parse(config).tied_embeddings);
}

TEST(ModelConfig, FlatTextModelOfQwen35) {
    const ModelConfig parsed = parse(qwen35()["text_config"]);
    EXPECT_EQ(parsed.architecture->name, "qwen3_5_moe");
    EXPECT_EQ(parsed.model_type, "qwen3_5_moe_text");
}

TEST(ModelConfig, PublishedQwen3NextHasNoLayerTypes) {
    json config = qwen35()["text_config"];
    config["model_type"] = "qwen3_next";
    config.erase("layer_types");
    config["num_hidden_layers"] = 8;
    config["full_attention_interval"] = 3;
    config["norm_topk_prob"] = false;
    const ModelConfig parsed = parse(config);
    EXPECT_EQ(layers_of_full_attention(parsed), (std::vector{false, false, true, false, false, true, false, false}));
    EXPECT_FALSE(first<MixtureConfig>(parsed).routing.normalize);
}

TEST(ModelConfig, DeepseekV3) {
    json config = deepseek();
    ModelConfig parsed = parse(config);
    EXPECT_EQ(parsed.architecture->name, "deepseek_v3");
    EXPECT_EQ(first<LatentAttentionConfig>(parsed).query_rank, 32);
    const MixtureConfig& mixture = first<MixtureConfig>(parsed);
    EXPECT_EQ(mixture.routing.score, Routing::Score::kSigmoid);
    EXPECT_TRUE(mixture.routing.corrected);
    EXPECT_TRUE(mixture.routing.normalize);
    EXPECT_EQ(mixture.routing.groups, 4);
    EXPECT_EQ(mixture.routing.groups_kept, 2);
    EXPECT_EQ(mixture.shared_intermediate, 64);
    EXPECT_FALSE(mixture.shared_expert_gated);
    EXPECT_EQ(layers_with_experts(parsed), (std::vector{false, true}));
    EXPECT_TRUE(rotary_of(parsed).yarn);
    EXPECT_TRUE(rotary_of(parsed).interleaved);
    EXPECT_EQ(rotary_of(parsed).factor, 40.0);
    EXPECT_EQ(rotary_of(parsed).original_positions, 16);
    EXPECT_EQ(rotary_of(parsed).mscale, 0.8);
    EXPECT_EQ(rotary_of(parsed).mscale_all_dim, 0.5);
    config["q_lora_rank"] = nullptr;
    config["rope_interleave"] = false;
    config["rope_scaling"].erase("mscale");
    config["rope_scaling"].erase("mscale_all_dim");
    parsed = parse(config);
    EXPECT_EQ(first<LatentAttentionConfig>(parsed).query_rank, 0);
    EXPECT_FALSE(rotary_of(parsed).interleaved);
    EXPECT_EQ(rotary_of(parsed).mscale, 1.0);
    EXPECT_EQ(rotary_of(parsed).mscale_all_dim, 0.0);
}

TEST(ModelConfig, KimiFlatAndNested) {
    json config = deepseek();
    config["model_type"] = "kimi_k2";
    EXPECT_EQ(parse(config).architecture->name, "deepseek_v3");
    const json nested = {{"model_type", "kimi_k25"}, {"text_config", config}};
    EXPECT_EQ(parse(nested).architecture->name, "deepseek_v3");
    EXPECT_EQ(parse(nested).model_type, "kimi_k25");
}

json with_model_type(json config, const char* type) {
    config["model_type"] = type;
    config["intermediate_size"] = config["moe_intermediate_size"];
    config.erase("moe_intermediate_size");
    return config;
}

TEST(ModelConfig, Olmoe) {
    json config = with_model_type(qwen3_moe(), "olmoe");
    const ModelConfig parsed = parse(config);
    const auto& attention = first<GroupedAttentionConfig>(parsed);
    EXPECT_EQ(attention.query_key_norm, QueryKeyNorm::kWholeProjection);
    EXPECT_EQ(attention.projection_clamp, 0);
    EXPECT_FALSE(attention.query_key_value_bias);
    EXPECT_EQ(first<MixtureConfig>(parsed).intermediate, 32);
    EXPECT_FALSE(first<MixtureConfig>(parsed).routing.normalize);
    // Said, and refused when the model is put together.
    config["clip_qkv"] = 8.0;
    config["attention_bias"] = true;
    EXPECT_EQ(first<GroupedAttentionConfig>(parse(config)).projection_clamp, 8.0);
    EXPECT_TRUE(first<GroupedAttentionConfig>(parse(config)).output_bias);
}

TEST(ModelConfig, Mixtral) {
    json config = with_model_type(qwen3_moe(), "mixtral");
    config["norm_topk_prob"] = false;
    const ModelConfig parsed = parse(config);
    EXPECT_EQ(first<GroupedAttentionConfig>(parsed).query_key_norm, QueryKeyNorm::kNone);
    EXPECT_EQ(first<GroupedAttentionConfig>(parsed).window, 0);
    EXPECT_TRUE(first<MixtureConfig>(parsed).routing.normalize);
    config["sliding_window"] = 64;
    EXPECT_EQ(first<GroupedAttentionConfig>(parse(config)).window, 64);
}

TEST(ModelConfig, RopeSettingsOldAndNew) {
    json config = deepseek();
    const RotaryConfig old_style = rotary_of(parse(config));
    json rope = config["rope_scaling"];
    rope["rope_type"] = rope["type"];
    rope.erase("type");
    rope["rope_theta"] = config["rope_theta"];
    config.erase("rope_scaling");
    config.erase("rope_theta");
    config["rope_parameters"] = rope;
    const RotaryConfig new_style = rotary_of(parse(config));
    EXPECT_EQ(new_style.theta, old_style.theta);
    EXPECT_EQ(new_style.factor, old_style.factor);
    EXPECT_EQ(new_style.original_positions, old_style.original_positions);
    EXPECT_TRUE(new_style.yarn);
    config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 50000.0}};
    EXPECT_EQ(rotary_of(parse(config)).theta, 50000.0);
    EXPECT_FALSE(rotary_of(parse(config)).yarn);
    config["rope_parameters"] = {{"rope_type", "default"}};
    config["rope_theta"] = 777.0;
    EXPECT_EQ(rotary_of(parse(config)).theta, 777.0);
    config["rope_parameters"] = nullptr;
    config["rope_scaling"] = nullptr;
    EXPECT_EQ(rotary_of(parse(config)).theta, 777.0);
}

TEST(ModelConfig, RopeScalingBesideRopeParameters) {
    json config = deepseek();
    const RotaryConfig inside = rotary_of(parse(config));
    config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", config["rope_theta"]}};
    const RotaryConfig beside = rotary_of(parse(config));
    EXPECT_TRUE(beside.yarn) << "what rope_parameters leaves out is not dropped";
    EXPECT_EQ(beside.factor, inside.factor);
    EXPECT_EQ(beside.theta, inside.theta);
    EXPECT_EQ(beside.original_positions, inside.original_positions);

    config["rope_parameters"] = config["rope_scaling"];
    config["rope_parameters"]["rope_theta"] = config["rope_theta"];
    EXPECT_EQ(rotary_of(parse(config)).factor, inside.factor);
    config["rope_scaling"]["factor"] = 41.0;
    expect_error(ErrorCode::kInvalidFile, {"rope_scaling.factor", "rope_parameters", "keep one"},
                 [&] { parse(config); });
}

TEST(ModelConfig, RopeSettingsBesideTheTextModelAreNotDropped) {
    json config = qwen35();
    const json yarn = {{"rope_type", "yarn"}, {"factor", 4.0}};
    for (const char* name : {"rope_scaling", "rope_parameters"}) {
        json outside = config;
        outside[name] = yarn;
        expect_error(ErrorCode::kInvalidFile, {name, "text_config"}, [&] { parse(outside); });
        outside[name] = {{"rope_type", "default"}};
        parse(outside);
    }
    config["rope_scaling"] = config["text_config"]["rope_scaling"] = yarn;
    EXPECT_EQ(rotary_of(parse(config)).factor, 4.0) << "both say the same";
}

TEST(ModelConfig, ExpertCountUnderThreeNames) {
    for (const char* name : {"num_experts", "num_local_experts", "n_routed_experts"}) {
        json config = qwen3_moe();
        config.erase("num_experts");
        config[name] = 4;
        EXPECT_EQ(parse(config).experts(), 4) << name;
    }
    json config = qwen3_moe();
    config["num_local_experts"] = 5;
    expect_refused(config, ErrorCode::kInvalidFile, {"num_local_experts", "5", "num_experts", "4"});
    config.erase("num_local_experts");
    config.erase("num_experts");
    expect_refused(config, ErrorCode::kInvalidFile, {"num_experts", "missing"});
}

TEST(ModelConfig, ActivationOfEveryBlock) {
    const auto kind_of = [](const json& config) { return first<MixtureConfig>(parse(config)).activation.kind; };
    json config = deepseek();
    EXPECT_EQ(kind_of(config), ActivationConfig::Kind::kSilu);
    config["hidden_act"] = "swish";
    EXPECT_EQ(kind_of(config), ActivationConfig::Kind::kSilu);
    config["hidden_act"] = "gelu_pytorch_tanh";
    EXPECT_EQ(kind_of(config), ActivationConfig::Kind::kGeluTanh);
    EXPECT_EQ(first<DenseMlpConfig>(parse(config)).activation.kind, ActivationConfig::Kind::kGeluTanh);
}

struct BadField {
    const char* field;
    json value;
    ErrorCode code;
    std::vector<std::string> parts;
};

void expect_all_refused(const json& good, const std::vector<BadField>& cases, const std::string& path = "") {
    for (const BadField& bad : cases) {
        SCOPED_TRACE(std::string(bad.field) + " = " + bad.value.dump());
        json config = good;
        json& target = path.empty() ? config : config[path];
        target[bad.field] = bad.value;
        std::vector<std::string> parts = bad.parts;
        parts.emplace_back(bad.field);
        expect_refused(config, bad.code, parts);
    }
}

constexpr ErrorCode kInvalid = ErrorCode::kInvalidFile;
constexpr ErrorCode kUnsupported = ErrorCode::kUnsupported;

TEST(ModelConfig, RefusesFieldsByName) {
    expect_all_refused(
        qwen3_moe(), {
                         {"model_type", "llama", kUnsupported, {"llama", "qwen3_moe"}},
                         {"model_type", "a\nb", kInvalid, {}},
                         {"model_type", 7, kInvalid, {}},
                         {"model_type", nullptr, kUnsupported, {"missing", "qwen3_moe"}},
                         {"hidden_size", 0, kInvalid, {}},
                         {"hidden_size", -1, kInvalid, {}},
                         {"hidden_size", "64", kInvalid, {}},
                         {"hidden_size", 64.5, kInvalid, {}},
                         {"hidden_size", 1e30, kInvalid, {}},
                         {"hidden_size", 18446744073709551615ull, kInvalid, {}},
                         {"hidden_size", nullptr, kInvalid, {"missing"}},
                         {"num_hidden_layers", 0, kInvalid, {}},
                         {"num_hidden_layers", 1000000000, kInvalid, {}},
                         {"vocab_size", {}, kInvalid, {}},
                         {"max_position_embeddings", true, kInvalid, {}},
                         {"rms_norm_eps", 0.0, kInvalid, {}},
                         {"rms_norm_eps", -1e-6, kInvalid, {}},
                         {"num_key_value_heads", 3, kInvalid, {"3", "4"}},
                         {"head_dim", 15, kInvalid, {}},
                         {"num_experts", 0, kInvalid, {}},
                         {"num_experts_per_tok", 5, kInvalid, {}},
                         {"num_experts_per_tok", 0, kInvalid, {}},
                         {"moe_intermediate_size", nullptr, kInvalid, {"missing"}},
                         {"mlp_only_layers", 3, kInvalid, {}},
                         {"mlp_only_layers", {"a"}, kInvalid, {}},
                         {"decoder_sparse_step", 0, kInvalid, {}},
                         {"hidden_act", "gelu", kUnsupported, {"gelu", "silu"}},
                         {"scoring_func", "sigmoid", kUnsupported, {"sigmoid", "softmax"}},
                         {"attention_bias", true, kUnsupported, {}},
                         {"attention_bias", "no", kInvalid, {}},
                         {"use_sliding_window", true, kUnsupported, {}},
                         {"layer_types", {"full_attention"}, kInvalid, {"1", "2"}},
                         {"layer_types", {"full_attention", "sliding_attention"}, kUnsupported, {"sliding_attention"}},
                         {"layer_types", {"full_attention", "linear_attention"}, kUnsupported, {"linear_attention"}},
                         {"layer_types", "full", kInvalid, {}},
                         {"rope_theta", 0.0, kInvalid, {}},
                         {"rope_theta", "big", kInvalid, {}},
                         {"rope_scaling", "yarn", kInvalid, {"object"}},
                         {"text_config", 5, kInvalid, {"object"}},
                         {"partial_rotary_factor", 0.0, kInvalid, {}},
                         {"partial_rotary_factor", 1.5, kInvalid, {}},
                         {"partial_rotary_factor", 0.2, kInvalid, {}},
                     });
    // The last one above: int(16 * 0.2) = 3 is odd.
    json config = qwen3_moe();
    config.erase("head_dim");
    EXPECT_EQ(first<GroupedAttentionConfig>(parse(config)).head_dim, 16);
    config["num_attention_heads"] = 6;
    expect_refused(config, kInvalid, {"head_dim"});
}

TEST(ModelConfig, RefusesFieldsOfHybrids) {
    expect_all_refused(qwen35(),
                       {
                           {"linear_num_key_heads", 3, kInvalid, {"3", "4"}},
                           {"linear_conv_kernel_dim", 1, kInvalid, {}},
                           {"linear_key_head_dim", nullptr, kInvalid, {"text_config.", "missing"}},
                       },
                       "text_config");
}

TEST(ModelConfig, RefusesFieldsOfDeepseek) {
    json good = deepseek();
    good["full_attention_interval"] = "ignored here";
    EXPECT_NO_THROW(parse(good));
    expect_all_refused(deepseek(), {
                                       {"scoring_func", "tanh", kUnsupported, {"tanh", "sigmoid"}},
                                       {"topk_method", "greedy", kUnsupported, {"greedy", "noaux_tc"}},
                                       {"moe_layer_freq", 2, kUnsupported, {}},
                                       {"n_group", 3, kInvalid, {"3", "8"}},
                                       {"n_group", 8, kInvalid, {"one expert"}},
                                       {"n_group", nullptr, kInvalid, {"missing"}},
                                       {"topk_group", 5, kInvalid, {}},
                                       {"routed_scaling_factor", nullptr, kInvalid, {"missing"}},
                                       {"kv_lora_rank", 0, kInvalid, {}},
                                       {"qk_rope_head_dim", 7, kInvalid, {"odd"}},
                                       {"first_k_dense_replace", 3, kInvalid, {}},
                                       {"rope_interleave", 1, kInvalid, {}},
                                   });
    json config = deepseek();
    config["num_experts_per_tok"] = 4;
    config["topk_group"] = 1;
    expect_refused(config, kInvalid, {"topk_group", "2 experts", "4 per token"});
}

TEST(ModelConfig, RefusesRopeThatMakesNoSense) {
    expect_all_refused(deepseek(),
                       {
                           {"type", "linear", kUnsupported, {"linear", "yarn"}},
                           {"rope_type", "dynamic", kUnsupported, {"dynamic"}},
                           {"factor", 0.5, kInvalid, {"0.5"}},
                           {"factor", nullptr, kInvalid, {"missing"}},
                           {"factor", "40", kInvalid, {}},
                           {"beta_slow", 0.0, kInvalid, {}},
                           {"beta_fast", 0.5, kInvalid, {"beta_slow"}},
                           {"mscale", -1.0, kInvalid, {}},
                           {"mscale_all_dim", -0.1, kInvalid, {}},
                           {"original_max_position_embeddings", 0, kInvalid, {}},
                           {"attention_factor", 0, kInvalid, {"above 0"}},
                       },
                       "rope_scaling");
    json config = qwen3_moe();
    config["rope_parameters"] = {{"full_attention", {{"rope_type", "default"}}}};
    expect_refused(config, kUnsupported, {"rope_parameters", "layer type"});
}

TEST(ModelConfig, RefusesWhatIsNoObject) {
    for (const char* text : {"", "{", "[]", "5", "null", "\"x\""}) {
        expect_error(kInvalid, {"c.json"}, [&] { parse_model_config(text, "c.json"); });
    }
    expect_error(kUnsupported, {"c.json", "model_type"}, [] { parse_model_config("{}", "c.json"); });
    expect_error(ErrorCode::kNotFound, {"config.json"}, [] { read_model_config("/nowhere/at/all"); });
}

}  // namespace
}  // namespace sluice
