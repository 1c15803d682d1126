#include "backend/host_draws.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "backend/host_tensors.h"

namespace sluice {

namespace {

constexpr double kWholeWeight = 0x1p40;

// Columns and what they weigh, as the sum runs.
struct Candidates {
    std::vector<int32_t> columns;
    std::vector<uint64_t> weights;

    uint64_t total() const { return std::accumulate(weights.begin(), weights.end(), uint64_t{0}); }
    void keep(size_t count) {
        columns.resize(count);
        weights.resize(count);
    }
};

std::vector<uint64_t> weights_of(std::span<const float> row, double temperature) {
    const float largest = *std::ranges::max_element(row);
    std::vector<uint64_t> weights;
    for (const float x : row) {
        const auto exponent = static_cast<double>((x - largest) / static_cast<float>(temperature));
        weights.push_back(static_cast<uint64_t>(std::llrint(std::exp(exponent) * kWholeWeight)));
    }
    return weights;
}

Candidates largest_first(std::span<const float> row, const std::vector<uint64_t>& weights) {
    Candidates all;
    all.columns.resize(row.size());
    std::iota(all.columns.begin(), all.columns.end(), 0);
    const auto at = [&](int32_t column) { return row[static_cast<size_t>(column)]; };
    std::ranges::stable_sort(all.columns, [&](int32_t a, int32_t b) { return at(a) > at(b); });
    for (const int32_t column : all.columns) all.weights.push_back(weights[static_cast<size_t>(column)]);
    return all;
}

void cut_candidates(Candidates& kept, const DrawSettings& settings) {
    if (settings.top_k > 0) kept.keep(std::min(kept.columns.size(), static_cast<size_t>(settings.top_k)));
    const double mass = settings.top_p * static_cast<double>(kept.total());
    uint64_t sum = 0;
    size_t size = 0;
    while (size < kept.columns.size()) {
        const bool light = static_cast<double>(kept.weights[size]) < settings.min_p * kWholeWeight;
        if (size > 0 && (static_cast<double>(sum) >= mass || light)) break;
        sum += kept.weights[size++];
    }
    kept.keep(size);
}

Candidates by_columns(const std::vector<uint64_t>& weights, double min_p) {
    Candidates kept;
    for (size_t column = 0; column < weights.size(); ++column) {
        if (static_cast<double>(weights[column]) < min_p * kWholeWeight) continue;
        kept.columns.push_back(static_cast<int32_t>(column));
        kept.weights.push_back(weights[column]);
    }
    return kept;
}

}  // namespace

int32_t draw_token(std::span<const float> row, const DrawSettings& settings) {
    if (!std::ranges::all_of(row, [](float value) { return std::isfinite(value); })) return -1;
    const std::vector<uint64_t> weights = weights_of(row, settings.temperature);
    Candidates kept;
    if (settings.by_columns()) {
        kept = by_columns(weights, settings.min_p);
    } else {
        kept = largest_first(row, weights);
        cut_candidates(kept, settings);
    }
    const uint64_t total = kept.total();
    const uint64_t target = std::min(static_cast<uint64_t>(settings.uniform * static_cast<double>(total)), total - 1);
    uint64_t sum = 0;
    size_t place = 0;
    while ((sum += kept.weights[place]) <= target) ++place;
    return kept.columns[place];
}

void draw_tokens(const DrawToken& op) {
    const float* const x = floats(op.x);
    const int32_t* const settings = ints(op.settings);
    int32_t* const out = writable_ints(op.out);
    for (int64_t t = 0; t < op.x.rows; ++t) {
        const std::span row(x + t * op.x.row_stride, static_cast<size_t>(op.x.columns));
        out[t * op.out.row_stride] = draw_token(row, draw_settings(settings + t * op.settings.row_stride));
    }
}

}  // namespace sluice
