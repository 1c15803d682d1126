#include "checkpoint/weights.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "checkpoint/tensor_names.h"

namespace sluice {
namespace {

std::vector<Role> roles(const std::vector<WeightSpec>& list) {
    std::vector<Role> result;
    for (const WeightSpec& spec : list) result.push_back(spec.role);
    return result;
}

const WeightSpec& find(const std::vector<WeightSpec>& list, Role role) {
    return *std::ranges::find(list, role, &WeightSpec::role);
}

LayerConfig grouped_layer() {
    return {.mixer = GroupedAttentionConfig{.heads = 4, .kv_heads = 2, .head_dim = 16},
            .feed_forward = DenseMlpConfig{.intermediate = 96}};
}

ModelConfig model() {
    ModelConfig config;
    config.hidden_size = 64;
    config.vocabulary = 40;
    return config;
}

TEST(Weights, OfGroupedAttentionFollowItsSettings) {
    LayerConfig layer = grouped_layer();
    auto& attention = std::get<GroupedAttentionConfig>(layer.mixer);
    EXPECT_EQ(roles(mixer_weights(model(), layer)),
              (std::vector{Role::kMixerNorm, Role::kQuery, Role::kKey, Role::kValue, Role::kOutput, Role::kQueryNorm,
                           Role::kKeyNorm}));
    attention.query_key_norm = QueryKeyNorm::kWholeProjection;
    EXPECT_EQ(find(mixer_weights(model(), layer), Role::kQueryNorm).columns, 64);
    EXPECT_EQ(find(mixer_weights(model(), layer), Role::kKeyNorm).columns, 32);
    attention.query_key_norm = QueryKeyNorm::kNone;
    attention.gated = attention.sinks = attention.query_key_value_bias = attention.output_bias = true;
    layer.norms.after = true;
    const std::vector<WeightSpec> list = mixer_weights(model(), layer);
    EXPECT_EQ(roles(list),
              (std::vector{Role::kMixerNorm, Role::kQuery, Role::kKey, Role::kValue, Role::kOutput, Role::kQueryBias,
                           Role::kKeyBias, Role::kValueBias, Role::kOutputBias, Role::kSinks, Role::kMixerPostNorm}));
    EXPECT_EQ(find(list, Role::kQuery).rows(), 128);
    EXPECT_EQ(find(list, Role::kQueryBias).columns, 128);
    EXPECT_EQ(find(list, Role::kSinks).columns, 4);
    EXPECT_FALSE(find(list, Role::kSinks).is_matrix());
}

TEST(Weights, OfTheTwoStoredFormsHoldAsMuch) {
    const auto elements = [](const MixerConfig& mixer) {
        int64_t count = 0;
        for (const WeightSpec& spec : mixer_weights(model(), {.mixer = mixer, .feed_forward = DenseMlpConfig{}})) {
            count += spec.rows() * spec.columns;
        }
        return count;
    };
    GatedDeltaNetConfig net{.key_heads = 2, .value_heads = 4, .key_dim = 8, .value_dim = 16, .kernel = 4};
    const int64_t apart = elements(net);
    net.fused_projections = true;
    EXPECT_EQ(elements(net), apart);
    LatentAttentionConfig attention{
        .heads = 2, .query_rank = 32, .key_value_rank = 32, .nope_dim = 32, .rope_dim = 8, .value_dim = 16};
    const int64_t whole = elements(attention);
    attention.split_key_value = true;
    EXPECT_EQ(elements(attention), whole);
}

TEST(Weights, OfAMixtureSayHowFarTheyMayBeQuantized) {
    LayerConfig layer = grouped_layer();
    MixtureConfig mixture{.experts = 8, .experts_per_token = 2, .intermediate = 32, .shared_intermediate = 32};
    mixture.shared_expert_gated = true;
    layer.feed_forward = mixture;
    EXPECT_EQ(find(feed_forward_weights(model(), layer), Role::kRouter).precision, Precision::kEightBits);
    EXPECT_EQ(find(feed_forward_weights(model(), layer), Role::kSharedExpertGate).precision, Precision::kEightBits);
    EXPECT_EQ(find(feed_forward_weights(model(), layer), Role::kSharedDown).precision, Precision::kAny);
    mixture.routing.corrected = true;
    layer.feed_forward = mixture;
    EXPECT_EQ(find(feed_forward_weights(model(), layer), Role::kRouter).precision, Precision::kPublished);
    EXPECT_EQ(find(feed_forward_weights(model(), layer), Role::kRouterCorrection).columns, 8);
}

TEST(Weights, BiasesStandBesideWhatTheyAreAddedTo) {
    LayerConfig layer = grouped_layer();
    layer.feed_forward = DenseMlpConfig{.intermediate = 96, .bias = true};
    EXPECT_EQ(find(feed_forward_weights(model(), layer), Role::kDenseUpBias).columns, 96);
    EXPECT_EQ(find(feed_forward_weights(model(), layer), Role::kDenseDownBias).columns, 64);
    MixtureConfig mixture{.experts = 8, .experts_per_token = 2, .intermediate = 32};
    mixture.router_bias = mixture.expert_bias = true;
    layer.feed_forward = mixture;
    EXPECT_EQ(roles(feed_forward_weights(model(), layer)),
              (std::vector{Role::kFeedForwardNorm, Role::kRouter, Role::kRouterBias, Role::kExpertGateBias,
                           Role::kExpertUpBias, Role::kExpertDownBias}));
    EXPECT_EQ(find(feed_forward_weights(model(), layer), Role::kRouterBias).columns, 8);
    const WeightSpec down = find(feed_forward_weights(model(), layer), Role::kExpertDownBias);
    EXPECT_EQ(down.rows(), 8);
    EXPECT_EQ(down.columns, 64);
    EXPECT_FALSE(down.is_matrix());
    mixture.fused_expert_bias = true;
    layer.feed_forward = mixture;
    EXPECT_EQ(find(feed_forward_weights(model(), layer), Role::kExpertGateUpBias).columns, 64);
}

TEST(Weights, AHeadThatIsTheEmbeddingIsNoneOfItsOwn) {
    ModelConfig config = model();
    EXPECT_EQ(roles(model_weights(config)), (std::vector{Role::kEmbedding, Role::kFinalNorm, Role::kHead}));
    config.tied_embeddings = true;
    EXPECT_EQ(roles(model_weights(config)), (std::vector{Role::kEmbedding, Role::kFinalNorm}));
}

}  // namespace
}  // namespace sluice
