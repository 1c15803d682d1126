#include <gtest/gtest.h>

#include <cmath>

#include "backend/kv_layout.h"
#include "tests/backend/step_tables.h"
#include "tests/backend/test_tensors.h"

namespace sluice {
namespace {

struct GroupedShape {
    int64_t heads, kv_heads, head_dim;
};

PagedCache empty_cache(Backend& backend, KvFormat format, int64_t page_tokens, const GroupedShape& shape,
                       const std::vector<int64_t>& tokens) {
    const GroupedKvLayout layout(format, page_tokens, shape.kv_heads, shape.head_dim, shape.head_dim);
    CacheBuilder builder(format, page_tokens, layout.page_bytes());
    for (const int64_t count : tokens) builder.add_empty(count);
    return builder.build(backend);
}

// Causal attention in double from plain matrices, the definition.
std::vector<float> attend_plainly(const std::vector<float>& q, const std::vector<float>& k, const std::vector<float>& v,
                                  const GroupedShape& shape, int64_t tokens, double scale) {
    std::vector<float> out(q.size());
    const auto at = [&](const std::vector<float>& m, int64_t heads, int64_t t, int64_t h, int64_t i) {
        return static_cast<double>(m[static_cast<size_t>((t * heads + h) * shape.head_dim + i)]);
    };
    for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t h = 0; h < shape.heads; ++h) {
            const int64_t kv = h * shape.kv_heads / shape.heads;
            double total = 0;
            std::vector<double> sum(static_cast<size_t>(shape.head_dim), 0.0);
            for (int64_t p = 0; p <= t; ++p) {
                double score = 0;
                for (int64_t i = 0; i < shape.head_dim; ++i)
                    score += at(q, shape.heads, t, h, i) * at(k, shape.kv_heads, p, kv, i);
                const double weight = std::exp(score * scale);
                total += weight;
                for (int64_t i = 0; i < shape.head_dim; ++i) {
                    sum[static_cast<size_t>(i)] += weight * at(v, shape.kv_heads, p, kv, i);
                }
            }
            for (int64_t i = 0; i < shape.head_dim; ++i) {
                out[static_cast<size_t>((t * shape.heads + h) * shape.head_dim + i)] =
                    static_cast<float>(sum[static_cast<size_t>(i)] / total);
            }
        }
    }
    return out;
}

TEST(ReferenceAttention, MatchesTheDefinitionInOneBatchAndTokenByToken) {
    const GroupedShape shape{6, 2, 5};
    const int64_t tokens = 11;
    const auto q = random_values(static_cast<size_t>(tokens * shape.heads * shape.head_dim), 1);
    const auto k = random_values(static_cast<size_t>(tokens * shape.kv_heads * shape.head_dim), 2);
    const auto v = random_values(k.size(), 3);
    const auto expected = attend_plainly(q, k, v, shape, tokens, 0.4);
    for (const int64_t step : {int64_t{1}, int64_t{4}, tokens}) {
        const auto backend = make_reference_backend();
        const PagedCache cache = empty_cache(*backend, KvFormat::kF32, 4, shape, {tokens});
        const Tensor query = tensor_of(*backend, tokens, shape.heads * shape.head_dim, q);
        const Tensor keys = tensor_of(*backend, tokens, shape.kv_heads * shape.head_dim, k);
        const Tensor values = tensor_of(*backend, tokens, shape.kv_heads * shape.head_dim, v);
        const Tensor out = zeros(*backend, tokens, shape.heads * shape.head_dim);
        for (int64_t first = 0; first < tokens; first += step) {
            const int64_t count = std::min(step, tokens - first);
            const Sequences sequences = sequences_of(*backend, {{.first_row = 0, .count = count, .position = first}});
            backend->run(AppendKeyValue{.keys = keys.rows_at(first, count),
                                        .values = values.rows_at(first, count),
                                        .kv_heads = shape.kv_heads,
                                        .sequences = sequences,
                                        .cache = cache});
            backend->run(Attention{.query = query.rows_at(first, count),
                                   .heads = shape.heads,
                                   .kv_heads = shape.kv_heads,
                                   .scale = 0.4f,
                                   .sequences = sequences,
                                   .cache = cache,
                                   .out = out.rows_at(first, count)});
        }
        expect_near(read(*backend, out), expected, 1e-6f);
    }
}

TEST(ReferenceAttention, SegmentsSeeOnlyTheirOwnCache) {
    const GroupedShape shape{1, 1, 2};
    const auto backend = make_reference_backend();
    const Tensor values = tensor_of(*backend, 3, 2, {1, 2, 3, 4, 5, 6});
    const Sequences sequences = sequences_of(*backend, {{.first_row = 0, .count = 1, .position = 0},
                                                        {.first_row = 1, .count = 1, .position = 0},
                                                        {.first_row = 2, .count = 1, .position = 0}});
    const PagedCache cache = empty_cache(*backend, KvFormat::kF32, 2, shape, {1, 1, 1});
    backend->run(
        AppendKeyValue{.keys = values, .values = values, .kv_heads = 1, .sequences = sequences, .cache = cache});
    const Tensor out = zeros(*backend, 3, 2);
    backend->run(Attention{
        .query = values, .heads = 1, .kv_heads = 1, .scale = 1, .sequences = sequences, .cache = cache, .out = out});
    EXPECT_EQ(read(*backend, out), (std::vector<float>{1, 2, 3, 4, 5, 6}));
}

TEST(ReferenceAttention, CacheRowsLieWhereTheLayoutSays) {
    const GroupedShape shape{2, 2, 1};
    const auto backend = make_reference_backend();
    const PagedCache cache = empty_cache(*backend, KvFormat::kF32, 2, shape, {3});
    backend->run(AppendKeyValue{.keys = tensor_of(*backend, 3, 2, {1, 2, 3, 4, 5, 6}),
                                .values = tensor_of(*backend, 3, 2, {11, 12, 13, 14, 15, 16}),
                                .kv_heads = 2,
                                .sequences = sequences_of(*backend, {{.first_row = 0, .count = 3, .position = 0}}),
                                .cache = cache});
    const auto pages = read_pages(*backend, cache, 0, 3, 8 * sizeof(float));
    const auto floats_of = [](const std::vector<std::byte>& page) {
        std::vector<float> values(page.size() / sizeof(float));
        std::memcpy(values.data(), page.data(), page.size());
        return values;
    };
    // Per page: keys of head 0, keys of head 1, values of head 0, values of head 1; two tokens each.
    EXPECT_EQ(floats_of(pages[0]), (std::vector<float>{1, 3, 2, 4, 11, 13, 12, 14}));
    EXPECT_EQ(floats_of(pages[1]), (std::vector<float>{5, 0, 6, 0, 15, 0, 16, 0}));
}

TEST(ReferenceAttention, NarrowCachesStayClose) {
    const GroupedShape shape{4, 2, 32};
    const int64_t tokens = 40;
    const auto q = random_values(static_cast<size_t>(tokens * shape.heads * shape.head_dim), 4);
    const auto k = random_values(static_cast<size_t>(tokens * shape.kv_heads * shape.head_dim), 5);
    const auto v = random_values(k.size(), 6);
    const auto expected = attend_plainly(q, k, v, shape, tokens, 0.18);
    for (const auto& [format, tolerance] : {std::pair{KvFormat::kBF16, 0.03f}, std::pair{KvFormat::kInt8, 0.06f}}) {
        const auto backend = make_reference_backend();
        const Sequences sequences = sequences_of(*backend, {{.first_row = 0, .count = tokens, .position = 0}});
        const PagedCache cache = empty_cache(*backend, format, 16, shape, {tokens});
        backend->run(AppendKeyValue{.keys = tensor_of(*backend, tokens, 64, k),
                                    .values = tensor_of(*backend, tokens, 64, v),
                                    .kv_heads = 2,
                                    .sequences = sequences,
                                    .cache = cache});
        const Tensor out = zeros(*backend, tokens, 128);
        backend->run(Attention{.query = tensor_of(*backend, tokens, 128, q),
                               .heads = 4,
                               .kv_heads = 2,
                               .scale = 0.18f,
                               .sequences = sequences,
                               .cache = cache,
                               .out = out});
        const auto result = read(*backend, out);
        expect_near(result, expected, tolerance);
        EXPECT_NE(result, expected) << "a narrow cache rounds";
    }
}

}  // namespace
}  // namespace sluice
