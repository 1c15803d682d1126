// Latent attention at DeepSeek-V3's sizes: a new token over caches of several lengths, a prompt, and what it stores.

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "backend/kv_layout.h"
#include "bench/kernel_bench/cases.h"
#include "bench/random_data.h"
#include "tests/backend/step_tables.h"

namespace sluice::bench {

namespace {

constexpr int64_t kLatentPageTokens = 256, kLatentFillRows = 4096;
constexpr double kLatentTurnBytes = 200e6;  // data sets that take turns: more than a card's second cache holds

struct LatentStep {
    int64_t rows, tokens;  // new ones, and all with them
};
constexpr LatentStep kLatentSteps[] = {{1, 4096}, {1, 32768}, {1, 131072}, {512, 8192}};

Sequences one_sequence(Backend& backend, int64_t rows, int64_t position) {
    return sequences_of(backend, {{.first_row = 0, .count = rows, .position = position}});
}

PagedCache empty_cache(Backend& backend, const Shapes& shapes, int64_t tokens) {
    const LatentKvLayout layout(KvFormat::kBF16, kLatentPageTokens, shapes.kv_lora, shapes.rope);
    std::vector<int32_t> pages(static_cast<size_t>((tokens + kLatentPageTokens - 1) / kLatentPageTokens));
    std::iota(pages.rbegin(), pages.rend(), 0);
    return {.format = KvFormat::kBF16,
            .page_tokens = kLatentPageTokens,
            .pool = backend.allocate(pages.size() * layout.page_bytes()),
            .page_bytes = layout.page_bytes(),
            .pages = int_table(backend, pages, static_cast<int64_t>(pages.size()))};
}

AppendLatent append_to(Backend& backend, const Shapes& shapes, const PagedCache& cache, int64_t rows) {
    return {.latent = random_tensor(backend, rows, shapes.kv_lora),
            .rotary_key = random_tensor(backend, rows, shapes.rope),
            .sequences = one_sequence(backend, rows, 0),
            .cache = cache};
}

PagedCache random_cache(Backend& backend, const Shapes& shapes, int64_t tokens) {
    const PagedCache cache = empty_cache(backend, shapes, tokens);
    AppendLatent op = append_to(backend, shapes, cache, std::min(tokens, kLatentFillRows));
    for (int64_t first = 0; first < tokens; first += op.latent.rows) {
        op.sequences = one_sequence(backend, std::min(op.latent.rows, tokens - first), first);
        op.latent.rows = op.rotary_key.rows = op.sequences.most_rows;
        backend.run(op);
    }
    backend.wait();
    return cache;
}

Tensor output_of(Backend& backend, int64_t rows, int64_t columns) {
    return make_tensor(backend.allocate(static_cast<uint64_t>(rows * columns) * sizeof(float)), DType::kF32, rows,
                       columns);
}

LatentAttention latent_attention_of(Backend& backend, const Shapes& shapes, const Weight& weight,
                                    const LatentStep& step) {
    const int64_t heads = shapes.latent_heads;
    return {.query = random_tensor(backend, step.rows, heads * (shapes.nope + shapes.rope)),
            .key = weight,
            .value_weight = weight,
            .heads = heads,
            .nope = shapes.nope,
            .rope = shapes.rope,
            .value = shapes.latent_value,
            .scale = 1 / std::sqrt(static_cast<float>(shapes.nope + shapes.rope)),
            .sequences = one_sequence(backend, step.rows, step.tokens - step.rows),
            .cache = random_cache(backend, shapes, step.tokens),
            .scratch = output_of(backend, step.rows, LatentAttention::scratch_columns(heads, shapes.kv_lora)),
            .out = output_of(backend, step.rows, heads * shapes.latent_value)};
}

void add_latent_step(Backend& backend, const Shapes& shapes, const LatentStep& step, const AddCase& add) {
    const WeightFormat format = WeightFormat::affine(4, 64, DType::kBF16);
    const int64_t heads = shapes.latent_heads, width = shapes.kv_lora + shapes.rope;
    const auto cache_bytes = static_cast<double>(step.tokens * width) * 2;
    std::vector<LatentAttention> ops;
    do {
        const Weight weight =
            random_weight(backend, format, heads * (shapes.nope + shapes.latent_value), shapes.kv_lora);
        ops.push_back(latent_attention_of(backend, shapes, weight, step));
    } while (static_cast<double>(ops.size()) * cache_bytes < kLatentTurnBytes && ops.size() < 16);
    const auto rows = static_cast<double>(step.rows);
    const double pairs = rows * (static_cast<double>(step.tokens) - rows) + rows * (rows + 1) / 2;
    const auto of_pair = static_cast<double>(2 * heads * (width + shapes.kv_lora));
    const auto of_row = static_cast<double>(2 * heads * shapes.kv_lora * (shapes.nope + shapes.latent_value));
    add({.group = "latent",
         .name = fmt::format("attention, {} new, cache {}", step.rows, step.tokens),
         .flops = pairs * of_pair + rows * of_row,
         .bytes = cache_bytes + static_cast<double>(weight_bytes(ops.front().key)),
         .launch = [&backend, &ops, turn = size_t{0}]() mutable { backend.run(ops[turn++ % ops.size()]); }});
}

void add_append(Backend& backend, const Shapes& shapes, int64_t rows, const AddCase& add) {
    const AppendLatent op = append_to(backend, shapes, empty_cache(backend, shapes, rows), rows);
    add({.group = "latent",
         .name = fmt::format("append at {}", rows),
         .flops = 0,
         .bytes = static_cast<double>(rows * (shapes.kv_lora + shapes.rope)) * 6,
         .launch = [&] { backend.run(op); }});
}

}  // namespace

void latent_cases(Backend& backend, const Shapes& shapes, const AddCase& add) {
    for (const LatentStep& step : kLatentSteps) add_latent_step(backend, shapes, step, add);
    for (const int64_t rows : {1, 8192}) add_append(backend, shapes, rows, add);
}

}  // namespace sluice::bench
