// The forms of multi-head latent attention against the naive one that defines it, on every backend.

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "backend/kv_layout.h"
#include "backend/reference/naive_mla.h"
#include "tests/backend/queued_backend.h"
#include "tests/backend/run_form.h"
#include "tests/backend/step_tables.h"
#include "tests/backend/test_tensors.h"

namespace sluice {
namespace {

constexpr double kRelative = 1e-5;
constexpr int64_t kOneTile = 0;

struct Shape {
    int64_t tokens, rows, heads;
    int64_t nope = 16, rope = 8, value = 12, kv_lora = 32;
};

struct Case {
    Shape shape;
    std::vector<float> query, latents, rotary_keys, kv_b;

    explicit Case(const Shape& of) : shape(of) {
        const auto size = [](int64_t count) { return static_cast<size_t>(count); };
        query = random_values(size(shape.rows * shape.heads * (shape.nope + shape.rope)), 1);
        latents = random_values(size(shape.tokens * shape.kv_lora), 2);
        rotary_keys = random_values(size(shape.tokens * shape.rope), 3);
        kv_b = random_values(size(shape.heads * (shape.nope + shape.value) * shape.kv_lora), 4,
                             1 / std::sqrt(static_cast<float>(shape.kv_lora)));
    }

    float scale() const { return 1 / std::sqrt(static_cast<float>(shape.nope + shape.rope)); }

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
                          .scale = scale()});
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

    Sequences sequences(Backend& backend) const {
        return sequences_of(backend, {{.first_row = 0, .count = shape.rows, .position = shape.tokens - shape.rows}});
    }
    PagedCache cached(Backend& backend) const {
        const Shape& s = shape;
        CacheBuilder builder(KvFormat::kF32, 100, LatentKvLayout(KvFormat::kF32, 100, s.kv_lora, s.rope).page_bytes());
        builder.add_empty(s.tokens);
        PagedCache cache = builder.build(backend);
        backend.run(
            AppendLatent{.latent = tensor_of(backend, s.tokens, s.kv_lora, latents),
                         .rotary_key = tensor_of(backend, s.tokens, s.rope, rotary_keys),
                         .sequences = sequences_of(backend, {{.first_row = 0, .count = s.tokens, .position = 0}}),
                         .cache = cache});
        return cache;
    }

    Weight key_weight(Backend& backend, bool split) const {
        const Shape& s = shape;
        return split ? weight_of(backend, s.heads * s.kv_lora, s.nope, embed_q())
                     : weight_of(backend, s.heads * (s.nope + s.value), s.kv_lora, kv_b);
    }
    Weight value_weight(Backend& backend, bool split) const {
        const Shape& s = shape;
        return split ? weight_of(backend, s.heads * s.value, s.kv_lora, unembed_out())
                     : weight_of(backend, s.heads * (s.nope + s.value), s.kv_lora, kv_b);
    }

    // The attended latents, in tiles of `tile_tokens` or in one.
    Tensor attend(Backend& backend, const Tensor& folded, const Tensor& q, int64_t tile_tokens) const {
        const Shape& s = shape;
        const PagedCache cache = cached(backend);
        const std::vector<KvSegment> segments = kv_segments("a form", sequences(backend), cache, s.rows);
        const Tensor latent = zeros(backend, s.rows, s.heads * s.kv_lora);
        const FoldedQueries queries{.folded = folded,
                                    .query = q,
                                    .heads = s.heads,
                                    .nope = s.nope,
                                    .rope = s.rope,
                                    .scale = scale(),
                                    .segments = segments};
        if (tile_tokens == kOneTile) {
            run_form(backend, AttendLatents{queries, latent});
            return latent;
        }
        AccumulateLatentTile tile{queries,
                                  0,
                                  tile_tokens,
                                  zeros(backend, s.rows, s.heads),
                                  zeros(backend, s.rows, s.heads),
                                  zeros(backend, s.rows, s.heads * s.kv_lora)};
        for (; tile.first_token < s.tokens; tile.first_token += tile_tokens) run_form(backend, tile);
        run_form(backend, FinalizeLatentTiles{.sum = tile.sum, .total = tile.total, .out = latent});
        return latent;
    }

    std::vector<float> folded(Backend& backend, int64_t tile_tokens, bool split = false) const {
        const Shape& s = shape;
        const Tensor q = tensor_of(backend, s.rows, s.heads * (s.nope + s.rope), query);
        const Tensor folded_query = zeros(backend, s.rows, s.heads * s.kv_lora);
        run_form(backend, FoldQuery{.query = q,
                                    .key = key_weight(backend, split),
                                    .transposed = !split,
                                    .heads = s.heads,
                                    .nope = s.nope,
                                    .rope = s.rope,
                                    .value = s.value,
                                    .out = folded_query});
        const Tensor out = zeros(backend, s.rows, s.heads * s.value);
        run_form(backend, ProjectValue{.latent = attend(backend, folded_query, q, tile_tokens),
                                       .value_weight = value_weight(backend, split),
                                       .heads = s.heads,
                                       .nope = split ? 0 : s.nope,
                                       .value = s.value,
                                       .out = out});
        return read(backend, out);
    }

    LatentAttention attention(Backend& backend, bool split) const {
        const Shape& s = shape;
        return {.query = tensor_of(backend, s.rows, s.heads * (s.nope + s.rope), query),
                .key = key_weight(backend, split),
                .value_weight = value_weight(backend, split),
                .transposed = !split,
                .heads = s.heads,
                .nope = s.nope,
                .rope = s.rope,
                .value = s.value,
                .scale = scale(),
                .sequences = sequences(backend),
                .cache = cached(backend),
                .scratch = zeros(backend, s.rows, LatentAttention::scratch_columns(s.heads, s.kv_lora)),
                .out = zeros(backend, s.rows, s.heads * s.value)};
    }

    std::vector<float> expanded(Backend& backend, bool split = false) const {
        const LatentAttention op = attention(backend, split);
        const ExpandedLatentAttention form{op, kv_segments(op.kName, op.sequences, op.cache, op.query.rows)};
        run_form(backend, form);
        return read(backend, form.attention.out);
    }

    // In whichever form the backend takes.
    std::vector<float> whole(Backend& backend, bool split = false) const {
        const LatentAttention op = attention(backend, split);
        backend.run(op);
        return read(backend, op.out);
    }
};

// The norm of the difference over the norm of what is expected.
double relative_error(const std::vector<float>& values, const std::vector<float>& expected) {
    if (values.size() != expected.size()) return INFINITY;
    double differences = 0, squares = 0;
    for (size_t i = 0; i < values.size(); ++i) {
        const double difference = static_cast<double>(values[i]) - expected[i];
        differences += difference * difference;
        squares += static_cast<double>(expected[i]) * expected[i];
    }
    return std::isfinite(differences) ? std::sqrt(differences / squares) : INFINITY;
}

struct NamedBackend {
    const char* name;
    std::unique_ptr<Backend> (*make)();
};

class MlaForms : public ::testing::TestWithParam<NamedBackend> {
  protected:
    std::unique_ptr<Backend> backend_ = GetParam().make();
};

TEST_P(MlaForms, AreTheNaiveOneAtEveryTileBoundary) {
    double worst = 0;
    for (const int64_t tokens : {1, 17, 4095, 4096, 4097, 9000}) {
        for (const int64_t heads : {1, 5, 128}) {
            SCOPED_TRACE(testing::Message() << tokens << " tokens, " << heads << " heads");
            const Case test({.tokens = tokens, .rows = std::min<int64_t>(tokens, 2), .heads = heads});
            const auto naive = test.naive();
            const auto one_tile = test.folded(*backend_, kOneTile);
            const auto tiled = test.folded(*backend_, 4096);
            EXPECT_LT(relative_error(one_tile, naive), kRelative);
            EXPECT_LT(relative_error(tiled, naive), kRelative);
            EXPECT_LT(relative_error(tiled, one_tile), kRelative);
            if (tokens <= 4096) {
                EXPECT_EQ(tiled, one_tile);
            }
            worst = std::max({worst, relative_error(one_tile, naive), relative_error(tiled, naive)});
        }
    }
    fmt::print("{}: relative error of the folded form {:.1e} at most\n", backend_->name(), worst);
}

TEST_P(MlaForms, ExpandedIsTheNaiveOne) {
    for (const int64_t tokens : {1, 17, 4096, 4097}) {
        for (const int64_t heads : {1, 5}) {
            SCOPED_TRACE(testing::Message() << tokens << " tokens, " << heads << " heads");
            const Case test({.tokens = tokens, .rows = std::min<int64_t>(tokens, 70), .heads = heads});
            const auto naive = test.naive();
            EXPECT_LT(relative_error(test.expanded(*backend_), naive), kRelative);
            EXPECT_LT(relative_error(test.expanded(*backend_, true), naive), kRelative);
        }
    }
}

TEST_P(MlaForms, TheShapeOfDeepSeekV3) {
    const Case test({.tokens = 4097, .rows = 2, .heads = 2, .nope = 128, .rope = 64, .value = 128, .kv_lora = 512});
    const auto naive = test.naive();
    EXPECT_LT(relative_error(test.folded(*backend_, kOneTile), naive), kRelative);
    EXPECT_LT(relative_error(test.folded(*backend_, 4096), naive), kRelative);
    EXPECT_LT(relative_error(test.expanded(*backend_), naive), kRelative);
}

TEST_P(MlaForms, TilesOfAnySizeChangeNothingButRounding) {
    for (const int64_t tokens : {4095, 4096, 4097, 9000}) {
        const Case test({.tokens = tokens, .rows = 3, .heads = 5});
        const auto one_tile = test.folded(*backend_, kOneTile);
        for (const int64_t tile : {77, 1000, 4096}) {
            EXPECT_LT(relative_error(test.folded(*backend_, tile), one_tile), kRelative)
                << tokens << " tokens in tiles of " << tile;
        }
    }
}

TEST_P(MlaForms, OnlineSoftmaxSurvivesAMaximumThatGrowsAlongTheCache) {
    Case test({.tokens = 600, .rows = 1, .heads = 1});
    for (size_t i = 0; i < test.latents.size(); ++i) test.latents[i] *= 1 + 0.03f * static_cast<float>(i / 32);
    // Scores of some hundreds: their own rounding, not the tiles', is what shows.
    EXPECT_LT(relative_error(test.folded(*backend_, 1), test.naive()), 2e-4);
    EXPECT_LT(relative_error(test.folded(*backend_, 16), test.folded(*backend_, kOneTile)), 2e-4);
}

TEST_P(MlaForms, SplitWeightsGiveTheSame) {
    const Case test({.tokens = 30, .rows = 30, .heads = 3});
    EXPECT_LT(relative_error(test.folded(*backend_, kOneTile, true), test.naive()), kRelative);
}

TEST_P(MlaForms, CausalInAPrompt) {
    // The first rows of a long prompt see nothing of the later ones.
    const Case whole({.tokens = 12, .rows = 12, .heads = 2});
    Case shorter = whole;
    shorter.shape.tokens = shorter.shape.rows = 5;
    for (const int64_t tile : {kOneTile, int64_t{4}}) {
        const auto expected = shorter.folded(*backend_, tile);
        auto result = whole.folded(*backend_, tile);
        result.resize(expected.size());
        EXPECT_EQ(result, expected);
    }
}

std::unique_ptr<Backend> exact_cpu() {
    return make_cpu_backend({.threads = 2, .exact = true});
}
std::unique_ptr<Backend> queued() {
    return make_queued_backend();
}

INSTANTIATE_TEST_SUITE_P(On, MlaForms,
                         ::testing::Values(NamedBackend{"Reference", make_reference_backend},
                                           NamedBackend{"Cpu", exact_cpu}),
                         [](const auto& one) { return std::string(one.param.name); });

// The operation, which takes the form that suits the shape.
class LatentAttentionOperation : public MlaForms {};

TEST_P(LatentAttentionOperation, IsTheNaiveOneInEveryForm) {
    for (const int64_t tokens : {1, 17, 63, 64, 200, 4096, 4097, 9000}) {
        for (const int64_t rows : {1, 2, 70}) {  // decoded, and expanded where it pays
            SCOPED_TRACE(testing::Message() << tokens << " tokens, " << rows << " rows");
            const Case test({.tokens = tokens, .rows = std::min(tokens, rows), .heads = 5});
            const auto naive = test.naive();
            EXPECT_LT(relative_error(test.whole(*backend_), naive), kRelative);
            EXPECT_LT(relative_error(test.whole(*backend_, true), naive), kRelative);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(On, LatentAttentionOperation,
                         ::testing::Values(NamedBackend{"Reference", make_reference_backend},
                                           NamedBackend{"Cpu", exact_cpu}, NamedBackend{"Queued", queued}),
                         [](const auto& one) { return std::string(one.param.name); });

TEST(LatentAttentionForms, FollowTheShapeOfEachSequence) {
    const auto backend = exact_cpu();
    const Case prompt({.tokens = 70, .rows = 70, .heads = 5}), decode({.tokens = 5000, .rows = 1, .heads = 5});
    EXPECT_EQ(prompt.whole(*backend), prompt.expanded(*backend));
    EXPECT_EQ(decode.whole(*backend), decode.folded(*backend, 4096));

    LatentAttention op = prompt.attention(*backend, false);
    op.query = zeros(*backend, 74, op.query.columns);
    op.scratch = zeros(*backend, 74, op.scratch.columns);
    op.out = zeros(*backend, 74, op.out.columns);
    const std::vector<KvSegment> segments = {{{.first_row = 0, .count = 1, .position = 9}, {}},
                                             {{.first_row = 1, .count = 1, .position = 3}, {}},
                                             {{.first_row = 2, .count = 70, .position = 0}, {}},
                                             {{.first_row = 72, .count = 2, .position = 50}, {}}};
    const auto runs = latent_runs(op, segments);
    ASSERT_EQ(runs.size(), 3u);
    EXPECT_FALSE(runs[0].expanded);
    EXPECT_EQ(runs[0].segments.size(), 2u);
    EXPECT_TRUE(runs[1].expanded);
    EXPECT_EQ(runs[1].segments[0].rows.first_row, 0);
    EXPECT_EQ(runs[1].attention.out.rows, 70);
    EXPECT_FALSE(runs[2].expanded);
    EXPECT_EQ(runs[2].attention.query.offset, op.query.rows_at(72, 2).offset);
}

// Tiles that end where the cpu's own blocks do carry their sums over to the bit.
TEST(CpuMla, ATiledCacheIsTheSameToTheBit) {
    const auto backend = exact_cpu();
    for (const int64_t tokens : {4097, 9000}) {
        const Case test({.tokens = tokens, .rows = 3, .heads = 5});
        const auto one_tile = test.folded(*backend, kOneTile);
        for (const int64_t tile : {64, 1024, 4096}) EXPECT_EQ(test.folded(*backend, tile), one_tile);
    }
}

}  // namespace
}  // namespace sluice
