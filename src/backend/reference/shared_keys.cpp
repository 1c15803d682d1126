// Attention over one head of keys that are values, too.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "backend/host_sequences.h"
#include "backend/kv_layout.h"
#include "backend/reference/math.h"
#include "backend/reference/operations.h"

namespace sluice::reference {

namespace {

std::vector<double> mean_of_keys(const float* query, const std::vector<std::vector<float>>& keys, double scale,
                                 const float* sink) {
    const auto width = static_cast<int64_t>(keys.front().size());
    std::vector<double> scores;
    for (const std::vector<float>& key : keys) scores.push_back(scale * dot(query, key.data(), width));
    double largest = *std::max_element(scores.begin(), scores.end());
    if (sink != nullptr) largest = std::max(largest, static_cast<double>(*sink));
    double total = sink == nullptr ? 0 : std::exp(*sink - largest);
    std::vector<double> sum(static_cast<size_t>(width));
    for (size_t k = 0; k < keys.size(); ++k) {
        const double weight = std::exp(scores[k] - largest);
        total += weight;
        for (size_t i = 0; i < sum.size(); ++i) sum[i] += weight * keys[k][i];
    }
    for (double& value : sum) value /= total;
    return sum;
}

}  // namespace

void compute(const SharedKeyAttention& op) {
    const auto query = rows_of(op.query), keys = rows_of(op.keys);
    const auto out = writable_rows_of(op.out);
    const float* sinks = op.sinks.buffer == nullptr ? nullptr : floats(op.sinks);
    const int64_t width = op.width(), window = op.window();
    const std::vector<StateSegment> segments = state_segments(op.kName, op.sequences, op.states, op.keys.rows);
    std::vector<KvSegment> caches;
    if (op.ratio != 0) caches = kv_segments(op.kName, op.sequences, op.cache, op.keys.rows);
    for (size_t s = 0; s < segments.size(); ++s) {
        const auto& [first_row, count, start] = segments[s].rows;
        float* const state = segments[s].state;
        for (int64_t position = start; position < start + count; ++position) {
            const int64_t row = first_row + position - start;
            std::vector<std::vector<float>> seen;
            for (int64_t p = std::max<int64_t>(0, position + 1 - window); p <= position; ++p) {
                const float* key = p < start ? state + p % window * width : keys[first_row + p - start];
                seen.emplace_back(key, key + width);
            }
            for (const int64_t run : seen_runs(op, row, position)) {
                const KvPages& cache = caches[s].cache;
                const int64_t runs_of_page = cache.page_tokens / op.ratio;
                const std::byte* page = cache.pages[static_cast<size_t>(run / runs_of_page)];
                decode_kv_row(cache.format,
                              page + RowKvLayout(cache.format, runs_of_page, width).row(run % runs_of_page), width,
                              seen.emplace_back(static_cast<size_t>(width)).data());
            }
            for (int64_t h = 0; h < op.heads; ++h) {
                const std::vector<double> sum =
                    mean_of_keys(query[row] + h * width, seen, op.scale, sinks == nullptr ? nullptr : sinks + h);
                std::ranges::transform(sum, out[row] + h * width,
                                       [](double value) { return static_cast<float>(value); });
            }
        }
        for (int64_t position = std::max(start, start + count - window); position < start + count; ++position) {
            std::copy_n(keys[first_row + position - start], width, state + position % window * width);
        }
    }
}

}  // namespace sluice::reference
