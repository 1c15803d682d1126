// Grouped-query attention: prompts and parts of prompts, steps over long caches, and what the parts of a kernel cost.

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "backend/kv_layout.h"
#include "bench/kernel_bench/attention_variants.h"
#include "bench/kernel_bench/cases.h"
#include "bench/random_data.h"
#include "tests/backend/step_tables.h"

namespace sluice::bench {

namespace {

constexpr int64_t kPageTokens = 256;
constexpr int64_t kFillRows = 4096;  // that caches are filled with, over and over
// Data sets of a case are more than this, so that none is in a cache when its turn comes.
constexpr double kTurnBytes = 200e6;
constexpr size_t kMostSets = 16;
constexpr double kMostHostFlops = 1e12;  // a processor would take minutes

struct Step {
    int64_t rows, tokens;  // new ones, and all with them
    int64_t sequences = 1;
    KvFormat format = KvFormat::kBF16;
};

constexpr Step kPrompts[] = {{1536, 1536}, {8192, 8192}, {8192, 32768}};
constexpr Step kDecodes[] = {{1, 4096},
                             {1, 32768},
                             {1, 131072},
                             {4, 32768},
                             {1, 8192, 16},
                             {1, 32768, 1, KvFormat::kInt8},
                             {1, 131072, 1, KvFormat::kInt8}};

Sequences sequences_at(Backend& backend, const Step& step, int64_t rows, int64_t position) {
    std::vector<SequenceRows> sequences;
    for (int64_t s = 0; s < step.sequences; ++s) {
        sequences.push_back({.first_row = s * rows, .count = rows, .position = position});
    }
    return sequences_of(backend, sequences);
}

PagedCache filled_cache(Backend& backend, const Shapes& shapes, const Step& step) {
    const int64_t width = shapes.kv_heads * shapes.head_dim, pages = (step.tokens + kPageTokens - 1) / kPageTokens;
    const GroupedKvLayout layout(step.format, kPageTokens, shapes.kv_heads, shapes.head_dim, shapes.head_dim);
    std::vector<int32_t> numbers(static_cast<size_t>(pages * step.sequences));
    std::iota(numbers.rbegin(), numbers.rend(), 0);
    const PagedCache cache{.format = step.format,
                           .page_tokens = kPageTokens,
                           .pool = backend.allocate(numbers.size() * layout.page_bytes()),
                           .page_bytes = layout.page_bytes(),
                           .pages = int_table(backend, numbers, pages)};
    const Tensor rows = random_tensor(backend, kFillRows, 2 * width);
    const int64_t at_once = kFillRows / step.sequences;
    for (int64_t first = 0; first < step.tokens; first += at_once) {
        const int64_t count = std::min(at_once, step.tokens - first);
        const Tensor part = rows.rows_at(0, count * step.sequences);
        backend.run(AppendKeyValue{.keys = part.columns_at(0, width),
                                   .values = part.columns_at(width, width),
                                   .kv_heads = shapes.kv_heads,
                                   .sequences = sequences_at(backend, step, count, first),
                                   .cache = cache});
    }
    backend.wait();
    return cache;
}

Attention attention_of(Backend& backend, const Shapes& shapes, const Step& step) {
    const int64_t rows = step.rows * step.sequences, columns = shapes.heads * shapes.head_dim;
    return {.query = random_tensor(backend, rows, columns),
            .heads = shapes.heads,
            .kv_heads = shapes.kv_heads,
            .scale = 1 / std::sqrt(static_cast<float>(shapes.head_dim)),
            .sequences = sequences_at(backend, step, step.rows, step.tokens - step.rows),
            .cache = filled_cache(backend, shapes, step),
            .out = make_tensor(backend.allocate(static_cast<uint64_t>(rows * columns) * sizeof(float)), DType::kF32,
                               rows, columns)};
}

std::string name_of(const Step& step) {
    std::string name = fmt::format("{} new, cache {}", step.rows, step.tokens);
    if (step.sequences > 1) name += fmt::format(", {} sequences", step.sequences);
    if (step.format != KvFormat::kBF16) name += fmt::format(", {}", kv_format_name(step.format));
    return name;
}

KernelCase case_of(const Shapes& shapes, const Step& step) {
    const auto rows = static_cast<double>(step.rows), tokens = static_cast<double>(step.tokens);
    const double pairs = rows * (tokens - rows) + rows * (rows + 1) / 2;
    const auto width = static_cast<double>(shapes.heads * shapes.head_dim);
    const auto token_bytes =
        static_cast<double>(2 * shapes.kv_heads) * static_cast<double>(kv_row_bytes(step.format, shapes.head_dim));
    const auto sequences = static_cast<double>(step.sequences);
    return {.group = "attention",
            .name = name_of(step),
            .flops = sequences * 4 * width * pairs,
            .bytes = sequences * (tokens * token_bytes + 2 * rows * width * sizeof(float)),
            .launch = {}};
}

void add_step(Backend& backend, const Shapes& shapes, const Step& step, const AddCase& add) {
    KernelCase each = case_of(shapes, step);
    if (!backend.own_memory_bytes() && each.flops > kMostHostFlops) return;
    std::vector<Attention> ops;
    do {
        ops.push_back(attention_of(backend, shapes, step));
        ops.back().out = ops.front().out;
    } while (static_cast<double>(ops.size()) * each.bytes < kTurnBytes && ops.size() < kMostSets);
    run_in_turn(backend, ops, step.rows * step.sequences, each);
    add(std::move(each));
}

// What the parts of a kernel take, as far as the whole is longer without them.
struct Attribution {
    double whole = 0, bare = 0, parts = 0;
    std::string names;

    void take(std::string_view left_out, double seconds) {
        if (left_out.empty()) return;
        if (left_out == AttentionVariant::kWhole) {
            whole = seconds;
        } else if (left_out == AttentionVariant::kBare) {
            bare = seconds;
        } else {
            parts += whole - seconds;
            names += fmt::format("{} {:.4f}, ", left_out, 1e3 * (whole - seconds));
        }
    }
    void print(const std::string& name) const {
        if (whole == 0) return;
        fmt::print("attention    {}, ms by what leaving out saves: {}what stays without all {:.4f}; {:.4f} of {:.4f}\n",
                   name, names, 1e3 * bare, 1e3 * (parts + bare), 1e3 * whole);
    }
};

void add_variants(Backend& backend, const Shapes& shapes, const Step& step, const AddCase& add) {
    Attribution attribution;
    for (AttentionVariant& variant : attention_variants(backend, attention_of(backend, shapes, step))) {
        KernelCase each = case_of(shapes, step);
        each.name += ", " + variant.name;
        each.launch = std::move(variant.launch);
        attribution.take(variant.left_out, add(std::move(each)));
    }
    attribution.print(name_of(step));
}

}  // namespace

void attention_cases(Backend& backend, const Shapes& shapes, const AddCase& add) {
    for (const Step& step : kPrompts) add_step(backend, shapes, step, add);
    for (const Step& step : kDecodes) add_step(backend, shapes, step, add);
    for (const Step& step : kPrompts) add_variants(backend, shapes, step, add);
}

}  // namespace sluice::bench
