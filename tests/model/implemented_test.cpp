#include "model/implemented.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/error.h"

namespace sluice {
namespace {

ModelConfig two_layers() {
    ModelConfig config;
    const GroupedAttentionConfig attention{.heads = 2, .kv_heads = 1, .head_dim = 8, .rotary = {.dims = 8}};
    config.layers.assign(2, {.mixer = attention, .feed_forward = MixtureConfig{.experts = 4, .experts_per_token = 2}});
    return config;
}

std::string refusal(const std::function<void(ModelConfig&, GroupedAttentionConfig&, MixtureConfig&)>& change) {
    ModelConfig config = two_layers();
    change(config, std::get<GroupedAttentionConfig>(config.layers[1].mixer),
           std::get<MixtureConfig>(config.layers[1].feed_forward));
    try {
        require_implemented(config, "dir/config.json");
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
        return error.what();
    }
    return "nothing was refused";
}

using Attention = GroupedAttentionConfig;
using Mixture = MixtureConfig;

TEST(Implemented, RefusesByLayerWhatNoOperationComputes) {
    EXPECT_EQ(refusal([](ModelConfig&, Attention&, Mixture&) {}), "nothing was refused");
    EXPECT_EQ(refusal([](ModelConfig&, Attention& a, Mixture&) { a.projection_clamp = 8; }), "nothing was refused");
    EXPECT_EQ(refusal([](ModelConfig&, Attention&, Mixture& m) {
                  m.activation = {.kind = ActivationConfig::Kind::kGeluTanh, .limit = 7};
              }),
              "dir/config.json: layer 1: GELU with a clamp, a factor or an offset is not supported");
    EXPECT_EQ(refusal([](ModelConfig&, Attention&, Mixture& m) { m.experts = 5; }),
              "dir/config.json: layer 1: another number of experts than in other layers is not supported");
    EXPECT_EQ(refusal([](ModelConfig&, Attention&, Mixture& m) { m.own_norms = true; }),
              "dir/config.json: layer 1: a norm of each branch without one of the block is not supported");
}

TEST(Implemented, ActivatesAndRoutesAsTheOperationsDo) {
    const auto activated = [](const ActivationConfig& activation) {
        return refusal([&](ModelConfig&, Attention&, Mixture& m) { m.activation = activation; });
    };
    EXPECT_EQ(activated({.kind = ActivationConfig::Kind::kGeluTanh}), "nothing was refused");
    EXPECT_EQ(activated({.limit = 7, .alpha = 1.702, .up_offset = 1}), "nothing was refused");
    const auto routed = [](const Routing& routing) {
        return refusal([&](ModelConfig&, Attention&, Mixture& m) { m.routing = routing; });
    };
    EXPECT_EQ(routed({.score = Routing::Score::kSigmoid, .corrected = true, .groups = 2, .scale = 2.5}),
              "nothing was refused");
    EXPECT_EQ(routed({.score = Routing::Score::kSigmoid}), "nothing was refused");
    EXPECT_EQ(routed({.score = Routing::Score::kSqrtSoftplus, .corrected = true}), "nothing was refused");
    EXPECT_EQ(routed({.groups = 2, .scale = 2.0}), "nothing was refused");
}

}  // namespace
}  // namespace sluice
