// DeepSeek-V3.2's sparse attention: a new token chooses 2,048 of those cached, and attends to them, over caches of
// several lengths. On the CPU alone.

#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "backend/kv_layout.h"
#include "bench/kernel_bench/cases.h"
#include "bench/random_data.h"
#include "tests/backend/step_tables.h"

namespace sluice::bench {

namespace {

constexpr int64_t kSelectionPageTokens = 256, kIndexHeads = 64, kIndexWidth = 128, kChosenTokens = 2048;
constexpr int64_t kCachedTokens[] = {4096, 32768};

// A cache of `tokens` random rows of BF16 of so many bytes.
PagedCache cache_of(Backend& backend, int64_t tokens, uint64_t row_bytes) {
    const int64_t pages = (tokens + kSelectionPageTokens - 1) / kSelectionPageTokens;
    const uint64_t page_bytes = kSelectionPageTokens * row_bytes;
    const Tensor values = random_tensor(backend, pages, static_cast<int64_t>(page_bytes / sizeof(uint16_t)));
    std::vector<float> floats(static_cast<size_t>(values.rows * values.columns));
    backend.download(values.buffer, 0, std::as_writable_bytes(std::span(floats)));
    backend.wait();
    std::vector<std::byte> bytes(static_cast<size_t>(pages) * page_bytes);
    encode_kv_row(KvFormat::kBF16, floats.data(), static_cast<int64_t>(floats.size()), bytes.data());
    const BufferPtr pool = backend.allocate(bytes.size());
    backend.upload(pool, 0, bytes);
    std::vector<int32_t> order(static_cast<size_t>(pages));
    std::iota(order.rbegin(), order.rend(), 0);
    return {.format = KvFormat::kBF16,
            .page_tokens = kSelectionPageTokens,
            .pool = pool,
            .page_bytes = page_bytes,
            .pages = int_table(backend, order, pages)};
}

Tensor floats_for(Backend& backend, int64_t columns) {
    return make_tensor(backend.allocate(static_cast<uint64_t>(columns) * sizeof(float)), DType::kF32, 1, columns);
}

void add_selection(Backend& backend, const Shapes& shapes, int64_t tokens, const AddCase& add) {
    const Sequences sequences = sequences_of(backend, {{.first_row = 0, .count = 1, .position = tokens - 1}});
    const RowKvLayout index(KvFormat::kBF16, kSelectionPageTokens, kIndexWidth);
    const SelectTokens select{.query = random_tensor(backend, 1, kIndexHeads * kIndexWidth),
                              .weights = random_tensor(backend, 1, kIndexHeads),
                              .sequences = sequences,
                              .cache = cache_of(backend, tokens, index.row_bytes),
                              .out = int_table(backend, std::vector<int32_t>(kChosenTokens), kChosenTokens)};
    const auto cached = static_cast<double>(tokens);
    add({.group = "selection",
         .name = fmt::format("choice of {} in {}", kChosenTokens, tokens),
         .flops = cached * (2 * kIndexHeads * kIndexWidth),
         .bytes = cached * static_cast<double>(index.row_bytes),
         .launch = [&] { backend.run(select); }});
    const int64_t heads = shapes.latent_heads, width = shapes.kv_lora + shapes.rope;
    const LatentKvLayout latents(KvFormat::kBF16, kSelectionPageTokens, shapes.kv_lora, shapes.rope);
    const Weight weight = random_weight(backend, WeightFormat::affine(4, 64, DType::kBF16),
                                        heads * (shapes.nope + shapes.latent_value), shapes.kv_lora);
    const LatentAttention attention{
        .query = random_tensor(backend, 1, heads * (shapes.nope + shapes.rope)),
        .key = weight,
        .value_weight = weight,
        .heads = heads,
        .nope = shapes.nope,
        .rope = shapes.rope,
        .value = shapes.latent_value,
        .scale = 0.07f,
        .sequences = sequences,
        .cache = cache_of(backend, tokens, latents.token_bytes),
        .selected = select.out,
        .scratch = floats_for(backend, LatentAttention::scratch_columns(heads, shapes.kv_lora)),
        .out = floats_for(backend, heads * shapes.latent_value)};
    add({.group = "selection",
         .name = fmt::format("attention to {} of {}", kChosenTokens, tokens),
         .flops = static_cast<double>(kChosenTokens * 2 * heads * (width + shapes.kv_lora) +
                                      2 * heads * shapes.kv_lora * (shapes.nope + shapes.latent_value)),
         .bytes = static_cast<double>(kChosenTokens * width * 2) + static_cast<double>(weight_bytes(weight)),
         .launch = [&] { backend.run(attention); }});
}

}  // namespace

void selection_cases(Backend& backend, const Shapes& shapes, const AddCase& add) {
    if (!backend.name().starts_with("cpu")) return;
    for (const int64_t tokens : kCachedTokens) add_selection(backend, shapes, tokens, add);
}

}  // namespace sluice::bench
