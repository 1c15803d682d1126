// Latent attention at DeepSeek-V3's sizes: a new token over caches of several lengths, a prompt, and what it stores.

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "backend/kv_layout.h"
#include "bench/kernel_bench/latent_operands.h"
#include "bench/random_data.h"
#include "tests/backend/step_tables.h"

namespace sluice::bench {

namespace {

constexpr int64_t kLatentPageTokens = 256, kLatentFillRows = 4096;
constexpr double kLatentTurnBytes = 200e6;  // data sets that take turns: more than a card's second cache holds

// Of a cache of one token there is little but the products with the weight.
constexpr LatentStep kLatentSteps[] = {{1, 1}, {1, 4096}, {1, 32768}, {1, 131072}, {512, 8192}, {2048, 2048}};

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

Tensor output_of(Backend& backend, int64_t rows, int64_t columns) {
    return make_tensor(backend.allocate(static_cast<uint64_t>(rows * columns) * sizeof(float)), DType::kF32, rows,
                       columns);
}

}  // namespace

Sequences one_sequence(Backend& backend, int64_t rows, int64_t position) {
    return sequences_of(backend, {{.first_row = 0, .count = rows, .position = position}});
}

PagedCache random_latents(Backend& backend, const Shapes& shapes, int64_t tokens) {
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

Weight latent_weight(Backend& backend, const Shapes& shapes) {
    return random_weight(backend, WeightFormat::affine(4, 64, DType::kBF16),
                         shapes.latent_heads * (shapes.nope + shapes.latent_value), shapes.kv_lora);
}

LatentAttention latent_attention(Backend& backend, const Shapes& shapes, const LatentStep& step) {
    const int64_t heads = shapes.latent_heads;
    const Weight weight = latent_weight(backend, shapes);
    return {.query = random_tensor(backend, step.rows, heads * (shapes.nope + shapes.rope)),
            .key = weight,
            .value_weight = weight,
            .heads = heads,
            .nope = shapes.nope,
            .rope = shapes.rope,
            .value = shapes.latent_value,
            .scale = 1 / std::sqrt(static_cast<float>(shapes.nope + shapes.rope)),
            .sequences = one_sequence(backend, step.rows, step.tokens - step.rows),
            .cache = random_latents(backend, shapes, step.tokens),
            .scratch = output_of(backend, step.rows, LatentAttention::scratch_columns(heads, shapes.kv_lora)),
            .out = output_of(backend, step.rows, heads * shapes.latent_value)};
}

double latent_row_flops(const Shapes& shapes) {
    return static_cast<double>(2 * shapes.latent_heads * shapes.kv_lora * (shapes.nope + shapes.latent_value));
}
double latent_pair_flops(const Shapes& shapes) {
    return static_cast<double>(2 * shapes.latent_heads * (2 * shapes.kv_lora + shapes.rope));
}

namespace {

void add_latent_step(Backend& backend, const Shapes& shapes, const LatentStep& step, const AddCase& add) {
    const auto cache_bytes = static_cast<double>(step.tokens * (shapes.kv_lora + shapes.rope)) * 2;
    std::vector<LatentAttention> ops;
    do {
        ops.push_back(latent_attention(backend, shapes, step));
        ops.back().out = ops.front().out;
        const double bytes = cache_bytes + static_cast<double>(weight_bytes(ops.front().key));
        if (static_cast<double>(ops.size()) * bytes > kLatentTurnBytes) break;
    } while (ops.size() < 16);
    const auto rows = static_cast<double>(step.rows);
    const double pairs = rows * (static_cast<double>(step.tokens) - rows) + rows * (rows + 1) / 2;
    KernelCase each{.group = "latent",
                    .name = fmt::format("attention, {} new, cache {}", step.rows, step.tokens),
                    .flops = pairs * latent_pair_flops(shapes) + rows * latent_row_flops(shapes),
                    .bytes = cache_bytes + static_cast<double>(weight_bytes(ops.front().key)),
                    .launch = {}};
    run_in_turn(backend, ops, step.rows, each);
    add(std::move(each));
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
