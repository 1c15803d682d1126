#include "sluice/sampling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "engine/softmax_weights.h"
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
    const auto counts = frequencies({.temperature = 1, .seed = 3}, {std::log(1.0f), std::log(2.0f), std::log(5.0f)});
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

TEST(Sampler, ALargeVocabularyIsDrawnInProportionToo) {
    // 50,000 tokens of which three hold all but a millionth of the mass, far apart.
    std::vector<float> logits(50000, -40.0f);
    logits[7] = std::log(1.0f);
    logits[30000] = std::log(2.0f);
    logits[49999] = std::log(5.0f);
    for (const SamplingOptions& options :
         {SamplingOptions{.seed = 5}, SamplingOptions{.top_k = 100, .seed = 5},
          SamplingOptions{.top_p = 0.999999, .seed = 5}, SamplingOptions{.min_p = 0.001, .seed = 5}}) {
        const auto counts = frequencies(options, logits, 8000);
        EXPECT_NEAR(counts.at(7), 1.0 / 8, 0.02);
        EXPECT_NEAR(counts.at(30000), 2.0 / 8, 0.02);
        EXPECT_NEAR(counts.at(49999), 5.0 / 8, 0.02);
    }
}

TEST(Sampler, TopKAmongManyEqualsKeepsTheLowestIds) {
    const auto counts = frequencies({.top_k = 5}, std::vector<float>(3000, 1.0f), 500);
    EXPECT_LT(counts.rbegin()->first, 5);
    EXPECT_EQ(counts.size(), 5u);
}

TEST(Sampler, TopPIsOfWhatTopKLeft) {
    // Of 0.4, 0.3, 0.2, 0.1 top-k 2 leaves 4/7 and 3/7.
    const std::vector<float> logits = {std::log(0.4f), std::log(0.3f), std::log(0.2f), std::log(0.1f)};
    EXPECT_EQ(frequencies({.top_k = 2, .top_p = 0.55}, logits).size(), 1u);
    EXPECT_EQ(frequencies({.top_k = 2, .top_p = 0.6}, logits).size(), 2u);
}

TEST(SoftmaxWeights, AreExponentials) {
    std::vector<float> logits;
    for (int i = 0; i < 3000; ++i) logits.push_back(3.0f - 0.03f * static_cast<float>(i));
    SoftmaxWeights weights;
    weights.compute(logits, 3.0f, 0.8f);
    double total = 0;
    for (size_t i = 0; i < logits.size(); ++i) {
        const double x = (static_cast<double>(logits[i]) - 3.0) / static_cast<double>(0.8f);
        // What rounding the argument to float alone may cost, and a little for the polynomial.
        const double relative = 2e-6 - x * std::numeric_limits<float>::epsilon();
        EXPECT_NEAR(static_cast<double>(weights[i]), std::exp(x), relative * std::exp(x) + 1e-37) << i;
        total += static_cast<double>(weights[i]);
    }
    EXPECT_NEAR(weights.total(), total, 1e-6 * total);
    EXPECT_EQ(weights.find(0), 0u);
    EXPECT_EQ(weights.find(static_cast<double>(weights[0])), 1u);
}

TEST(Sampler, MinPIsRelativeToTheLargest) {
    const std::vector<float> logits = {std::log(0.6f), std::log(0.3f), std::log(0.05f)};
    EXPECT_EQ(frequencies({.min_p = 0.4}, logits).size(), 2u);
    EXPECT_EQ(frequencies({.min_p = 0.05}, logits).size(), 3u);
}

TEST(Sampler, RepetitionPenaltyPushesBothSignsDown) {
    Sampler sampler({.temperature = 0, .repetition_penalty = 2.0});
    const std::vector<TokenId> history = {0, 2};
    EXPECT_EQ(sampler.sample(std::vector<float>{4, 3, -1}, {.tokens = history}), 1);
    EXPECT_EQ(sampler.sample(std::vector<float>{-1, -1.5, -1}, {.tokens = history}), 1);
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

// Models have more embeddings than their tokenizer has tokens, and sessions may hold such ids.
TEST(Sampler, IdsWithoutALogitCountForNothing) {
    const SamplingOptions options{.temperature = 0,
                                  .repetition_penalty = 2.0,
                                  .presence_penalty = 1,
                                  .logit_bias = {{1 << 30, 5}, {-1, 5}, {4, 5}}};
    Sampler sampler(options);
    const std::vector<TokenId> history = {0, 4, 5, 1 << 30, -1};
    EXPECT_EQ(sampler.sample(std::vector<float>{4, 3, -1, -1}, {.tokens = history, .generated = history}), 1);
}

TEST(Sampler, TinyTemperaturesAreGreedy) {
    const std::vector<float> logits = {1, 5, 4.999f, -30};
    for (const double temperature : {1e-7, 1e-40, 1e-46, 1e-300}) {
        for (const SamplingOptions& options :
             {SamplingOptions{.temperature = temperature}, SamplingOptions{.temperature = temperature, .top_k = 2},
              SamplingOptions{.temperature = temperature, .min_p = 0.1},
              SamplingOptions{.temperature = temperature, .top_p = 0.5}}) {
            const auto counts = frequencies(options, logits, 50);
            EXPECT_TRUE(counts.size() == 1 && counts.contains(1)) << temperature;
        }
    }
}

// What is ruled out never becomes a candidate, so that asking for more candidates must end.
TEST(Sampler, ANucleusOfFewerTokensThanThereAreEnds) {
    SamplingOptions options{.top_p = 0.99999999999};
    for (TokenId id = 3; id < 1000; ++id) options.logit_bias[id] = -100;
    const auto counts = frequencies(options, std::vector<float>(1000, 1.0f), 300);
    EXPECT_EQ(counts.size(), 3u);
    EXPECT_LT(counts.rbegin()->first, 3);
}

TEST(Sampler, BiasMovesBansAndForces) {
    const std::vector<float> logits = {1, 2, 3, 4};
    EXPECT_EQ(Sampler({.temperature = 0, .logit_bias = {{1, 2.5}}}).sample(logits, {}), 1);
    EXPECT_EQ(Sampler({.temperature = 0, .logit_bias = {{3, -100}}}).sample(logits, {}), 2);
    EXPECT_EQ(Sampler({.temperature = 0, .logit_bias = {{0, 100}}}).sample(std::vector<float>{-500, 0, 300}, {}), 0);
}

TEST(Sampler, PresenceAndFrequencyCountWhatWasGenerated) {
    const std::vector<float> logits = {3, 2.5f, 1};
    const std::vector<TokenId> prompt = {0, 0, 0}, once = {0}, thrice = {0, 0, 0};
    Sampler presence({.temperature = 0, .presence_penalty = 1}),
        frequency({.temperature = 0, .frequency_penalty = 0.2});
    EXPECT_EQ(presence.sample(logits, {.tokens = prompt}), 0);
    EXPECT_EQ(presence.sample(logits, {.tokens = prompt, .generated = once}), 1);
    EXPECT_EQ(frequency.sample(logits, {.generated = once}), 0);
    EXPECT_EQ(frequency.sample(logits, {.generated = thrice}), 1);
}

TEST(Sampler, AMaskLeavesOnlyWhatItAllows) {
    TokenMask mask(70);
    mask.allow(3);
    mask.allow(69);
    std::vector<float> logits(70, 1.0f);
    logits[10] = 50;
    Sampler sampler({.seed = 4});
    std::map<TokenId, int> counts;
    for (int i = 0; i < 200; ++i) ++counts[sampler.sample(logits, {.mask = &mask})];
    EXPECT_EQ(counts.size(), 2u);
    EXPECT_TRUE(counts.contains(3) && counts.contains(69));
    mask.allow_none();
    EXPECT_THROW((void)sampler.sample(logits, {.mask = &mask}), Error);
    EXPECT_THROW((void)sampler.sample(std::vector<float>(71, 1.0f), {.mask = &mask}), Error) << "too small a mask";
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
    EXPECT_NE(message({.top_k = -1}).find("top_k"), std::string::npos);
    EXPECT_EQ(message({.temperature = 100}), "");
    EXPECT_NE(message({.temperature = 101}).find("temperature"), std::string::npos);
    EXPECT_EQ(message({.top_p = 0}), "`top_p` 0 is not a number above 0, at most 1");
    EXPECT_NE(message({.min_p = 2}).find("min_p"), std::string::npos);
    for (const double penalty : {0.0, -1.0, 1e38}) {
        EXPECT_NE(message({.repetition_penalty = penalty}).find("repetition_penalty"), std::string::npos);
    }
    EXPECT_NE(message({.presence_penalty = 2.5}).find("presence_penalty"), std::string::npos);
    EXPECT_NE(message({.frequency_penalty = -3}).find("frequency_penalty"), std::string::npos);
    EXPECT_NE(message({.logit_bias = {{5, 101}}}).find("logit_bias"), std::string::npos);
}

}  // namespace
}  // namespace sluice
