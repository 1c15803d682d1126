// Products with weights of 4 bits and BF16, from one row to thousands, and experts as a router spreads rows over them.

#include <fmt/core.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "bench/kernel_bench/cases.h"
#include "bench/random_data.h"
#include "tensor/weight_format.h"
#include "tests/backend/step_tables.h"

namespace sluice::bench {

namespace {

// Weights of so many bytes take turns: more than a card's second cache holds.
constexpr uint64_t kTurnBytes = uint64_t{200} << 20;
constexpr size_t kMostTurns = 512;

struct ProductSize {
    int64_t in, out;
};
constexpr ProductSize kSizes[] = {{2048, 12288}, {2048, 8192}, {8192, 2048}, {2048, 4096},
                                  {4096, 2048},  {2048, 512},  {512, 2048}};

struct NamedFormat {
    const char* name;
    WeightFormat format;
};

Tensor output(Backend& backend, int64_t rows, int64_t columns) {
    return make_tensor(backend.allocate(static_cast<uint64_t>(rows * columns) * sizeof(float)), DType::kF32, rows,
                       columns);
}

void add_product(Backend& backend, const NamedFormat& named, const ProductSize& size, int64_t rows, const AddCase& add,
                 bool full_precision = false) {
    std::vector<Weight> weights;
    do weights.push_back(random_weight(backend, named.format, size.out, size.in));
    while (weights.size() < kMostTurns && weights.size() * weight_bytes(weights.front()) < kTurnBytes);
    const Tensor x = random_tensor(backend, rows, size.in), out = output(backend, rows, size.out);
    const auto numbers = static_cast<double>(rows * (size.in + size.out));
    add({.group = "products",
         .name = fmt::format("{} {}->{} at {}", named.name, size.in, size.out, rows),
         .flops = 2.0 * static_cast<double>(rows * size.in * size.out),
         .bytes = static_cast<double>(weight_bytes(weights.front())) + sizeof(float) * numbers,
         .launch = [&backend, &weights, x, out, full_precision, turn = size_t{0}]() mutable {
             backend.run(Linear{
                 .x = x, .weight = weights[turn++ % weights.size()], .out = out, .full_precision = full_precision});
         }});
}

// Which rows each expert gets, every row `top_k` experts, all alike.
std::vector<std::vector<int32_t>> spread_rows(const Shapes& shapes, int64_t rows) {
    std::mt19937 random(7);
    std::vector<size_t> ids(static_cast<size_t>(shapes.experts));
    std::iota(ids.begin(), ids.end(), size_t{0});
    std::vector<std::vector<int32_t>> choices(ids.size());
    for (int64_t row = 0; row < rows; ++row) {
        for (size_t j = 0; j < static_cast<size_t>(shapes.top_k); ++j) {
            std::swap(ids[j], ids[j + random() % (ids.size() - j)]);
            choices[ids[j]].push_back(static_cast<int32_t>(row * shapes.top_k) + static_cast<int32_t>(j));
        }
    }
    return choices;
}

void add_experts(Backend& backend, const NamedFormat& named, const Shapes& shapes, int64_t rows, const AddCase& add) {
    const Tensor x = random_tensor(backend, rows, shapes.hidden);
    GatedMlp op{.x = x, .groups = {}, .out = output(backend, rows * shapes.top_k, shapes.hidden)};
    double bytes = 0;
    for (const std::vector<int32_t>& choices : spread_rows(shapes, rows)) {
        if (choices.empty()) continue;
        std::vector<int32_t> from;
        for (const int32_t choice : choices) from.push_back(choice / static_cast<int32_t>(shapes.top_k));
        MlpGroup group{.gate = random_weight(backend, named.format, shapes.expert_inner, shapes.hidden),
                       .up = random_weight(backend, named.format, shapes.expert_inner, shapes.hidden),
                       .down = random_weight(backend, named.format, shapes.hidden, shapes.expert_inner),
                       .rows = int_table(backend, from, 1),
                       .out_rows = int_table(backend, choices, 1)};
        bytes += static_cast<double>(2 * weight_bytes(group.gate) + weight_bytes(group.down));
        op.groups.push_back(std::move(group));
    }
    const auto numbers = static_cast<double>(rows * (1 + shapes.top_k) * shapes.hidden);
    add({.group = "products",
         .name = fmt::format("{} experts, {} of {} used, at {}", named.name, op.groups.size(), shapes.experts, rows),
         .flops = 6.0 * static_cast<double>(rows * shapes.top_k * shapes.hidden * shapes.expert_inner),
         .bytes = bytes + sizeof(float) * numbers,
         .launch = [&] { backend.run(op); }});
}

}  // namespace

void product_cases(Backend& backend, const Shapes& shapes, const AddCase& add) {
    const NamedFormat four_bits{"4-bit", WeightFormat::affine(4, 64, DType::kBF16)},
        bf16{"BF16", WeightFormat::floating(DType::kBF16)};
    for (const int64_t rows : {1, 8, 1536, 8192}) {
        for (const ProductSize& size : kSizes) add_product(backend, four_bits, size, rows, add);
    }
    for (const int64_t rows : {1, 8192}) add_product(backend, bf16, kSizes[0], rows, add);
    // A router, and gates of heads and of the shared expert.
    const NamedFormat router{"full precision, BF16", bf16.format};
    for (const int64_t rows : {1, 8192}) {
        for (const int64_t outputs : {shapes.experts, shapes.value_heads, int64_t{1}})
            add_product(backend, router, {shapes.hidden, outputs}, rows, add, true);
    }
    for (const int64_t rows : {1, 8, 64, 1536, 8192}) add_experts(backend, four_bits, shapes, rows, add);
}

}  // namespace sluice::bench
