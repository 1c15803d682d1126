#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "tests/backend/test_tensors.h"

namespace sluice {
namespace {

struct Routes {
    std::vector<int32_t> ids;
    std::vector<float> weights;
};

Routes softmax(const std::vector<float>& logits, int64_t top_k, bool normalize) {
    const auto backend = make_reference_backend();
    const Route op{.logits = tensor_of(*backend, 1, static_cast<int64_t>(logits.size()), logits),
                   .normalize = normalize,
                   .ids = zeros(*backend, 1, top_k, DType::kI32),
                   .weights = zeros(*backend, 1, top_k)};
    backend->run(op);
    return {read<int32_t>(*backend, op.ids), read(*backend, op.weights)};
}

struct Groups {
    int64_t groups, kept, top_k;
    bool normalize;
    RouterScore score = RouterScore::kSigmoid;
};

Routes grouped(const std::vector<float>& logits, const std::vector<float>& bias, const Groups& groups) {
    const auto backend = make_reference_backend();
    const auto experts = static_cast<int64_t>(logits.size());
    const Route op{.logits = tensor_of(*backend, 1, experts, logits),
                   .bias = bias.empty() ? Tensor{} : tensor_of(*backend, 1, experts, bias),
                   .score = groups.score,
                   .groups = groups.groups,
                   .groups_kept = groups.kept,
                   .normalize = groups.normalize,
                   .scale = 2,
                   .ids = zeros(*backend, 1, groups.top_k, DType::kI32),
                   .weights = zeros(*backend, 1, groups.top_k)};
    backend->run(op);
    return {read<int32_t>(*backend, op.ids), read(*backend, op.weights)};
}

float sigmoid_of(float x) {
    return 1 / (1 + std::exp(-x));
}

TEST(RouteBySoftmax, ChoosesTheLargestInAscendingOrderOfIds) {
    const Routes routes = softmax({std::log(1.0f), std::log(4.0f), std::log(2.0f), std::log(3.0f)}, 2, true);
    EXPECT_EQ(routes.ids, (std::vector<int32_t>{1, 3}));
    expect_near(routes.weights, {4.0f / 7, 3.0f / 7}, 1e-6f);
}

TEST(RouteBySoftmax, KeepsTheShareOfAllExpertsUnlessAskedToNormalize) {
    const Routes routes = softmax({std::log(1.0f), std::log(4.0f), std::log(2.0f), std::log(3.0f)}, 2, false);
    expect_near(routes.weights, {0.4f, 0.3f}, 1e-6f);
}

TEST(RouteBySoftmax, BreaksTiesForTheLowerId) {
    EXPECT_EQ(softmax({5, 7, 5, 5, 5}, 3, true).ids, (std::vector<int32_t>{0, 1, 2}));
    EXPECT_EQ(softmax(std::vector<float>(8, 0.0f), 2, true).ids, (std::vector<int32_t>{0, 1}));
}

TEST(RouteBySoftmax, SurvivesLogitsThatOverflowExp) {
    const Routes routes = softmax({1000, -1000, 1000}, 2, true);
    EXPECT_EQ(routes.ids, (std::vector<int32_t>{0, 2}));
    expect_near(routes.weights, {0.5f, 0.5f}, 1e-6f);
}

TEST(RouteBySoftmax, GivesDistinctExpertsEvenForNan) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const Routes routes = softmax({nan, nan, 1, nan}, 3, true);
    EXPECT_EQ(std::set<int32_t>(routes.ids.begin(), routes.ids.end()).size(), 3u);
    EXPECT_GE(routes.ids.front(), 0);
    EXPECT_LT(routes.ids.back(), 4);
}

TEST(RouteInGroups, KeepsGroupsByTheirTwoBestAndWeighsWithoutTheBias) {
    // The best single choice is in group 0, but its two best are worse than those of group 1.
    const std::vector<float> logits = {3, -3, 2, 2, 0, 0};
    const Routes routes = grouped(logits, std::vector<float>(6, 0), {3, 1, 2, true});
    EXPECT_EQ(routes.ids, (std::vector<int32_t>{2, 3}));
    expect_near(routes.weights, {1, 1}, 1e-6f);  // half each, times the scale
}

TEST(RouteInGroups, BiasDecidesTheChoiceButNotTheWeight) {
    const Routes routes = grouped({0, 1, 0, 0}, {0, 0, 0, 5}, {2, 2, 2, false});
    EXPECT_EQ(routes.ids, (std::vector<int32_t>{1, 3}));
    expect_near(routes.weights, {2 * sigmoid_of(1), 2 * 0.5f}, 1e-6f);
}

TEST(RouteInGroups, NeverLeavesTheKeptGroupsThoughAllChoicesAreNegative) {
    // Experts of the other group would win if they counted as zero.
    const Routes routes = grouped({0, 0, 0, 0}, {-3, -3, -2, -4}, {2, 1, 2, true});
    EXPECT_EQ(routes.ids, (std::vector<int32_t>{0, 1}));
    const Routes best = grouped({0, 0, 0, 0}, {-3, -3, -2, -3.5f}, {2, 1, 2, true});
    EXPECT_EQ(best.ids, (std::vector<int32_t>{2, 3}));
}

TEST(RouteWithoutGroups, BySigmoidAloneKeepsItsScores) {
    const Routes routes = grouped({0, 2, -1, 1}, {}, {1, 1, 2, false});
    EXPECT_EQ(routes.ids, (std::vector<int32_t>{1, 3}));
    expect_near(routes.weights, {2 * sigmoid_of(2), 2 * sigmoid_of(1)}, 1e-6f);
}

TEST(RouteWithoutGroups, ByTheRootOfSoftplus) {
    const auto score = [](float x) { return std::sqrt(std::log1p(std::exp(x))); };
    const Routes routes = grouped({0, 2, -1, 1}, {0, 0, 3, 0}, {1, 1, 2, true, RouterScore::kSqrtSoftplus});
    EXPECT_EQ(routes.ids, (std::vector<int32_t>{1, 2}));
    const float sum = score(2) + score(-1);
    expect_near(routes.weights, {2 * score(2) / sum, 2 * score(-1) / sum}, 1e-6f);
    // Far out softplus is the identity, and exp does not overflow.
    const Routes far = grouped({400, 100, -400}, {}, {1, 1, 3, false, RouterScore::kSqrtSoftplus});
    expect_near(far.weights, {40, 20, 0}, 1e-5f);
}

TEST(RouteInGroups, BySoftmaxTakesProbabilitiesForTheirWorth) {
    // exp: group 0 is worth 5 + 5, group 1 9 + 0.9, though its logits add up to less.
    const std::vector<float> logits = {std::log(5.0f), std::log(5.0f), std::log(9.0f), std::log(0.9f)};
    const Routes routes = grouped(logits, {}, {2, 1, 1, false, RouterScore::kSoftmax});
    EXPECT_EQ(routes.ids, (std::vector<int32_t>{0}));
    expect_near(routes.weights, {2 * 5.0f / 19.9f}, 1e-6f);
}

TEST(RouteInGroups, BreaksTiesForTheLowerGroupAndId) {
    const Routes routes = grouped(std::vector<float>(8, 1.0f), std::vector<float>(8, -2.0f), {4, 2, 3, true});
    EXPECT_EQ(routes.ids, (std::vector<int32_t>{0, 1, 2}));
}

TEST(RouteInGroups, ScoresGroupsOfOneByThatOne) {
    EXPECT_EQ(grouped({1, 3, 2}, {0, 0, 0}, {3, 2, 2, true}).ids, (std::vector<int32_t>{1, 2}));
}

}  // namespace
}  // namespace sluice
