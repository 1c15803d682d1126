// DeepSeek-V3.2's sparse attention: a new token, or a part of a prompt, chooses 2,048 of the tokens cached for each
// row, which attends to them.

#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "backend/kv_layout.h"
#include "bench/kernel_bench/latent_operands.h"
#include "bench/random_data.h"
#include "tests/backend/step_tables.h"

namespace sluice::bench {

namespace {

constexpr int64_t kSelectionPageTokens = 256, kIndexHeads = 64, kIndexWidth = 128, kChosenTokens = 2048;
constexpr LatentStep kSelectionSteps[] = {{1, 4096}, {1, 32768}, {512, 32768}};
constexpr int64_t kIndexFillRows = 4096;

// Random index keys.
PagedCache random_keys(Backend& backend, int64_t tokens) {
    const RowKvLayout layout(KvFormat::kBF16, kSelectionPageTokens, kIndexWidth);
    std::vector<int32_t> pages(static_cast<size_t>((tokens + kSelectionPageTokens - 1) / kSelectionPageTokens));
    std::iota(pages.rbegin(), pages.rend(), 0);
    const PagedCache cache{.format = KvFormat::kBF16,
                           .page_tokens = kSelectionPageTokens,
                           .pool = backend.allocate(pages.size() * layout.page_bytes()),
                           .page_bytes = layout.page_bytes(),
                           .pages = int_table(backend, pages, static_cast<int64_t>(pages.size()))};
    const Tensor rows = random_tensor(backend, std::min(tokens, kIndexFillRows), kIndexWidth);
    for (int64_t first = 0; first < tokens; first += rows.rows) {
        const int64_t count = std::min(rows.rows, tokens - first);
        backend.run(AppendRows{
            .rows = rows.rows_at(0, count), .sequences = one_sequence(backend, count, first), .cache = cache});
    }
    backend.wait();
    return cache;
}

void add_selection(Backend& backend, const Shapes& shapes, const LatentStep& step, const AddCase& add) {
    LatentAttention attention = latent_attention(backend, shapes, step);
    const auto place = static_cast<size_t>(step.rows * kChosenTokens);
    attention.selected = int_table(backend, std::vector<int32_t>(place), kChosenTokens);
    const SelectTokens select{.query = random_tensor(backend, step.rows, kIndexHeads * kIndexWidth),
                              .weights = random_tensor(backend, step.rows, kIndexHeads),
                              .sequences = attention.sequences,
                              .cache = random_keys(backend, step.tokens),
                              .out = attention.selected};
    const auto rows = static_cast<double>(step.rows), cached = static_cast<double>(step.tokens);
    const double pairs = rows * (cached - rows) + rows * (rows + 1) / 2, chosen = rows * kChosenTokens;
    KernelCase choice{.group = "selection",
                      .name = fmt::format("choice of {} in {}, {} new", kChosenTokens, step.tokens, step.rows),
                      .flops = pairs * (2 * kIndexHeads * kIndexWidth),
                      .bytes = cached * static_cast<double>(kv_row_bytes(KvFormat::kBF16, kIndexWidth)),
                      .launch = {}};
    const std::vector selects{select};
    run_in_turn(backend, selects, step.rows, choice);
    add(std::move(choice));
    const double token_bytes = static_cast<double>(shapes.kv_lora + shapes.rope) * 2;
    KernelCase attends{
        .group = "selection",
        .name = fmt::format("attention to {} of {}, {} new", kChosenTokens, step.tokens, step.rows),
        .flops = chosen * latent_pair_flops(shapes) + rows * latent_row_flops(shapes),
        .bytes = std::min(chosen, cached) * token_bytes + static_cast<double>(weight_bytes(attention.key)),
        .launch = {}};
    const std::vector attentions{attention};
    run_in_turn(backend, attentions, step.rows, attends);
    add(std::move(attends));
}

}  // namespace

void selection_cases(Backend& backend, const Shapes& shapes, const AddCase& add) {
    for (const LatentStep& step : kSelectionSteps) {
        if (backend.own_memory_bytes() || step.rows == 1) add_selection(backend, shapes, step, add);
    }
}

}  // namespace sluice::bench
