#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "backend/host_sequences.h"
#include "backend/kv_layout.h"
#include "backend/reference/math.h"
#include "backend/reference/operations.h"

namespace sluice::reference {

void compute(const AppendKeyValue& op) {
    const auto keys = rows_of(op.keys);
    const auto values = rows_of(op.values);
    const int64_t head_dim = op.keys.columns / op.kv_heads, value_dim = op.values.columns / op.kv_heads;
    for (const KvSegment& segment : kv_segments(op.kName, op.sequences, op.cache, op.keys.rows)) {
        const KvPages& cache = segment.cache;
        const GroupedKvLayout layout(cache.format, cache.page_tokens, op.kv_heads, head_dim, value_dim);
        for (int64_t i = 0; i < segment.rows.count; ++i) {
            const int64_t position = segment.rows.position + i;
            const int64_t token = position % cache.page_tokens;
            std::byte* page = cache.pages[static_cast<size_t>(position / cache.page_tokens)];
            for (int64_t h = 0; h < op.kv_heads; ++h) {
                const float* key = keys[segment.rows.first_row + i] + h * head_dim;
                const float* value = values[segment.rows.first_row + i] + h * value_dim;
                encode_kv_row(cache.format, key, head_dim, page + layout.key(h, token));
                encode_kv_row(cache.format, value, value_dim, page + layout.value(h, token));
            }
        }
    }
}

namespace {

struct HeadCache {
    int64_t head_dim, value_dim;
    std::vector<float> keys{}, values{};  // [tokens, head_dim], [tokens, value_dim]
};

void decode_head(const KvPages& cache, const GroupedKvLayout& layout, int64_t kv_head, int64_t tokens,
                 HeadCache& head) {
    const int64_t head_dim = head.head_dim, value_dim = head.value_dim;
    head.keys.resize(static_cast<size_t>(tokens * head_dim));
    head.values.resize(static_cast<size_t>(tokens * value_dim));
    for (int64_t p = 0; p < tokens; ++p) {
        const std::byte* page = cache.pages[static_cast<size_t>(p / cache.page_tokens)];
        const int64_t token = p % cache.page_tokens;
        decode_kv_row(cache.format, page + layout.key(kv_head, token), head_dim, head.keys.data() + p * head_dim);
        decode_kv_row(cache.format, page + layout.value(kv_head, token), value_dim, head.values.data() + p * value_dim);
    }
}

// Of the tokens of a cache [begin, end), or those that are selected, and a logit beside them that has no value.
struct Visible {
    int64_t begin, end;
    std::span<const int32_t> selected = {};
    double sink = -INFINITY;

    int64_t count() const { return selected.empty() ? end - begin : static_cast<int64_t>(selected.size()); }
    int64_t token(int64_t i) const { return selected.empty() ? begin + i : selected[static_cast<size_t>(i)]; }
};

// out = sum over the visible tokens of softmax(query . key * scale) value.
void attend(const float* query, const HeadCache& cache, const Visible& visible, double scale, float* out) {
    const int64_t head_dim = cache.head_dim, value_dim = cache.value_dim;
    std::vector<double> scores;
    for (int64_t i = 0; i < visible.count(); ++i) {
        scores.push_back(dot(query, cache.keys.data() + visible.token(i) * head_dim, head_dim) * scale);
    }
    const double largest = std::max(visible.sink, *std::max_element(scores.begin(), scores.end()));
    std::vector<double> weighted(static_cast<size_t>(value_dim), 0.0);
    double sum = std::exp(visible.sink - largest);
    for (int64_t t = 0; t < visible.count(); ++t) {
        const double weight = std::exp(scores[static_cast<size_t>(t)] - largest);
        const float* value = cache.values.data() + visible.token(t) * value_dim;
        sum += weight;
        for (int64_t i = 0; i < value_dim; ++i) weighted[static_cast<size_t>(i)] += weight * value[i];
    }
    for (int64_t i = 0; i < value_dim; ++i) out[i] = static_cast<float>(weighted[static_cast<size_t>(i)] / sum);
}

}  // namespace

void compute(const Attention& op) {
    const auto query = rows_of(op.query);
    const auto out = writable_rows_of(op.out);
    const int64_t head_dim = op.query.columns / op.heads, value_dim = op.out.columns / op.heads;
    const int64_t heads_per_kv_head = op.heads / op.kv_heads;
    for (const KvSegment& segment : kv_segments(op.kName, op.sequences, op.cache, op.query.rows)) {
        const SequenceRows& rows = segment.rows;
        const GroupedKvLayout layout(segment.cache.format, segment.cache.page_tokens, op.kv_heads, head_dim, value_dim);
        for (int64_t kv_head = 0; kv_head < op.kv_heads; ++kv_head) {
            HeadCache cache{.head_dim = head_dim, .value_dim = value_dim};
            decode_head(segment.cache, layout, kv_head, rows.position + rows.count, cache);
            for (int64_t i = 0; i < rows.count; ++i) {
                for (int64_t j = 0; j < heads_per_kv_head; ++j) {
                    const int64_t head = kv_head * heads_per_kv_head + j;
                    Visible visible{.begin = op.first_seen(rows.position + i), .end = rows.position + i + 1};
                    if (op.selected.buffer != nullptr) {
                        visible.selected =
                            selected_tokens(op.kName, op.selected, rows.first_row + i, rows.position + i);
                    }
                    if (op.sinks.buffer != nullptr) visible.sink = floats(op.sinks)[head];
                    attend(query[rows.first_row + i] + head * head_dim, cache, visible, op.scale,
                           out[rows.first_row + i] + head * value_dim);
                }
            }
        }
    }
}

}  // namespace sluice::reference
