#include "checkpoint/tensor_names.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TensorNames names_of(const char* model_type) {
    return TensorNames(*find_architecture(model_type));
}

TensorName parse(const char* name, const char* model_type = "qwen3_next") {
    return names_of(model_type).parse(name);
}

void expect_trunk(const char* name, int layer, Role role, TensorPart part = TensorPart::kWeight,
                  const char* model_type = "qwen3_next") {
    const TensorName parsed = parse(name, model_type);
    EXPECT_EQ(parsed.kind, NameKind::kTrunk) << name;
    EXPECT_EQ(parsed.layer, layer) << name;
    EXPECT_EQ(parsed.role, role) << name;
    EXPECT_EQ(parsed.part, part) << name;
}

TEST(TensorNames, Trunk) {
    expect_trunk("model.embed_tokens.weight", kNoLayer, Role::kEmbedding);
    expect_trunk("model.language_model.embed_tokens.weight", kNoLayer, Role::kEmbedding);
    expect_trunk("language_model.model.embed_tokens.scales", kNoLayer, Role::kEmbedding, TensorPart::kScales);
    expect_trunk("lm_head.weight", kNoLayer, Role::kHead);
    expect_trunk("language_model.lm_head.biases", kNoLayer, Role::kHead, TensorPart::kZeroPoints);
    expect_trunk("model.norm.weight", kNoLayer, Role::kFinalNorm);
    expect_trunk("model.layers.17.self_attn.q_proj.weight_scale_inv", 17, Role::kQuery, TensorPart::kScaleInverse);
    expect_trunk("model.layers.0.mlp.gate.weight", 0, Role::kRouter);
    expect_trunk("model.layers.0.mlp.gate.e_score_correction_bias", 0, Role::kRouterCorrection, TensorPart::kWeight,
                 "deepseek_v3");
    expect_trunk("model.layers.0.mlp.gate_proj.weight", 0, Role::kDenseGate);
    expect_trunk("model.layers.0.mlp.shared_expert.up_proj.weight", 0, Role::kSharedUp);
    expect_trunk("model.layers.0.mlp.shared_experts.up_proj.weight", 0, Role::kSharedUp, TensorPart::kWeight,
                 "deepseek_v3");
    expect_trunk("model.layers.0.mlp.shared_expert_gate.weight", 0, Role::kSharedExpertGate);
    expect_trunk("model.language_model.layers.3.linear_attn.A_log", 3, Role::kLinearALog);
}

TEST(TensorNames, Experts) {
    TensorName name = parse("model.layers.5.mlp.experts.37.up_proj.weight");
    EXPECT_EQ(name.kind, NameKind::kExpert);
    EXPECT_EQ(name.layer, 5);
    EXPECT_EQ(name.expert, 37);
    EXPECT_EQ(name.projection, Projection::kUp);
    name = parse("language_model.model.layers.2.mlp.switch_mlp.down_proj.biases");
    EXPECT_EQ(name.kind, NameKind::kExpertStack);
    EXPECT_EQ(name.projection, Projection::kDown);
    EXPECT_EQ(name.part, TensorPart::kZeroPoints);
    name = parse("model.language_model.layers.2.mlp.experts.down_proj");
    EXPECT_EQ(name.kind, NameKind::kExpertStack);
    EXPECT_EQ(parse("model.layers.2.mlp.experts.gate_up_proj").kind, NameKind::kGateUpStack);
    name = parse("model.layers.2.mlp.experts.gate_up_proj_scale_inv");
    EXPECT_EQ(name.kind, NameKind::kGateUpStack);
    EXPECT_EQ(name.part, TensorPart::kScaleInverse);
    name = parse("sluice.layers.9.experts");
    EXPECT_EQ(name.kind, NameKind::kPackedExperts);
    EXPECT_EQ(name.layer, 9);
}

TEST(TensorNames, OfDeepseekV4BeginWithTheModule) {
    expect_trunk("embed.weight", kNoLayer, Role::kEmbedding, TensorPart::kWeight, "deepseek_v4");
    expect_trunk("head.weight", kNoLayer, Role::kHead, TensorPart::kWeight, "deepseek_v4");
    expect_trunk("norm.weight", kNoLayer, Role::kFinalNorm, TensorPart::kWeight, "deepseek_v4");
    expect_trunk("hc_head_fn", kNoLayer, Role::kEndConnection, TensorPart::kWeight, "deepseek_v4");
    expect_trunk("layers.3.attn.wq_a.scale", 3, Role::kQueryLatent, TensorPart::kScaleInverse, "deepseek_v4");
    expect_trunk("layers.3.attn.indexer.compressor.ape", 3, Role::kIndexRunOffsets, TensorPart::kWeight, "deepseek_v4");
    expect_trunk("layers.0.hc_attn_scale", 0, Role::kMixerConnectionScale, TensorPart::kWeight, "deepseek_v4");
    expect_trunk("layers.0.ffn.gate.tid2eid", 0, Role::kRouterTable, TensorPart::kWeight, "deepseek_v4");
    const TensorName expert = parse("layers.3.ffn.experts.7.w3.scale", "deepseek_v4");
    EXPECT_EQ(expert.kind, NameKind::kExpert);
    EXPECT_EQ(expert.expert, 7);
    EXPECT_EQ(expert.projection, Projection::kUp);
    EXPECT_EQ(expert.part, TensorPart::kScaleInverse);
    EXPECT_EQ(parse("mtp.0.attn.wq_a.weight", "deepseek_v4").kind, NameKind::kMultiToken);
    EXPECT_EQ(parse("layers.3.attn_norm.weight").kind, NameKind::kOther);
}

TEST(TensorNames, NotUsed) {
    for (const char* name : {"visual.x", "model.visual.blocks.0.attn.qkv.weight", "vision_tower.a",
                             "model.vision_tower.a", "language_model.multi_modal_projector.weight"}) {
        EXPECT_EQ(parse(name).kind, NameKind::kVision) << name;
    }
    EXPECT_EQ(parse("mtp.fc.weight").kind, NameKind::kMultiToken);
    EXPECT_EQ(parse("language_model.mtp.layers.0.mlp.gate.weight").kind, NameKind::kMultiToken);
    for (const char* name :
         {"", "model.", "model.layers.", "model.layers.1", "model.layers.x.mlp.gate.weight",
          "model.layers.-1.mlp.gate.weight", "model.layers.99999999999.mlp.gate.weight",
          "model.layers.0.mlp.experts.up_proj.weight.x", "norm.weight", "model.layers.0.mlp.experts.0.weight",
          "model.layers.0.mlp.switch_mlp.0.up_proj.weight", "lm_head", "lm_head.bias", "sluice.layers.0.expert",
          "sluice.layers.experts", "model.layers.0.self_attn.q_proj", "model.lm_head.weight"}) {
        EXPECT_EQ(parse(name).kind, NameKind::kOther) << name;
    }
    EXPECT_TRUE(parse("model.layers.0.self_attn.q_proj.bias").plain_bias);
    EXPECT_TRUE(parse("model.layers.0.mlp.experts.gate_up_proj_bias").plain_bias);
    expect_trunk("model.layers.0.mlp.switch_mlp.down_proj.bias", 0, Role::kExpertDownBias, TensorPart::kWeight);
    EXPECT_TRUE(parse("model.layers.3.eh_proj.weight").multi_token_marker);
}

TEST(TensorNames, BackToNames) {
    EXPECT_EQ(names_of("qwen3_next").module(Role::kSharedUp).module, "mlp.shared_expert.up_proj");
    EXPECT_EQ(names_of("deepseek_v3").module(Role::kSharedUp).module, "mlp.shared_experts.up_proj");
    EXPECT_TRUE(names_of("deepseek_v3").module(Role::kRouterCorrection).bare);
    EXPECT_EQ(names_of("qwen3_moe").module(Role::kHead).module, "lm_head");
    EXPECT_EQ(names_of("qwen3_moe").module(Role::kSinks).module, "");
    EXPECT_EQ(layer_path("model.", 3), "model.layers.3.");
    EXPECT_EQ(layer_path("model.", kNoLayer), "model.");
}

TEST(TensorNames, NoNameStandsForTwoRoles) {
    for (const Architecture* architecture : architectures()) {
        const TensorNames names(*architecture);
        for (const NameRule& rule : architecture->names) {
            const std::string place = rule.role == Role::kHead       ? ""
                                      : rule.role < Role::kMixerNorm ? "model."
                                                                     : "model.layers.1.";
            const std::string name = place + std::string(rule.module) + (rule.bare ? "" : ".weight");
            EXPECT_EQ(names.parse(name).role, rule.role) << architecture->name << ": " << name;
        }
    }
}

}  // namespace
}  // namespace sluice
