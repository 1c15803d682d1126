// Which tokens a query sees, and the cache that says so.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "backend/host_sequences.h"
#include "backend/kv_layout.h"
#include "backend/reference/math.h"
#include "backend/reference/operations.h"

namespace sluice::reference {

void compute(const AppendRows& op) {
    const auto rows = rows_of(op.rows);
    const int64_t width = op.rows.columns;
    for (const KvSegment& segment : kv_segments(op.kName, op.sequences, op.cache, op.rows.rows)) {
        const KvPages& cache = segment.cache;
        const RowKvLayout layout(cache.format, cache.page_tokens / op.ratio, width);
        for (int64_t i = 0; i < segment.rows.count; ++i) {
            const int64_t position = segment.rows.position + i;
            if ((position + 1) % op.ratio != 0) continue;
            std::byte* page = cache.pages[static_cast<size_t>(position / cache.page_tokens)];
            encode_kv_row(cache.format, rows[segment.rows.first_row + i], width,
                          page + layout.row(position % cache.page_tokens / op.ratio));
        }
    }
}

void compute(const SelectTokens& op) {
    const auto query = rows_of(op.query);
    const bool weighed = op.weights.buffer != nullptr;
    const int64_t width = op.width(), room = op.most_runs(), runs_of_page = op.cache.page_tokens / op.ratio;
    for (const KvSegment& segment : kv_segments(op.kName, op.sequences, op.cache, op.query.rows)) {
        const KvPages& cache = segment.cache;
        const RowKvLayout layout(cache.format, runs_of_page, width);
        std::vector<float> key(static_cast<size_t>(width));
        for (int64_t i = 0; i < segment.rows.count; ++i) {
            const int64_t row = segment.rows.first_row + i, tokens = segment.rows.position + i + 1;
            const int64_t seen = tokens / op.ratio;
            std::vector<double> scores;
            for (int64_t run = 0; run < seen; ++run) {
                const std::byte* page = cache.pages[static_cast<size_t>(run / runs_of_page)];
                decode_kv_row(cache.format, page + layout.row(run % runs_of_page), width, key.data());
                double score = 0;
                for (int64_t head = 0; head < op.head_count(); ++head) {
                    const double product = dot(query[row] + head * width, key.data(), width);
                    score += (weighed ? rows_of(op.weights)[row][head] : 1.0) * std::max(product, 0.0);
                }
                scores.push_back(score);
            }
            std::vector<int32_t> runs(static_cast<size_t>(seen));
            std::iota(runs.begin(), runs.end(), 0);
            std::stable_sort(runs.begin(), runs.end(), [&](int32_t a, int32_t b) {
                return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
            });
            runs.resize(static_cast<size_t>(std::min(seen, room)));
            std::sort(runs.begin(), runs.end());
            std::vector<int32_t> chosen;
            for (const int32_t run : runs) {
                for (int64_t place = 0; place < (op.as_tokens ? op.ratio : 1); ++place) {
                    chosen.push_back(static_cast<int32_t>(op.as_tokens ? run * op.ratio + place : run));
                }
            }
            for (int64_t token = seen * op.ratio; token < tokens && op.as_tokens; ++token) {
                chosen.push_back(static_cast<int32_t>(token));
            }
            chosen.resize(static_cast<size_t>(op.out.columns), kNoToken);
            std::copy(chosen.begin(), chosen.end(), writable_ints(op.out) + row * op.out.row_stride);
        }
    }
}

}  // namespace sluice::reference
