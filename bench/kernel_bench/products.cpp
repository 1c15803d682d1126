// Products with weights of 4 bits and BF16, from one row to thousands, and experts as a router spreads rows over them.

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <random>
#include <set>
#include <span>
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

// One size at several numbers of rows.
void add_products(Backend& backend, const NamedFormat& named, const ProductSize& size, std::span<const int64_t> batches,
                  const AddCase& add, bool full_precision = false) {
    std::vector<Weight> weights;
    do weights.push_back(random_weight(backend, named.format, size.out, size.in));
    while (weights.size() < kMostTurns && weights.size() * weight_bytes(weights.front()) < kTurnBytes);
    for (const int64_t rows : batches) {
        const Tensor x = random_tensor(backend, rows, size.in), out = output(backend, rows, size.out);
        std::vector<Linear> ops;
        for (const Weight& weight : weights) {
            ops.push_back({.x = x, .weight = weight, .out = out, .full_precision = full_precision});
        }
        const auto numbers = static_cast<double>(rows * (size.in + size.out));
        KernelCase each{.group = "products",
                        .name = fmt::format("{} {}->{} at {}", named.name, size.in, size.out, rows),
                        .flops = 2.0 * static_cast<double>(rows * size.in * size.out),
                        .bytes = static_cast<double>(weight_bytes(weights.front())) + sizeof(float) * numbers,
                        .launch = {}};
        run_in_turn(backend, ops, rows, each);
        add(std::move(each));
    }
}

// Experts that rows choose, every row `top_k` different ones, all alike.
std::vector<int32_t> random_choices(const Shapes& shapes, int64_t rows, std::mt19937& random) {
    std::vector<int32_t> all(static_cast<size_t>(shapes.experts)), choices;
    std::iota(all.begin(), all.end(), 0);
    for (int64_t row = 0; row < rows; ++row) {
        for (size_t j = 0; j < static_cast<size_t>(shapes.top_k); ++j) {
            std::swap(all[j], all[j + random() % (all.size() - j)]);
        }
        std::sort(all.begin(), all.begin() + shapes.top_k);
        choices.insert(choices.end(), all.begin(), all.begin() + shapes.top_k);
    }
    return choices;
}

// The parts of a weight at the end of a record; they are in `into` already.
Weight placed(const Weight& weight, const BufferPtr& into, uint64_t& end) {
    Weight own = weight;
    for (WeightPart* part : {&own.data, &own.scales, &own.zero_points}) {
        if (part->buffer == nullptr) continue;
        const uint64_t bytes = part->buffer->bytes();
        *part = {into, end};
        end += (bytes + 255) / 256 * 256;
    }
    return own;
}

// Every expert of a layer in a slot of its own, each with the same numbers.
ExpertRecords filled_records(Backend& backend, const NamedFormat& named, const Shapes& shapes) {
    const std::array weights{random_weight(backend, named.format, shapes.expert_inner, shapes.hidden),
                             random_weight(backend, named.format, shapes.expert_inner, shapes.hidden),
                             random_weight(backend, named.format, shapes.hidden, shapes.expert_inner)};
    std::vector<WeightPart> parts;
    for (const Weight& weight : weights) {
        for (const WeightPart& part : {weight.data, weight.scales, weight.zero_points}) {
            if (part.buffer != nullptr) parts.push_back(part);
        }
    }
    uint64_t slot_bytes = 0;
    for (const WeightPart& part : parts) slot_bytes += (part.buffer->bytes() + 255) / 256 * 256;
    const BufferPtr memory = backend.allocate(slot_bytes * static_cast<uint64_t>(shapes.experts));
    std::vector<int32_t> slots(static_cast<size_t>(shapes.experts));
    std::iota(slots.rbegin(), slots.rend(), 0);
    for (uint64_t place = 0; place < memory->bytes();) {
        for (const WeightPart& part : parts) {
            const uint64_t bytes = part.buffer->bytes();
            backend.copy({part.buffer, part.offset, bytes}, {memory, place, bytes});
            place += (bytes + 255) / 256 * 256;
        }
    }
    backend.wait();
    uint64_t end = 0;
    MlpGroup expert{.gate = placed(weights[0], memory, end),
                    .up = placed(weights[1], memory, end),
                    .down = placed(weights[2], memory, end)};
    return {.expert = std::move(expert), .slot_bytes = slot_bytes, .slots = int_table(backend, slots, 1)};
}

// The experts that some rows choose, of a layer; other rows in turn, so that few find theirs in a card's second cache.
void add_experts(Backend& backend, const NamedFormat& named, const Shapes& shapes, const AddCase& add) {
    constexpr size_t kTurns = 16;
    const ExpertRecords records = filled_records(backend, named, shapes);
    std::mt19937 random(7);
    for (const int64_t rows : {1, 8, 64, 1536, 8192}) {
        const Tensor x = random_tensor(backend, rows, shapes.hidden),
                     out = output(backend, rows * shapes.top_k, shapes.hidden);
        std::vector<RoutedMlp> ops;
        size_t used = 0;
        while (ops.size() < (rows > 64 ? 1 : kTurns)) {
            const std::vector<int32_t> choices = random_choices(shapes, rows, random);
            used += std::set(choices.begin(), choices.end()).size();
            ops.push_back({.x = x, .ids = int_table(backend, choices, shapes.top_k), .records = records, .out = out});
        }
        used /= ops.size();
        const auto choices = static_cast<double>(rows * shapes.top_k), hidden = static_cast<double>(shapes.hidden);
        KernelCase each{.group = "products",
                        .name = fmt::format("{} experts at {}, {} of {} used", named.name, rows, used, shapes.experts),
                        .flops = 6.0 * choices * hidden * static_cast<double>(shapes.expert_inner),
                        .bytes = static_cast<double>(used) * static_cast<double>(records.slot_bytes) +
                                 sizeof(float) * hidden * (static_cast<double>(rows) + choices),
                        .launch = {}};
        run_in_turn(backend, ops, rows, each);
        add(std::move(each));
    }
}

}  // namespace

void product_cases(Backend& backend, const Shapes& shapes, const AddCase& add) {
    const NamedFormat four_bits{"4-bit", WeightFormat::affine(4, 64, DType::kBF16)},
        bf16{"BF16", WeightFormat::floating(DType::kBF16)};
    constexpr int64_t kBatches[] = {1, 8, 1536, 8192}, kFewBatches[] = {1, 8192};
    for (const ProductSize& size : kSizes) add_products(backend, four_bits, size, kBatches, add);
    add_products(backend, bf16, kSizes[0], kFewBatches, add);
    // A router, and gates of heads and of the shared expert.
    const NamedFormat router{"full precision, BF16", bf16.format};
    for (const int64_t outputs : {shapes.experts, shapes.value_heads, int64_t{1}})
        add_products(backend, router, {shapes.hidden, outputs}, kFewBatches, add, true);
    add_experts(backend, four_bits, shapes, add);
}

}  // namespace sluice::bench
