#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "sluice/error.h"

namespace sluice {
namespace {

std::map<TokenId, double> frequencies(const SamplingOptions& options, const std::vector<float>& logits,
                                      int draws = 20000) {
    Sampler sampler(options);
    std::map<TokenId, double> counts;
    for (int i = 0; i < draws; ++i) counts[sampler.sample(logits, {})] += 1.0 / draws;
    return counts;
}

TEST(Sampler, GreedyTakesTheLargestAndTheLowestIdAmongEquals) {
    Sampler sampler({.temperature = 0});
    EXPECT_EQ(sampler.sample(std::vector<float>{1, 5, 5, 2}, {}), 1);
}

TEST(Sampler, DrawsInProportionToTheSoftmax) {
    const auto counts =
        frequencies({.temperature = 1, .seed = 3}, {std::log(1.0f), std::log(2.0f), std::log(5.0f)});
    EXPECT_NEAR(counts.at(0), 1.0 / 8, 0.01);
    EXPECT_NEAR(counts.at(1), 2.0 / 8, 0.01);
    EXPECT_NEAR(counts.at(2), 5.0 / 8, 0.01);
}

TEST(Sampler, TemperatureSharpens) {
    const auto counts = frequencies({.temperature = 0.5}, {std::log(1.0f), std::log(3.0f)});
    EXPECT_NEAR(counts.at(1), 9.0 / 10, 0.01);
}

TEST(Sampler, TopKKeepsTheLargest) {
    const auto counts = frequencies({.top_k = 2}, {0.0f, 1.0f, 2.0f, 1.5f});
    EXPECT_EQ(counts.size(), 2u);
    EXPECT_TRUE(counts.contains(2) && counts.contains(3));
}

TEST(Sampler, TopPKeepsTheSmallestSetThatReachesIt) {
    // Probabilities 0.5, 0.3, 0.15, 0.05.
    const std::vector<float> logits = {std::log(0.15f), std::log(0.5f), std::log(0.05f), std::log(0.3f)};
    EXPECT_EQ(frequencies({.top_p = 0.79}, logits).size(), 2u);
    EXPECT_EQ(frequencies({.top_p = 0.81}, logits).size(), 3u);
    EXPECT_EQ(frequencies({.top_p = 0.01}, logits).size(), 1u);
}

TEST(Sampler, TopPOverALargeFlatVocabulary) {
    const std::vector<float> logits(2000, 0.0f);
    const auto counts = frequencies({.top_p = 0.5}, logits, 5000);
    EXPECT_LT(counts.rbegin()->first, 1000);
    EXPECT_GT(counts.size(), 950u);
}

TEST(Sampler, MinPIsRelativeToTheLargest) {
    const std::vector<float> logits = {std::log(0.6f), std::log(0.3f), std::log(0.05f)};
    EXPECT_EQ(frequencies({.min_p = 0.4}, logits).size(), 2u);
    EXPECT_EQ(frequencies({.min_p = 0.05}, logits).size(), 3u);
}

TEST(Sampler, RepetitionPenaltyPushesBothSignsDown) {
    Sampler sampler({.temperature = 0, .repetition_penalty = 2.0});
    const std::vector<TokenId> history = {0, 2};
    EXPECT_EQ(sampler.sample(std::vector<float>{4, 3, -1}, history), 1);
    EXPECT_EQ(sampler.sample(std::vector<float>{-1, -1.5, -1}, history), 1);
}

TEST(Sampler, TheSameSeedDrawsTheSame) {
    Sampler a({.seed = 11}), b({.seed = 11}), c({.seed = 12});
    const std::vector<float> logits(100, 0.0f);
    std::vector<TokenId> from_a, from_b, from_c;
    for (int i = 0; i < 50; ++i) {
        from_a.push_back(a.sample(logits, {}));
        from_b.push_back(b.sample(logits, {}));
        from_c.push_back(c.sample(logits, {}));
    }
    EXPECT_EQ(from_a, from_b);
    EXPECT_NE(from_a, from_c);
}

TEST(Sampler, OptionsOutOfRangeAreNamed) {
    const auto message = [](const SamplingOptions& options) {
        try {
            Sampler sampler(options);
        } catch (const Error& error) {
            return std::string(error.what());
        }
        return std::string();
    };
    EXPECT_NE(message({.temperature = -1}).find("temperature"), std::string::npos);
    EXPECT_NE(message({.temperature = std::nan("")}).find("temperature"), std::string::npos);
    EXPECT_NE(message({.top_k = -1}).find("top-k"), std::string::npos);
    EXPECT_NE(message({.top_p = 0}).find("top-p"), std::string::npos);
    EXPECT_NE(message({.min_p = 2}).find("min-p"), std::string::npos);
    EXPECT_NE(message({.repetition_penalty = 0}).find("repetition-penalty"), std::string::npos);
}

}  // namespace
}  // namespace sluice
