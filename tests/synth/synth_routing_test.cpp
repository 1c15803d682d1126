// Synthetic checkpoints route as published models do: measured on the routing of real forward passes.

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "experts/routing_trace.h"
#include "sluice/engine.h"
#include "tests/support/tiny_shapes.h"

namespace sluice::testing {
namespace {

constexpr int64_t kPromptTokens = 40;
constexpr int64_t kNewTokens = 160;

SynthShape small_shape(const std::string& preset, int64_t layers) {
    SynthShape shape = tiny_shape(preset, layers);
    shape.config.hidden_size = 320;
    shape.config.vocabulary = 4096;
    change_blocks<MixtureConfig>(shape.config, [](MixtureConfig& mixture) {
        mixture.experts = 128;
        mixture.experts_per_token = 8;
    });
    return shape;
}

RoutingTrace generate_and_trace(const std::filesystem::path& model, double temperature) {
    const std::filesystem::path trace = model / "trace.safetensors";
    EngineOptions options;
    options.trace = trace;
    options.context = 512;
    const std::unique_ptr<Engine> engine = Engine::open(model, options);
    std::vector<TokenId> prompt;
    for (int64_t i = 0; i < kPromptTokens; ++i) prompt.push_back(static_cast<TokenId>(i * 977 % 4096));
    GenerationOptions generation;
    generation.max_tokens = kNewTokens;
    generation.sampling.temperature = temperature;
    generation.sampling.seed = 1;
    const std::unique_ptr<Session> session = engine->new_session();
    const GenerationResult result = engine->generate(*session, prompt, generation);
    // Text that repeats itself would recur for another reason.
    EXPECT_GT(std::set<TokenId>(result.token_ids.begin(), result.token_ids.end()).size(), 100u);
    engine->save_trace();
    return RoutingTrace::load(trace);
}

struct Locality {
    double recurrence = 0;       // share of a token's experts that the token before had chosen too
    double busiest_quarter = 0;  // share of all choices that fall on a quarter of the experts
};

Locality measure(const RoutingTrace& trace, int32_t layer) {
    std::vector<std::set<int32_t>> chosen;
    std::vector<double> load(static_cast<size_t>(trace.experts()));
    for (int64_t step = 0; step < trace.steps(); ++step) {
        if (trace.layer(step) != layer || trace.position(step) < kPromptTokens) continue;
        const auto experts = trace.chosen(step);
        chosen.emplace_back(experts.begin(), experts.end());
        for (const int32_t expert : experts) load[static_cast<size_t>(expert)] += 1;
    }
    Locality locality;
    for (size_t i = 1; i < chosen.size(); ++i) {
        for (const int32_t expert : chosen[i]) locality.recurrence += chosen[i - 1].contains(expert) ? 1 : 0;
    }
    locality.recurrence /= static_cast<double>(chosen.size() - 1) * static_cast<double>(trace.top_k());
    std::ranges::sort(load, std::greater<>());
    const auto quarter = load.begin() + static_cast<ptrdiff_t>(load.size() / 4);
    locality.busiest_quarter =
        std::accumulate(load.begin(), quarter, 0.0) / std::accumulate(load.begin(), load.end(), 0.0);
    return locality;
}

struct Case {
    std::string preset;
    int64_t layers;
    double temperature;
};

class SynthRouting : public ::testing::TestWithParam<Case> {};

// Chance alone would give a recurrence of 8 / 128 = 0.06, and some 0.4 of the load to the busiest quarter.
TEST_P(SynthRouting, HasTheLocalityOfPublishedModels) {
    const TemporaryFolder folder;
    const SynthShape shape = small_shape(GetParam().preset, GetParam().layers);
    synthesize_shape(folder / "model", shape, SynthEncoding::kAffine4, 1);
    const RoutingTrace trace = generate_and_trace(folder / "model", GetParam().temperature);
    double recurrence = 0, busiest = 0, layers = 0;
    for (int32_t layer = 0; layer < shape.config.layer_count(); ++layer) {
        if (shape.config.mixture_of(layer) == nullptr) continue;
        const Locality locality = measure(trace, layer);
        EXPECT_GT(locality.recurrence, 0.18) << "layer " << layer;
        EXPECT_LT(locality.recurrence, 0.52) << "layer " << layer;
        recurrence += locality.recurrence;
        busiest += locality.busiest_quarter;
        ++layers;
    }
    EXPECT_GT(recurrence / layers, 0.25);
    EXPECT_LT(recurrence / layers, 0.45);
    EXPECT_GT(busiest / layers, 0.65);
    EXPECT_LT(busiest / layers, 0.97);
    RecordProperty("recurrence", std::to_string(recurrence / layers));
    RecordProperty("busiest_quarter", std::to_string(busiest / layers));
}

INSTANTIATE_TEST_SUITE_P(All, SynthRouting,
                         ::testing::Values(Case{"qwen3-30b-a3b", 4, 0}, Case{"qwen3-next-80b-a3b", 4, 0},
                                           Case{"qwen3.6-35b-a3b", 8, 1}, Case{"deepseek-v3", 5, 1},
                                           Case{"kimi-k2", 4, 0}),
                         [](const auto& param_info) { return std::to_string(param_info.index); });

}  // namespace
}  // namespace sluice::testing
