// What a backend draws is what the sampler would draw.

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "backend/host_draws.h"
#include "sluice/sampling.h"

namespace sluice {
namespace {

std::vector<float> random_logits(size_t count, float scale, uint32_t seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, scale);
    std::vector<float> logits(count);
    for (float& logit : logits) logit = std::round(normal(random) * 64) / 64;  // some are equal
    return logits;
}

TEST(DrawToken, IsWhatTheSamplerDraws) {
    const SamplingOptions ways[] = {{.temperature = 1},
                                    {.temperature = 0.6, .top_k = 20, .top_p = 0.95},
                                    {.temperature = 1.3, .top_k = 40},
                                    {.temperature = 1, .top_p = 0.9},
                                    {.temperature = 5, .top_p = 0.99},
                                    {.temperature = 0.8, .min_p = 0.05},
                                    {.temperature = 0.8, .top_k = 50, .top_p = 0.8, .min_p = 0.1},
                                    {.temperature = 1, .top_k = 1}};
    int drawn = 0, equal = 0;
    for (SamplingOptions options : ways) {
        options.seed = 7;
        Sampler sampler(options);
        ASSERT_TRUE(sampler.takes_logits_as_they_come());
        for (uint32_t i = 0; i < 60; ++i) {
            const std::vector<float> logits = random_logits(3000, i % 2 == 0 ? 1 : 4, i);
            const DrawSettings settings{.temperature = options.temperature,
                                        .top_p = options.top_p,
                                        .min_p = options.min_p,
                                        .uniform = sampler.next_uniform(),
                                        .top_k = options.top_k};
            ++drawn;
            equal += draw_token(logits, settings) == sampler.sample(logits, {}) ? 1 : 0;
        }
    }
    // Weights are rounded in other ways: where a sum nearly meets a bound, the neighbour may be drawn.
    EXPECT_GE(equal, drawn - 1);
}

TEST(DrawToken, WhoSkipsGoesOnWithTheNextNumber) {
    Sampler all({.temperature = 1, .seed = 3}), some({.temperature = 1, .seed = 3});
    const std::vector<float> logits = random_logits(500, 1, 9);
    for (int i = 0; i < 20; ++i) {
        const TokenId id = all.sample(logits, {});
        if (i % 4 == 1) (void)some.next_uniform(2);  // of one that comes later, which changes nothing
        if (i % 3 == 0) {
            (void)some.next_uniform();
            some.skip();
        } else {
            EXPECT_EQ(some.sample(logits, {}), id);
        }
    }
}

TEST(DrawToken, UnlessToldOtherwiseTakesTheFirstOfTheLargest) {
    EXPECT_EQ(draw_token(std::vector<float>{1, 5, 5, 2}, {}), 1);
    EXPECT_EQ(draw_token(std::vector<float>{1, NAN, 5, 2}, {}), -1);
}

}  // namespace
}  // namespace sluice
