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
        const RowKvLayout layout(cache.format, cache.page_tokens, width);
        for (int64_t i = 0; i < segment.rows.count; ++i) {
            const int64_t position = segment.rows.position + i;
            std::byte* page = cache.pages[static_cast<size_t>(position / cache.page_tokens)];
            encode_kv_row(cache.format, rows[segment.rows.first_row + i], width,
                          page + layout.row(position % cache.page_tokens));
        }
    }
}

void compute(const SelectTokens& op) {
    const auto query = rows_of(op.query);
    const auto weights = rows_of(op.weights);
    const int64_t width = op.width(), room = op.out.columns;
    for (const KvSegment& segment : kv_segments(op.kName, op.sequences, op.cache, op.query.rows)) {
        const KvPages& cache = segment.cache;
        const RowKvLayout layout(cache.format, cache.page_tokens, width);
        std::vector<float> key(static_cast<size_t>(width));
        for (int64_t i = 0; i < segment.rows.count; ++i) {
            const int64_t row = segment.rows.first_row + i, seen = segment.rows.position + i + 1;
            std::vector<double> scores;
            for (int64_t token = 0; token < seen; ++token) {
                const std::byte* page = cache.pages[static_cast<size_t>(token / cache.page_tokens)];
                decode_kv_row(cache.format, page + layout.row(token % cache.page_tokens), width, key.data());
                double score = 0;
                for (int64_t head = 0; head < op.weights.columns; ++head) {
                    const double product = dot(query[row] + head * width, key.data(), width);
                    score += weights[row][head] * std::max(product, 0.0);
                }
                scores.push_back(score);
            }
            std::vector<int32_t> tokens(static_cast<size_t>(seen));
            std::iota(tokens.begin(), tokens.end(), 0);
            std::stable_sort(tokens.begin(), tokens.end(), [&](int32_t a, int32_t b) {
                return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
            });
            tokens.resize(static_cast<size_t>(std::min(seen, room)));
            std::sort(tokens.begin(), tokens.end());
            tokens.resize(static_cast<size_t>(room), kNoToken);
            std::copy(tokens.begin(), tokens.end(), writable_ints(op.out) + row * op.out.row_stride);
        }
    }
}

}  // namespace sluice::reference
