// The folded form of multi-head latent attention against the naive one.

#include <gtest/gtest.h>

#include "backend/kv_layout.h"
#include "backend/reference/naive_mla.h"
#include "tests/backend/test_tensors.h"

namespace sluice {
namespace {

struct Shape {
    int64_t tokens, rows, heads;
    int64_t nope = 4, rope = 2, value = 3, kv_lora = 8;
};

struct Case {
    Shape shape;
    std::vector<float> query, latents, rotary_keys, kv_b;

    explicit Case(const Shape& of) : shape(of) {
        const auto size = [](int64_t count) { return static_cast<size_t>(count); };
        query = random_values(size(shape.rows * shape.heads * (shape.nope + shape.rope)), 1);
        latents = random_values(size(shape.tokens * shape.kv_lora), 2);
        rotary_keys = random_values(size(shape.tokens * shape.rope), 3);
        kv_b = random_values(size(shape.heads * (shape.nope + shape.value) * shape.kv_lora), 4);
    }

    std::vector<float> naive() const {
        return naive_mla({.query = query,
                          .latents = latents,
                          .rotary_keys = rotary_keys,
                          .kv_b = {.format = WeightFormat::floating(DType::kF32),
                                   .rows = shape.heads * (shape.nope + shape.value),
                                   .columns = shape.kv_lora,
                                   .data = reinterpret_cast<const std::byte*>(kv_b.data())},
                          .rows = shape.rows,
                          .tokens = shape.tokens,
                          .heads = shape.heads,
                          .nope = shape.nope,
                          .rope = shape.rope,
                          .value = shape.value,
                          .scale = kScale});
    }

    // The key part as newer conversions have it: [heads * kv_lora, nope].
    std::vector<float> embed_q() const {
        std::vector<float> result;
        for (int64_t h = 0; h < shape.heads; ++h) {
            for (int64_t c = 0; c < shape.kv_lora; ++c) {
                for (int64_t r = 0; r < shape.nope; ++r) {
                    result.push_back(
                        kv_b[static_cast<size_t>((h * (shape.nope + shape.value) + r) * shape.kv_lora + c)]);
                }
            }
        }
        return result;
    }

    std::vector<float> unembed_out() const {
        std::vector<float> result;
        for (int64_t h = 0; h < shape.heads; ++h) {
            const auto first = kv_b.begin() + (h * (shape.nope + shape.value) + shape.nope) * shape.kv_lora;
            result.insert(result.end(), first, first + shape.value * shape.kv_lora);
        }
        return result;
    }

    std::vector<float> folded(int64_t tile_tokens, bool split_weights) const {
        const auto backend = make_reference_backend();
        const Shape& s = shape;
        KvSegment segment{.rows = {.first_row = 0, .count = s.tokens, .position = 0},
                          .cache = {.format = KvFormat::kF32, .page_tokens = 100, .pages = {}}};
        const LatentKvLayout layout(KvFormat::kF32, 100, s.kv_lora, s.rope);
        for (int64_t first = 0; first < s.tokens; first += 100) {
            segment.cache.pages.push_back(backend->allocate(layout.page_bytes()));
        }
        backend->run(AppendLatent{.latent = tensor_of(*backend, s.tokens, s.kv_lora, latents),
                                  .rotary_key = tensor_of(*backend, s.tokens, s.rope, rotary_keys),
                                  .segments = {segment}});
        segment.rows = {.first_row = 0, .count = s.rows, .position = s.tokens - s.rows};
        const Tensor q = tensor_of(*backend, s.rows, s.heads * (s.nope + s.rope), query);
        const Tensor folded_query = zeros(*backend, s.rows, s.heads * s.kv_lora);
        const Weight whole = weight_of(*backend, s.heads * (s.nope + s.value), s.kv_lora, kv_b);
        backend->run(FoldQuery{
            .query = q,
            .key = split_weights ? weight_of(*backend, s.heads * s.kv_lora, s.nope, embed_q()) : whole,
            .transposed = !split_weights,
            .heads = s.heads,
            .nope = s.nope,
            .rope = s.rope,
            .value = s.value,
            .out = folded_query});
        const Tensor latent = zeros(*backend, s.rows, s.heads * s.kv_lora);
        backend->run(LatentAttention{.folded = folded_query,
                                     .query = q,
                                     .heads = s.heads,
                                     .nope = s.nope,
                                     .rope = s.rope,
                                     .scale = static_cast<float>(kScale),
                                     .tile_tokens = tile_tokens,
                                     .segments = {segment},
                                     .out = latent});
        const Tensor out = zeros(*backend, s.rows, s.heads * s.value);
        backend->run(ProjectValue{
            .latent = latent,
            .value_weight =
                split_weights ? weight_of(*backend, s.heads * s.value, s.kv_lora, unembed_out()) : whole,
            .heads = s.heads,
            .nope = split_weights ? 0 : s.nope,
            .value = s.value,
            .out = out});
        return read(*backend, out);
    }

    static constexpr double kScale = 0.375;
};

TEST(ReferenceMla, FoldedEqualsNaiveAtEveryTileBoundary) {
    for (const int64_t tokens : {1, 17, 4095, 4096, 4097, 9000}) {
        for (const int64_t heads : {1, 5, 128}) {
            const Case test({.tokens = tokens, .rows = std::min<int64_t>(tokens, 2), .heads = heads});
            SCOPED_TRACE(testing::Message() << tokens << " tokens, " << heads << " heads");
            const auto expected = test.naive();
            expect_near(test.folded(4096, false), expected, 1e-5f);
        }
    }
}

TEST(ReferenceMla, TilesChangeNothingButRounding) {
    for (const int64_t tokens : {4095, 4096, 4097, 9000}) {
        const Case test({.tokens = tokens, .rows = 3, .heads = 5});
        const auto one_tile = test.folded(1 << 20, false);
        for (const int64_t tile : {7, 1000, 4096}) expect_near(test.folded(tile, false), one_tile, 1e-6f);
    }
}

TEST(ReferenceMla, OnlineSoftmaxSurvivesAMaximumThatGrowsAlongTheCache) {
    Case test({.tokens = 60, .rows = 1, .heads = 1});
    for (size_t i = 0; i < test.latents.size(); ++i) test.latents[i] *= 1 + 0.3f * static_cast<float>(i / 8);
    expect_near(test.folded(1, false), test.naive(), 2e-4f);
    expect_near(test.folded(16, false), test.folded(64, false), 2e-4f);
}

TEST(ReferenceMla, SplitWeightsGiveTheSame) {
    const Case test({.tokens = 30, .rows = 30, .heads = 3});
    expect_near(test.folded(4096, true), test.folded(4096, false), 1e-5f);
    expect_near(test.folded(4096, true), test.naive(), 1e-5f);
}

TEST(ReferenceMla, CausalInAPrompt) {
    // The first rows of a long prompt see nothing of the later ones.
    const Case whole({.tokens = 12, .rows = 12, .heads = 2});
    Case shorter = whole;
    shorter.shape.tokens = shorter.shape.rows = 5;
    const auto expected = shorter.folded(4, false);
    auto result = whole.folded(4, false);
    result.resize(expected.size());
    EXPECT_EQ(result, expected);
}

}  // namespace
}  // namespace sluice
